"""The aligned crop of a second cascade stage: predicted landmarks are mapped onto the mean shape."""

import dataclasses
import math

import numpy as np

from facealign.arrays import FloatArray
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import apply, invert
from facealign.geometry.similarity import fit_similarity, mean_shape

MARGIN = 0.07
"""Room around the mean shape, as a fraction of the crop's side; that of the released cascade."""
SHARE = 0.7
"""Blend weight of the second cascade stage's prediction, the better one: errors partly cancel in a mean.

See docs/results.md.
"""


def shape_of(spec: ModelSpec) -> FloatArray:
    """The mean shape (68, 2) of a second cascade stage, in 0-based pixels of its aligned crop."""
    shape: FloatArray = np.array(spec.mean_shape).reshape(2, -1).T
    return shape


def numbers_of(shape: FloatArray) -> tuple[float, ...]:
    """A mean shape (68, 2) as `ModelSpec.mean_shape`: all x, then all y, to a thousandth of a pixel."""
    return tuple(float(value) for value in shape.T.round(3).ravel())


def aligned_spec(spec: ModelSpec, shapes: FloatArray, margin: float, after: str = "") -> ModelSpec:
    """`spec` changed to that of a second cascade stage, whose crops align faces to the mean of `shapes`.

    shapes: (n, 68, 2); margin: see `mean_shape`; after: name of the first cascade stage. The blend weight is
    SHARE.
    """
    mean = mean_shape(shapes, spec.size, margin)
    return dataclasses.replace(spec, crop="aligned", mean_shape=numbers_of(mean), after=after, share=SHARE)


def aligned_transform(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """Affine from the image to the aligned crop of the second cascade stage `spec`.

    points: (68, 2), a face's landmarks in the image, or (n, 68, 2). Returns (2, 3) or (n, 2, 3).
    Raises ValueError when all landmarks of a face coincide.
    """
    return fit_similarity(points, shape_of(spec))


def aligned_square(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """The square of the image that the aligned crop of the second cascade stage `spec` shows.

    points: (68, 2), a face's landmarks in the image. Returns (4,), the upper left and the lower right corner
    of a square that is rotated as the face is. The crop's longer side shows the square's side, the shorter
    one its middle part. Raises ValueError as `aligned_transform` does.
    """
    size = np.array([spec.input_width, spec.input_height])
    corners = (size - 1) / 2 + max(size) / 2 * np.array([[-1.0], [1.0]])
    return apply(invert(aligned_transform(points, spec)), corners).ravel()


def upright_box(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """Upright box (4,) with the centre and the size of the square of `aligned_square`."""
    low, high = aligned_square(points, spec).reshape(2, 2)
    half = float(np.hypot(*(high - low))) / math.sqrt(8)
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half])
