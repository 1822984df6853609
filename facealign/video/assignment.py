"""Which box of a frame is which of the frame before: assignment by overlap."""

import numpy as np

from facealign.arrays import FloatArray
from facealign.geometry.boxes import overlap


def assign(boxes: FloatArray, others: FloatArray, least: float) -> list[tuple[int, int]]:
    """Pairs (index in boxes, index in others) of boxes (n, 4) and others (m, 4), each in one pair at most.

    The pair that overlaps most (intersection over union) is taken first, then the next of those left, down to
    an overlap of `least`, 0..1, above 0.

    >>> assign(np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]]), np.array([[21.0, 0, 31, 10]]), 0.3)
    [(1, 0)]
    """
    if len(boxes) == 0 or len(others) == 0:
        return []
    overlaps = overlap(boxes[:, None], others[None])
    pairs = []
    while overlaps.max() >= least:
        first, second = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        pairs.append((int(first), int(second)))
        overlaps[first], overlaps[:, second] = -1.0, -1.0
    return pairs
