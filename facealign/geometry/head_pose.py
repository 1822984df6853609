"""Head pose from six landmarks, with the reference demo's model of a head and its camera.

The angles differ from those that the demo prints, which counts pitch from a head upside down and multiplies
two terms of it that should be added.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from facealign.arrays import FloatArray
from facealign.geometry.boxes import box_from_landmarks, square

LANDMARKS = (30, 8, 36, 45, 48, 54)
"""Nose tip, chin, outer eye corners, mouth corners."""
MODEL_POINTS = np.array(
    [
        (0.0, 0.0, 0.0),
        (0.0, -330.0, -65.0),
        (-225.0, 170.0, -135.0),
        (225.0, 170.0, -135.0),
        (-150.0, -150.0, -125.0),
        (150.0, -150.0, -125.0),
    ]
)
"""The same points of a generic head: x right, y up, z towards the viewer."""
CROP_SIDE = 64.0
"""Of the reference demo's crop, pixels."""


@dataclass(frozen=True)
class Pose:
    """Head pose, in degrees.

    yaw: positive when the face turns to the image's right; pitch: positive when it looks up; roll: positive
    when the head leans clockwise on the screen.

    >>> Pose(yaw=0.0, pitch=-5.0, roll=10.0)
    Pose(yaw=0.0, pitch=-5.0, roll=10.0)
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(landmarks: FloatArray) -> Pose | None:
    """Pose of the face with these landmarks (68, 2), in pixels of an image.

    That of `crop_pose` in the square crop which the landmarks themselves imply, as large as the reference
    demo's: it depends neither on the box that the face was found by, nor on where in the image the face is
    and how large. None when the landmarks allow no solution.
    """
    if not np.isfinite(landmarks).all():
        return None
    shown = square(box_from_landmarks(landmarks))
    side = float(shown[2] - shown[0])
    if side <= 0:
        return None
    return crop_pose((landmarks - shown[:2]) * (CROP_SIDE / side), CROP_SIDE)


def crop_pose(points: FloatArray, size: float) -> Pose | None:
    """Pose of the face with these landmarks (68, 2) in a square crop of side `size` pixels.

    Solves the perspective-n-point problem with focal length `size` and the crop's centre as principal point
    (reference demo: 64 and (32, 32)). None when the landmarks allow no solution.
    """
    camera = np.array([[size, 0.0, size / 2], [0.0, size, size / 2], [0.0, 0.0, 1.0]])
    picture = np.ascontiguousarray(np.asarray(points, dtype=np.float64)[list(LANDMARKS)])
    if not np.isfinite(picture).all():
        return None
    try:
        solved, rotation, _ = cv2.solvePnP(
            MODEL_POINTS, picture, camera, np.zeros(4), *_frontal(picture, size), useExtrinsicGuess=True
        )
    except cv2.error:
        return None
    if not solved or not np.isfinite(rotation).all():
        return None
    return _angles(np.asarray(cv2.Rodrigues(rotation)[0], dtype=np.float64))


def _frontal(picture: FloatArray, size: float) -> tuple[FloatArray, FloatArray]:
    """Rotation and translation of a head seen from the front, leaned as the outer eye corners are.

    The solver starts from it: alone, it finds a head behind the camera for one face in eight of 300-W.
    """
    across = picture[3] - picture[2]
    lean = math.atan2(across[1], across[0])
    upright = np.diag([1.0, -1.0, -1.0])
    turn = np.array(
        [[math.cos(lean), -math.sin(lean), 0.0], [math.sin(lean), math.cos(lean), 0.0], [0.0, 0.0, 1.0]]
    )
    away = size * 450.0 / max(float(np.hypot(*across)), 1e-6)
    place = np.append((picture[0] - size / 2) * (away / size), away)
    return np.asarray(cv2.Rodrigues(turn @ upright)[0], dtype=np.float64), place.reshape(3, 1)


def _angles(rotation: FloatArray) -> Pose:
    """Angles of a model-to-camera rotation (camera: x right, y down, z away from the viewer)."""
    # Columns are the head's axes in the camera; a frontal head has y and z reversed, which is undone first.
    matrix = np.diag([1.0, -1.0, -1.0]) @ rotation
    # matrix = Rz(roll') Rx(pitch') Ry(yaw') in x right, y up, z towards the viewer
    yaw = math.atan2(-matrix[2, 0], matrix[2, 2])
    pitch = math.asin(max(-1.0, min(1.0, matrix[2, 1])))
    roll = math.atan2(-matrix[0, 1], matrix[1, 1])
    # The forward axis (z) points to the viewer: a positive rotation about y moves it to the picture's right.
    return Pose(yaw=math.degrees(yaw), pitch=-math.degrees(pitch) + 0.0, roll=-math.degrees(roll) + 0.0)
