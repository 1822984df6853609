"""Confidence in predicted landmarks, by how well they turn along with the crop."""

import math

import numpy as np

from facealign.arrays import FloatArray

HALF, STEEPNESS = 0.044, 4.3
"""Disagreement at which landmarks are as often wrong as right; how fast that changes with its logarithm."""
DOUBTFUL = 0.5
"""Confidence below which a face is marked."""


def disagreement(first: FloatArray, second: FloatArray) -> FloatArray:
    """Mean distance between two predictions (n, 68, 2) of the same faces, by the size of the second: (n,).

    The size is the square root of the area of the landmarks' box. Infinite where that is 0, or a number is
    not finite.
    """
    distance = np.linalg.norm(first - second, axis=-1).mean(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = distance / np.sqrt(np.prod(np.ptp(second, axis=-2), axis=-1))
    return np.where(np.isfinite(ratio), ratio, np.inf)


def confidence(difference: float) -> float:
    """Probability, 0..1, that landmarks are right: their error is below 8 % of the inter-ocular distance.

    difference: mean `disagreement` of the landmarks and those predicted on tilted crops. A logistic function
    of its logarithm, fitted to the cascade on validation faces, turned and occluded (docs/inference.md).

    >>> confidence(0.0), confidence(math.inf), confidence(HALF)
    (1.0, 0.0, 0.5)
    """
    if difference <= 0:
        return 1.0
    if math.isinf(difference):
        return 0.0
    return float(1.0 / (1.0 + (difference / HALF) ** STEEPNESS))
