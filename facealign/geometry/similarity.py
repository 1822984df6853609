"""The least-squares similarity transform between shapes, and the mean shape."""

import numpy as np

from facealign.arrays import FloatArray
from facealign.geometry.affine import apply
from facealign.geometry.landmarks import MIRROR

ROUNDS = 10
"""Iterations of aligning shapes to their mean and averaging; after four, it changes by less than 1e-6."""


def fit_similarity(source: FloatArray, target: FloatArray) -> FloatArray:
    """Least-squares similarity transform (scale, rotation and shift, no mirroring) from source to target.

    source: (n, 2), or (k, n, 2) for k transforms; target: (n, 2). Returns (2, 3), or (k, 2, 3).
    Umeyama 1991; in the plane its solution is one division of complex numbers, for the z that brings
    z (s_i - mean s) nearest to t_i - mean t.
    Raises ValueError when all points of a source coincide.

    >>> corners = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    >>> turned = np.array([[5.0, 5], [5, 9], [1, 9], [1, 5]])  # a quarter turn, twice as large
    >>> apply(fit_similarity(corners, turned), np.array([1.0, 1.0])).round(6)
    array([3., 7.])
    """
    from_, to = source.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    start = (source - from_) @ np.array([1, 1j])
    end = (target - to) @ np.array([1, 1j])
    spread = (start.real**2 + start.imag**2).sum(axis=-1)
    if np.any(spread <= 0):
        raise ValueError("all points are in one place: scale and rotation are undefined")
    turn = (start.conj() * end).sum(axis=-1) / spread
    affine = np.empty((*np.shape(turn), 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = turn.real
    affine[..., 0, 1], affine[..., 1, 0] = -turn.imag, turn.imag
    affine[..., 2] = (to - from_ @ np.swapaxes(affine[..., :2], -1, -2))[..., 0, :]
    return affine


def mean_shape(shapes: FloatArray, size: tuple[int, int], margin: float) -> FloatArray:
    """Mean of shapes aligned to each other by similarity transforms, placed in a crop.

    shapes: (n, 68, 2), of any place, size and rotation; size: height and width of the crop, pixels; margin:
    room around the mean's bounding box along its tighter axis, as a fraction of the crop's side.
    Returns (68, 2) in pixels of the crop: upright, centred, and equal to its mirror image.
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
    """The shape (68, 2) turned upright and averaged with its mirror image; of unit RMS size, centred on 0."""
    mirrored = shape[MIRROR] * (-1.0, 1.0)
    # Aligning a shape to its mirror image rotates it by twice its lean; half of that makes it upright.
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
