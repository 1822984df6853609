"""Metrics of landmarks: normalised mean error, its bootstrap confidence interval, failure rate, CED, AUC."""

import numpy as np

from facealign.arrays import FloatArray
from facealign.geometry.landmarks import LANDMARK_GROUPS, inter_ocular, inter_pupil

NORMALISERS = {"inter_pupil": inter_pupil, "inter_ocular": inter_ocular}
LEVEL, RESAMPLES, SEED = 0.95, 10_000, 0
"""Defaults of a bootstrap confidence interval."""


def point_errors(predicted: FloatArray, truth: FloatArray) -> FloatArray:
    """Distances of predicted landmarks to the true ones, in pixels; (..., 68, 2) twice -> (..., 68)."""
    distances: FloatArray = np.linalg.norm(predicted - truth, axis=-1)
    return distances


def nme(predicted: FloatArray, truth: FloatArray, norm: str) -> FloatArray:
    """Normalised mean error: mean_i |p_i - t_i| / d of each face, a fraction; (n, 68, 2) twice -> (n,).

    norm: d, the truth's "inter_pupil" or "inter_ocular" distance. Raises ValueError on another name, on
    shapes that differ, and on a face whose d is 0.
    """
    distance = _distance(predicted, truth, norm)
    result: FloatArray = point_errors(predicted, truth).mean(axis=-1) / distance
    return result


def group_nme(predicted: FloatArray, truth: FloatArray, norm: str) -> dict[str, FloatArray]:
    """NME over the landmarks of each of LANDMARK_GROUPS alone: group -> (n,). Raises as `nme` does."""
    distance = _distance(predicted, truth, norm)
    errors = point_errors(predicted, truth)
    return {name: errors[..., members].mean(axis=-1) / distance for name, members in LANDMARK_GROUPS.items()}


def _distance(predicted: FloatArray, truth: FloatArray, norm: str) -> FloatArray:
    """The normalising distance (n,) of each face, checked."""
    if norm not in NORMALISERS:
        raise ValueError(f"norm is {norm!r}, expected one of {', '.join(NORMALISERS)}")
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted {predicted.shape} and true landmarks {truth.shape} differ in shape")
    distance = NORMALISERS[norm](truth)
    if np.any(distance <= 0):
        raise ValueError(f"a face with {norm} distance 0 has no normalised error")
    return distance


def bootstrap_interval(
    values: FloatArray, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Bootstrap confidence interval (percentile method) of the mean of `values` (n,), one for each face.

    The faces are resampled, with replacement, `resamples` times. The same seed gives the same interval.
    (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.)
    Raises ValueError when there is no value, or `level` is not between 0 and 1.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"values of shape {values.shape}, expected one number or more")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected more than 0 and less than 1")
    rng = np.random.default_rng(seed)
    rows = max(1, 1_000_000 // len(values))  # resamples at a time, to limit memory
    means = np.concatenate(
        [
            values[rng.integers(0, len(values), (min(rows, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def failure_rate(errors: FloatArray, threshold: float, missed: int = 0) -> float:
    """Fraction, 0..1, of faces whose error exceeds `threshold` or is NaN; `missed` faces count as failures.

    Raises ValueError when there is no face.
    """
    faces = len(errors) + missed
    if faces == 0:
        raise ValueError("no face to compute a failure rate of")
    return (int(np.count_nonzero(~(np.asarray(errors) <= threshold))) + missed) / faces


def ced(errors: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Cumulative error distribution: the fraction of faces whose error is at most each threshold."""
    if len(errors) == 0:
        raise ValueError("no face to compute an error distribution of")
    return np.searchsorted(np.sort(errors), thresholds, side="right") / len(errors)


def auc(errors: FloatArray, threshold: float) -> float:
    """Area under the CED curve from 0 to `threshold`, as a fraction of the threshold: 0..1, 1 is best.

    Exact, not by quadrature: the CED is a step function, so the area is mean(max(1 - error / threshold, 0)).
    """
    if len(errors) == 0:
        raise ValueError("no face to compute an area of")
    return float(np.maximum(1.0 - np.asarray(errors) / threshold, 0.0).mean())
