"""A flat surface of triangles."""

import numpy as np


def flat_grid(left, top, right, bottom, steps=6):
    """Vertices (steps * steps, 3), row by row, and triangles of a rectangle, at depth 0."""
    y, x = np.mgrid[:steps, :steps]
    first = (y[:-1, :-1] * steps + x[:-1, :-1]).ravel()
    upper = np.column_stack([first, first + 1, first + steps + 1])
    lower = np.column_stack([first, first + steps + 1, first + steps])
    places = np.column_stack([x.ravel(), y.ravel()]) / (steps - 1) * (right - left, bottom - top) + (
        left,
        top,
    )
    return np.column_stack([places, np.zeros(steps**2)]), np.vstack([upper, lower])
