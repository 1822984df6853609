"""The crop of a second cascade stage, in which predicted landmarks lie on the mean shape."""

import dataclasses
import math

import numpy as np

from facealign.arrays import FloatArray
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import apply, invert
from facealign.geometry.similarity import fit_similarity, mean_shape

MARGIN = 0.07
"""Free around the mean shape, as a fraction of the crop's side: as the released cascade has it."""
SHARE = 0.7
"""Of a second network's answer, which is the better one: errors cancel in a mean. See docs/results.md."""


def shape_of(spec: ModelSpec) -> FloatArray:
    """The mean shape (68, 2) that a second network's crops are made by."""
    shape: FloatArray = np.array(spec.mean_shape).reshape(2, -1).T
    return shape


def numbers_of(shape: FloatArray) -> tuple[float, ...]:
    """A mean shape (68, 2) as `ModelSpec` keeps it, to a thousandth of a pixel."""
    return tuple(float(value) for value in shape.T.round(3).ravel())


def aligned_spec(spec: ModelSpec, shapes: FloatArray, margin: float, after: str = "") -> ModelSpec:
    """`spec` as of a second network, whose crops lay faces on the mean of `shapes` (n, 68, 2).

    margin: as `mean_shape` has it; after: name of the first network. Its answer counts by SHARE.
    """
    mean = mean_shape(shapes, spec.size, margin)
    return dataclasses.replace(spec, crop="aligned", mean_shape=numbers_of(mean), after=after, share=SHARE)


def aligned_transform(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """Affine (2, 3) from the image to the crop of the second network `spec`, by a face's landmarks (68, 2).

    Or n of them, by landmarks (n, 68, 2). Raises ValueError when a face's are all in one place.
    """
    return fit_similarity(points, shape_of(spec))


def aligned_square(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """What the crop of the second network `spec` by a face's landmarks (68, 2) shows of the image.

    (4,): upper left and lower right corner of a square that is turned as the face is. The crop's longer side
    shows its side, the shorter one the middle part. Raises ValueError as `aligned_transform`.
    """
    size = np.array([spec.input_width, spec.input_height])
    corners = (size - 1) / 2 + max(size) / 2 * np.array([[-1.0], [1.0]])
    return apply(invert(aligned_transform(points, spec)), corners).ravel()


def upright_box(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """An upright box (4,) as large as what `aligned_square` gives, and in the same place."""
    low, high = aligned_square(points, spec).reshape(2, 2)
    half = float(np.hypot(*(high - low))) / math.sqrt(8)
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half])
