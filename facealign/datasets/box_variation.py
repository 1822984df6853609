"""Variation of a detector's box of one face when the photo is mirrored or resized."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.datasets.detected_boxes import best_match
from facealign.geometry.landmarks import mirror_points

SIZES = (0.85, 1.15)
"""Scales of the photo at which the face is detected again; it is also detected in the mirrored photo."""
Detect = Callable[[Image], Sequence[Any]]
"""Image -> Detections, each with a `box` (4,)."""


def box_moves(detect: Detect, image: Image, points: FloatArray) -> FloatArray:
    """Differences (n, 3) between the box of one face in changed photos and in the photo as it is.

    Columns: how far the centre moves right and down, as fractions of the box's longer side, and the ratio of
    the longer sides. points: landmarks (68, 2) of the face. n is the number of changed photos (mirrored,
    resized) in which the face is found, and 0 when it is not found in the unchanged photo.
    """
    plain = _box(detect, image, points)
    if plain is None:
        return np.empty((0, 3))
    width = image.shape[1]
    mirrored = _box(detect, np.ascontiguousarray(image[:, ::-1]), mirror_points(points, width))
    boxes = []
    if mirrored is not None:
        boxes.append(np.array([width - 1, 0, width - 1, 0]) + mirrored[[2, 1, 0, 3]] * (-1, 1, -1, 1))
    for size in SIZES:
        how = cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR
        resized: Any = cv2.resize(image, None, fx=size, fy=size, interpolation=how)
        # Pixel centres lie half a pixel from the edge at every scale.
        found = _box(detect, resized, (points + 0.5) * size - 0.5)
        if found is not None:
            boxes.append((found + 0.5) / size - 0.5)
    if not boxes:
        return np.empty((0, 3))
    (centre, side), (centres, sides) = _placed(plain), _placed(np.stack(boxes))
    return np.column_stack([(centres - centre) / side, sides / side])


def _box(detect: Detect, image: Image, points: FloatArray) -> FloatArray | None:
    found = np.array([one.box for one in detect(image)], dtype=np.float64).reshape(-1, 4)
    best = best_match(found, points)
    return None if best is None else found[best]


def _placed(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centres (..., 2) and longer sides (...) of boxes (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).max(axis=-1)
