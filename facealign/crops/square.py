"""The crop by a bounding box: one affine map from the image to the network's input."""

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import warp
from facealign.geometry.boxes import square


def crop_transform(
    box: FloatArray, size: tuple[int, int], scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> FloatArray:
    """Affine (2, 3) from image pixels to pixels of a crop of `size` (height, width); for boxes (n, 4), n.

    The crop's longer side shows the side of `square(box, scale, shift)`, its shorter one the middle part: a
    similarity. Edges fall on edges: the square's left one on crop x = -0.5, its right one on width - 0.5
    (pixel centres are whole numbers), and so for y.
    """
    shown = square(np.asarray(box, dtype=np.float64), scale, shift)
    height, width = size
    zoom = max(size) / (shown[..., 2] - shown[..., 0])
    affine = np.zeros((*zoom.shape, 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = zoom
    affine[..., 0, 2] = (width - 1) / 2 - zoom * (shown[..., 0] + shown[..., 2]) / 2
    affine[..., 1, 2] = (height - 1) / 2 - zoom * (shown[..., 1] + shown[..., 3]) / 2
    return affine


def crop_face(image: Image, box: FloatArray, spec: ModelSpec) -> tuple[Image, FloatArray]:
    """The crop of `box` (4,) that a network wants, and the affine (2, 3) from the image to it."""
    size = spec.size
    affine = crop_transform(box, size, spec.box_scale, spec.box_shift)
    return warp(image, affine, size), affine
