"""Shapes laid on shapes: the least-squares similarity transform and the mean shape."""

import numpy as np

from facealign.arrays import FloatArray
from facealign.geometry.affine import apply
from facealign.geometry.landmarks import MIRROR

ROUNDS = 10
"""Of laying shapes on their mean and averaging anew; the mean changes by less than a millionth after four."""


def fit_similarity(source: FloatArray, target: FloatArray) -> FloatArray:
    """The similarity (2, 3): scale, rotation, shift that bring source (n, 2) nearest to target (n, 2).

    Or k of them (k, 2, 3), of sources (k, n, 2). Least squares over the points; it never mirrors. (Umeyama
    1991, whose solution in the plane is a division of complex numbers: the best z with
    z (s_i - mean s) = t_i - mean t.)
    Raises ValueError when all of a source is one point.
    """
    from_, to = source.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    start = (source - from_) @ np.array([1, 1j])
    end = (target - to) @ np.array([1, 1j])
    spread = (start.real**2 + start.imag**2).sum(axis=-1)
    if np.any(spread <= 0):
        raise ValueError("all points are in one place, which tells no scale and no angle")
    turn = (start.conj() * end).sum(axis=-1) / spread
    affine = np.empty((*np.shape(turn), 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = turn.real
    affine[..., 0, 1], affine[..., 1, 0] = -turn.imag, turn.imag
    affine[..., 2] = (to - from_ @ np.swapaxes(affine[..., :2], -1, -2))[..., 0, :]
    return affine


def mean_shape(shapes: FloatArray, size: tuple[int, int], margin: float) -> FloatArray:
    """The mean of faces (n, 68, 2), laid on each other by similarities, in a crop of `size` (height, width).

    It is its own mirror image, upright, in the middle, and leaves `margin`, a share of the crop's side, free
    around its box on the side where it is tightest. (68, 2), pixels of the crop. Does not depend on the
    place, size and angle of the shapes.
    Raises ValueError when there is no shape.
    """
    if len(shapes) == 0:
        raise ValueError("no shape to take the mean of")
    mean = _symmetric(shapes[0])
    for _ in range(ROUNDS):
        mean = _symmetric(apply(fit_similarity(shapes, mean), shapes).mean(axis=0))
    height, width = size
    low, high = mean.min(axis=0), mean.max(axis=0)
    room = np.array([width, height]) * (1 - 2 * margin)
    scale = float((room / (high - low)).min())
    placed: FloatArray = (mean - (low + high) / 2) * scale + np.array([width - 1, height - 1]) / 2
    return placed


def _symmetric(shape: FloatArray) -> FloatArray:
    """The shape (68, 2) turned upright and averaged with its mirror image; of unit size, centred on 0."""
    mirrored = shape[MIRROR] * (-1.0, 1.0)
    # Laid on its mirror image, a shape turns by twice the angle it leans: half of that, and both are upright.
    turn = fit_similarity(shape, mirrored)
    angle = np.arctan2(turn[1, 0], turn[0, 0]) / 2
    upright = _turned(shape - shape.mean(axis=0), angle)
    if upright[:17, 1].mean() < upright[17:, 1].mean():  # the outline is below the brows, eyes and nose
        upright = -upright
    both = (upright + upright[MIRROR] * (-1.0, 1.0)) / 2
    symmetric: FloatArray = both / np.sqrt((both**2).sum() / len(both))
    return symmetric


def _turned(points: FloatArray, angle: float) -> FloatArray:
    cosine, sine = np.cos(angle), np.sin(angle)
    turned: FloatArray = points @ np.array([[cosine, sine], [-sine, cosine]])
    return turned
