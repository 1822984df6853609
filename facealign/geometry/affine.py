"""Affine maps of points and images, as (2, 3) matrices: apply, compose, invert, warp."""

import math

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image, IntArray

MAX_SHRINK = 2.0
"""An image that shrinks by this factor or more is area-averaged first: bilinear sampling would alias."""


def apply(affine: FloatArray, points: FloatArray) -> FloatArray:
    """Points mapped by an affine.

    affine: (2, 3) with points (..., 2), or (k, 2, 3) with points (k, n, 2). Returns the shape of `points`.

    >>> apply(np.array([[2.0, 0, 5], [0, 2, 0]]), np.array([[1.0, 3]]))
    array([[7., 6.]])
    """
    offset = affine[..., 2] if affine.ndim == 2 else affine[..., None, :, 2]
    mapped: FloatArray = points @ np.swapaxes(affine[..., :2], -1, -2) + offset
    return mapped


def compose(second: FloatArray, first: FloatArray) -> FloatArray:
    """The affine that applies `first`, then `second`; each (..., 2, 3).

    >>> double, shift = np.array([[2.0, 0, 0], [0, 2, 0]]), np.array([[1.0, 0, 5], [0, 1, 0]])
    >>> compose(shift, double)
    array([[2., 0., 5.],
           [0., 2., 0.]])
    """
    linear = second[..., :2] @ first
    linear[..., 2] += second[..., 2]
    composed: FloatArray = linear
    return composed


def invert(affine: FloatArray) -> FloatArray:
    """The inverse of an affine (2, 3). Raises numpy.linalg.LinAlgError when there is none.

    >>> invert(np.array([[2.0, 0, 4], [0, 2, 6]]))
    array([[ 0.5,  0. , -2. ],
           [ 0. ,  0.5, -3. ]])
    """
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def warp(image: Image, affine: FloatArray, size: tuple[int, int]) -> Image:
    """The crop that an affine makes of an image.

    image: uint8 (h, w, c); affine: (2, 3), from image to crop pixels; size: height and width of the crop.
    Returns uint8 (height, width, c), black outside the image. Sampling is bilinear; where the image shrinks
    by MAX_SHRINK or more, whole blocks of pixels are averaged first.

    >>> image = np.zeros((4, 4, 3), np.uint8)
    >>> image[1, 2] = 200
    >>> warp(image, np.array([[1.0, 0, -2], [0, 1, -1]]), (2, 2))[..., 0]
    array([[200,   0],
           [  0,   0]], dtype=uint8)
    """
    height, width = size
    shrink = shrinking(affine)
    if shrink < MAX_SHRINK:
        return _sample(image, affine, size)
    factor = min(int(shrink), max(image.shape[:2]))  # a larger block would be all but empty
    x1, y1, x2, y2 = reach(affine, size).tolist()
    x1, y1 = max(x1 - factor, 0), max(y1 - factor, 0)
    x2, y2 = min(x2 + factor, image.shape[1]), min(y2 + factor, image.shape[0])
    if x2 <= x1 or y2 <= y1:
        return np.zeros((height, width, image.shape[2]), dtype=np.uint8)
    small, grid = block_average(image[y1:y2, x1:x2], factor)
    grid[:, 2] += (x1, y1)
    return _sample(small, compose(affine, grid), size)


def shrinking(affine: FloatArray) -> float:
    """Image pixels per crop pixel along a line, 1 / sqrt(|det|), for an affine (2, 3) from image to crop."""
    (a, b, _), (c, d, _) = affine.tolist()
    return 1.0 / math.sqrt(abs(a * d - b * c))


def reach(affine: FloatArray, size: tuple[int, int]) -> IntArray:
    """Bounds of the image pixels that a crop depends on.

    affine: (..., 2, 3), from image to crop pixels; size: height and width of the crop. Returns whole numbers
    x1 y1 x2 y2 (..., 4), x2 and y2 exclusive; they may lie outside the image.
    """
    centre = (np.array([size[1], size[0]]) - 1) / 2
    back = np.linalg.inv(affine[..., :2])
    # The crop's centre in the image, and the distance to the farthest pixels that are interpolated.
    middle = (back @ (centre - affine[..., 2])[..., None])[..., 0]
    far = np.abs(back) @ (centre + 1)
    return np.concatenate([np.floor(middle - far), np.ceil(middle + far) + 1], axis=-1).astype(int)


def block_average(image: Image, factor: int) -> tuple[Image, FloatArray]:
    """An image reduced by a whole factor, each pixel the mean of a block, and the affine (2, 3) back.

    image: uint8 (h, w, c); factor: side of a block, pixels. The last blocks are padded with black to whole
    ones, so that the centre of every block maps exactly.
    """
    rows, columns = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    missing = (rows * factor - image.shape[0], columns * factor - image.shape[1])
    if any(missing):
        image = cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)  # type: ignore[assignment]
    small: Image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small, block_grid(factor)


def block_grid(factor: int) -> FloatArray:
    """Affine (2, 3) from an image reduced by blocks, `factor` pixels wide, to the original image.

    >>> block_grid(2)
    array([[2. , 0. , 0.5],
           [0. , 2. , 0.5]])
    """
    # Pixel u of the reduced image has its centre at factor * u + (factor - 1) / 2.
    offset = (factor - 1) / 2
    return np.array([[factor, 0.0, offset], [0.0, factor, offset]])


def _sample(image: Image, affine: FloatArray, size: tuple[int, int]) -> Image:
    warped: Image = cv2.warpAffine(  # type: ignore[assignment]
        image, affine, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return warped
