"""Files of folders that annotate and turn-faces make, sound, and read as make-lmdb and these programs do."""

import json
from pathlib import Path

import numpy as np

from facealign.annotation.description import photos_so_far, read_description, write_description
from facealign.annotation.turned_faces import TurnSettings
from facealign.annotation.turned_folder import check_description, described
from facealign.annotation.turned_folder import write_description as write_turned_description
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError
from facealign.lmdb.distillation import TeacherPoints, distilled_from_points
from facealign.lmdb.jobs import Job

MEMBER = {"name": "cascade", "files": [{"weights": "w.onnx", "sha256": "ab"}]}
SETTINGS = {"members": [MEMBER], "most": 4.0}
PHOTO = {
    "stamp": "220x200",
    "error": "",
    "faces": [
        {
            "file": "a.pts",
            "box": [10.0, 20.0, 90.0, 120.0],
            "score": 0.9,
            "confidence": 0.8,
            "disagreement": 1.5,
            "left_out": "",
        }
    ],
}
TURNED = described(TurnSettings(), 3, {"mediapipe": "0.0", "files": [{"weights": "m", "sha256": "ab"}]})


def description(folder: Path) -> dict:
    write_description(folder, SETTINGS, {"a.png": PHOTO, "b.png": {**PHOTO, "faces": []}})
    return json.loads((folder / "annotations.json").read_text())


def read_teacher_s_description(path: Path) -> None:
    teacher = TeacherPoints(path.parent)
    teacher.check()
    json.dumps(teacher.describe(1, 0))
    for entry in read_description(path.parent)[1].values():
        for face in entry["faces"]:
            np.asarray(face["box"], float).reshape(4)


def growing_description(folder: Path) -> str:
    found = photos_so_far(folder, SETTINGS)
    for name in ("a.png", "b.png"):
        found.add(name, PHOTO)
    found.close()
    return found.path.read_text()


def read_growing_description(path: Path) -> None:
    """What is kept of a changed file is written as a description, which is read again."""
    found = photos_so_far(path.parent, SETTINGS).read()
    write_description(path.parent, SETTINGS, found)
    assert read_description(path.parent) == (SETTINGS, found)


def read_teacher_s_points(path: Path) -> None:
    """A file that cannot be used is refused, and its face kept."""
    face = np.zeros((68, 2))
    job = Job(Sample(Path("a.png"), face, "mine", "a.png", "a"), np.array([0.0, 0, 9, 9]), "landmarks")
    refused: list[FaceAlignError] = []
    (moved,) = distilled_from_points([job], TeacherPoints(path.parent), refused.append)
    if refused:
        assert moved is job
        raise refused[0]
    assert np.isfinite(moved.sample.points).all()


def turned_description(folder: Path) -> dict:
    write_turned_description(folder, TURNED, {"turned": 2, "no mesh": 1})
    return json.loads((folder / "turned.json").read_text())


def read_turned_description(path: Path) -> None:
    check_description(path.parent, TURNED)
