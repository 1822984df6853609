"""Answers as the face mesh's process does, about images of one made-up face whose nose is red.

Run in the place of an interpreter. The face is frontal, or turned by 20 degrees to the side of its nose.
"""

import base64
import json
import sys

import numpy as np

from facealign.annotation.face_mesh import SCALES, SIZE
from facealign.annotation.mesh_map import read_mesh_map
from facealign.annotation.turned_faces import mesh_box
from facealign.annotation.turned_mesh import CORNERS, DEPTH, turn_mesh
from facealign.geometry.boxes import box_from_landmarks
from tests.made_up_mesh import made_up_mesh

TURN = 20.0
NOSE = 4
"""The corner of the mesh that is red."""
FRONTAL = made_up_mesh()
LANDMARKS = read_mesh_map().landmarks(FRONTAL[:, :2])
"""Of the frontal face, as far as the process is concerned."""


def crop_scale(box):
    return SIZE / (SCALES[0] * max(box[2] - box[0], box[3] - box[1]))


def answer(crop):
    red = crop.astype(int) @ [-1, -1, 1] > 100
    if not red.any():
        return None
    place = np.argwhere(red).mean(axis=0)[::-1] + 0.5
    aside = place[0] - SIZE / 2
    mesh, scale = FRONTAL, crop_scale(box_from_landmarks(LANDMARKS))
    if abs(aside) > 8:
        mesh = turn_mesh(FRONTAL, np.copysign(TURN, aside)).mesh
        scale = crop_scale(mesh_box(mesh[:CORNERS, :2]))
    points = (mesh - mesh[NOSE] * [1, 1, 0]) * scale * [1, 1, 1 / DEPTH]
    points[:, :2] += place
    return points.tolist()


def main():
    print(json.dumps({"mediapipe": "made up", "files": {"made_up.tflite": 64 * "0"}}), flush=True)
    for line in sys.stdin:
        face = json.loads(line)
        crop = np.frombuffer(base64.b64decode(face["pixels"]), np.uint8).reshape(*face["size"], 3)
        print(json.dumps({"points": answer(crop)}), flush=True)


if __name__ == "__main__":
    main()
