"""Evaluations of made-up faces and of scikit-image's astronaut, with errors that are known beforehand."""

import copy
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from facealign.datasets.pts import write_pts
from facealign.training.log import LogRow
from tests.evaluation.test_measure import Oracle, evaluate, make_face, write_face
from tests.upright_face import upright_face

FOLDERS = {"afw": 7, "helen/trainset": 6}
ASTRONAUT = "300w/afw/astronaut.png"


def make_faces(root: Path) -> Path:
    """A tree in the layout of 300-W: 13 grey photos and the astronaut."""
    rng = np.random.default_rng(5)
    for folder, count in FOLDERS.items():
        for index in range(count):
            write_face(root / "300w" / folder, f"image_{index}", make_face(rng))
    photo = root / ASTRONAUT
    cv2.imwrite(str(photo), astronaut()[:, :, ::-1])
    write_pts(photo.with_suffix(".pts"), upright_face((222.0, 118.0), 105.0))
    return root


def evaluation(root, method, shift, missed=(), seed=0):
    """An evaluation in which each face is predicted `shift` (x, y) times a random factor off the truth."""
    rng = np.random.default_rng(seed)
    data = evaluate(root, Oracle(lambda points: points + np.array(shift) * rng.uniform(0.3, 2), missed))
    return {**copy.deepcopy(data), "settings": {**data["settings"], "method": method, "engine": "none"}}


def training_rows(iterations=200, every=20, scale=1.0):
    """The log of a run whose NME is measured at every other row."""
    return [
        LogRow(
            iteration=at,
            seconds=0.1 * at,
            loss=scale / at,
            rate=0.01 * (1 - at / iterations),
            nme_inter_pupil=5 + 100 * scale / at if at % (2 * every) == 0 else None,
            nme_inter_ocular=4 + 80 * scale / at if at % (2 * every) == 0 else None,
        )
        for at in range(every, iterations + 1, every)
    ]
