"""Whether an engine computes what stock Caffe does. Imports NumPy only: peers' environments use it too."""

import numpy as np

TOLERANCE = 1e-4
"""How far, at most, an output may be from the reference's."""
GRADIENT_TOLERANCE, SMALL = 5e-2, 1e-2
"""How far the root mean square of a gradient's differences may be, as a part of its own, or of SMALL.

Not the largest difference: rounding turns the sign of an activation here and there, and with it the slope of
its ReLU, which moves the gradients of that channel by several per cent.
"""


def check_close(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Raise ValueError when the largest difference is above TOLERANCE, or not a number."""
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ValueError(f"computes something else than stock Caffe: {what} differs by {difference:.2g}")


def check_gradient(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Raise ValueError when a gradient is too far from the reference's, or not a number."""
    size = max(float(np.sqrt(np.mean(np.square(expected)))), SMALL)
    difference = float(np.sqrt(np.mean(np.square(found - expected)))) / size
    if not difference <= GRADIENT_TOLERANCE:
        raise ValueError(
            f"computes something else than stock Caffe: {what} differs by {100 * difference:.2g} %"
        )
