"""Faces that lie on their side or upside down: found in the image turned by quarters."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.detection.mtcnn import Detection


def quarter_turns(detect: Callable[[Image], Sequence[Detection]], image: Image) -> Iterator[Detection]:
    """Faces that `detect` finds in an image (h, w, 3) turned by 90, 180 and 270 degrees.

    Box and points are in coordinates of the image itself; the order of the points shows the roll.
    """
    for turns in (1, 2, 3):
        for one in detect(np.ascontiguousarray(np.rot90(image, turns))):
            corners = turned_back(one.box.reshape(2, 2), turns, image.shape[:2])
            box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
            yield Detection(box, one.score, turned_back(one.points, turns, image.shape[:2]))


def turned_back(points: FloatArray, turns: int, size: tuple[int, ...]) -> FloatArray:
    """Points (..., 2) of `numpy.rot90(image, turns)`, turns 1 to 3, in an image of `size` (height, width).

    >>> turned_back(np.array([[0.0, 0.0]]), 1, (480, 640))  # upper left after a turn: upper right before
    array([[639.,   0.]])
    """
    x, y = points[..., 0], points[..., 1]
    right, bottom = size[1] - 1.0, size[0] - 1.0
    places = {1: (right - y, x), 2: (right - x, bottom - y), 3: (y, bottom - x)}
    back: FloatArray = np.stack(places[turns], axis=-1)
    return back
