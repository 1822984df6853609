"""The square crop of a bounding box: one affine map from the image to the network's input."""

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import warp
from facealign.geometry.boxes import square


def crop_transform(
    box: FloatArray, size: tuple[int, int], scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> FloatArray:
    """Affine from the image to the square crop of a box.

    box: (4,) or (n, 4), image pixels; size: height and width of the crop, pixels; scale, shift: see `square`.
    Returns (2, 3) or (n, 2, 3), similarities. The crop's longer side shows the side of the square, its
    shorter one the square's middle part. Edges map to edges: the square's left one to crop x = -0.5, its
    right one to width - 0.5 (pixel centres are whole numbers), and likewise for y.

    >>> crop_transform(np.array([10.0, 10, 138, 138]), (64, 64))
    array([[ 0.5,  0. , -5.5],
           [ 0. ,  0.5, -5.5]])
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
    """The square crop of a box for the network of `spec`, and the affine (2, 3) from the image to it.

    image: BGR uint8 (h, w, 3); box: (4,), image pixels. The crop is uint8 (height, width, 3).

    >>> crop, affine = crop_face(np.zeros((90, 90, 3), np.uint8), np.array([20.0, 20, 60, 70]), ModelSpec())
    >>> crop.shape, affine.shape
    ((64, 64, 3), (2, 3))
    """
    size = spec.size
    affine = crop_transform(box, size, spec.box_scale, spec.box_shift)
    return warp(image, affine, size), affine
