"""A made-up upright face that is its own mirror image, drawn by the numbering of the 68-point markup."""

import numpy as np


def _ring(centre, radii, start, n):
    """`n` points clockwise on the screen around an ellipse, from `start` degrees (180: its left end)."""
    angles = np.deg2rad(start + 360 / n * np.arange(n))
    return np.asarray(centre) + np.column_stack([np.cos(angles), np.sin(angles)]) * radii


def upright_face(centre=(0.0, 0.0), side=1.0):
    """(68, 2): about `side` wide and high around `centre`; "left" is the picture's left, as in the markup."""
    jaw = np.linspace(np.pi, 0, 17)
    contour = np.column_stack([0.5 * np.cos(jaw), 0.6 * np.sin(jaw) - 0.1])
    brow = np.column_stack([np.linspace(-0.40, -0.12, 5), [-0.26, -0.31, -0.33, -0.32, -0.29]])
    bridge = np.column_stack([np.zeros(4), np.linspace(-0.2, 0.06, 4)])
    nostrils = np.column_stack([np.linspace(-0.1, 0.1, 5), [0.12, 0.135, 0.145, 0.135, 0.12]])
    eyes = [_ring((x, -0.18), (0.085, 0.035), 180, 6) for x in (-0.23, 0.23)]
    lips = [_ring((0, 0.28), radii, 180, n) for radii, n in (((0.19, 0.08), 12), ((0.15, 0.035), 8))]
    parts = [contour, brow, (brow * (-1, 1))[::-1], bridge, nostrils, *eyes, *lips]
    return np.vstack(parts) * side + np.asarray(centre)
