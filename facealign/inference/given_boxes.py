"""Bounding boxes given in a text file."""

from pathlib import Path

import numpy as np

from facealign.arrays import FloatArray
from facealign.errors import FaceAlignError
from facealign.io.reading import read_text


def read_box_file(path: Path) -> list[FloatArray]:
    """Boxes of a text file in the reference demo's format: a face a line, `x1 y1 x2 y2`, then other words.

    The file is 1-based; the boxes (4,) returned are 0-based. Raises FaceAlignError on a missing file, a line
    without four finite numbers, or a box without area.
    """
    lines = read_text(path, "expected lines `x1 y1 x2 y2`").splitlines()
    boxes = []
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            box = np.array([float(word) for word in words[:4]])
        except ValueError as error:
            raise FaceAlignError(f"{path}, line {number}: {error}; expected `x1 y1 x2 y2`") from error
        if len(box) != 4 or not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise FaceAlignError(f"{path}, line {number}: expected `x1 y1 x2 y2` with x1 < x2 and y1 < y2")
        boxes.append(box - 1.0)
    return boxes
