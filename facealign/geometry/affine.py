"""Affine maps of points and images, (2, 3) matrices: apply, compose, invert, warp."""

import math

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image, IntArray

MAX_SHRINK = 2.0
"""Bilinear sampling aliases when a picture shrinks by more than this; it is then area-averaged first."""


def apply(affine: FloatArray, points: FloatArray) -> FloatArray:
    """Map points (..., 2) by an affine (2, 3), or points (k, n, 2) by k affines (k, 2, 3)."""
    offset = affine[..., 2] if affine.ndim == 2 else affine[..., None, :, 2]
    mapped: FloatArray = points @ np.swapaxes(affine[..., :2], -1, -2) + offset
    return mapped


def compose(second: FloatArray, first: FloatArray) -> FloatArray:
    """The affine (..., 2, 3) that does `first`, then `second`."""
    linear = second[..., :2] @ first
    linear[..., 2] += second[..., 2]
    composed: FloatArray = linear
    return composed


def invert(affine: FloatArray) -> FloatArray:
    """The inverse of an affine (2, 3). Raises numpy.linalg.LinAlgError when there is none."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def warp(image: Image, affine: FloatArray, size: tuple[int, int]) -> Image:
    """The picture (height, width, c) that `affine` (image to crop, (2, 3)) shows of `image` (h, w, c).

    Black outside. Bilinear; a part that shrinks by 2 or more is averaged over whole blocks of pixels first.
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
    """How many pixels of the image, along a line, become one of the crop that an affine (2, 3) makes."""
    (a, b, _), (c, d, _) = affine.tolist()
    return 1.0 / math.sqrt(abs(a * d - b * c))


def reach(affine: FloatArray, size: tuple[int, int]) -> IntArray:
    """The pixels x1 y1 x2 y2 (the last ones not included) of the image a crop of `size` can show; (..., 4).

    affine: (..., 2, 3), image to crop.
    """
    centre = (np.array([size[1], size[0]]) - 1) / 2
    back = np.linalg.inv(affine[..., :2])
    # Where the crop's centre lies, and how far from it what its outermost pixels are mixed from.
    middle = (back @ (centre - affine[..., 2])[..., None])[..., 0]
    far = np.abs(back) @ (centre + 1)
    return np.concatenate([np.floor(middle - far), np.ceil(middle + far) + 1], axis=-1).astype(int)


def block_average(image: Image, factor: int) -> tuple[Image, FloatArray]:
    """The picture reduced by a whole factor, each pixel the mean of a block, and the affine back to `image`.

    Whole blocks only, so that a block's centre maps exactly; the last ones are filled up with black.
    """
    rows, columns = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    missing = (rows * factor - image.shape[0], columns * factor - image.shape[1])
    if any(missing):
        image = cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)  # type: ignore[assignment]
    small: Image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small, block_grid(factor)


def block_grid(factor: int) -> FloatArray:
    """The affine (2, 3) from a picture reduced by blocks, `factor` pixels wide, to the picture before."""
    # Pixel u of the reduced picture has its centre at factor * u + (factor - 1) / 2.
    offset = (factor - 1) / 2
    return np.array([[factor, 0.0, offset], [0.0, factor, offset]])


def _sample(image: Image, affine: FloatArray, size: tuple[int, int]) -> Image:
    warped: Image = cv2.warpAffine(  # type: ignore[assignment]
        image, affine, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return warped
