"""The face crop: one affine map from the image to the network's input, and its exact inverse.

Also the one border between 0-based pixels and the networks' 1-based numbers, and the reference demo's own
crop, with its rounding, for weights trained by its author.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from facealign.arrays import AnyArray, Float32Array, FloatArray, Image, IntArray
from facealign.boxes import square
from facealign.spec import ModelSpec

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


def crop_face(image: Image, box: FloatArray, spec: ModelSpec) -> tuple[Image, FloatArray]:
    """The crop of `box` (4,) that a network wants, and the affine (2, 3) from the image to it."""
    size = (spec.input_height, spec.input_width)
    affine = crop_transform(box, size, spec.box_scale, spec.box_shift)
    return warp(image, affine, size), affine


def encode_landmarks(points: FloatArray, size: tuple[int, int], origin: int = 1) -> Float32Array:
    """Network targets (..., 2n), all x then all y, of crop pixels (..., n, 2), 0-based.

    A target is (pixel + origin) / side, the side being width for x and height for y.
    """
    scaled = (points + origin) / np.array([size[1], size[0]], dtype=np.float64)
    return np.concatenate([scaled[..., 0], scaled[..., 1]], axis=-1).astype(np.float32)


def decode_landmarks(values: AnyArray, size: tuple[int, int], origin: int = 1) -> FloatArray:
    """Crop pixels (..., n, 2), 0-based, of network outputs (..., 2n): the inverse of `encode_landmarks`."""
    x, y = np.split(np.asarray(values, dtype=np.float64), 2, axis=-1)
    return np.stack([x * size[1], y * size[0]], axis=-1) - origin


@dataclass(frozen=True)
class PublishedCrop:
    """What the reference demo needs to bring landmarks back: pixels per crop pixel, corner, border."""

    scale: float
    left: int
    top: int
    border: int


def published_crop(image: Image, box: FloatArray) -> tuple[Float32Array, PublishedCrop]:
    """The reference demo's 64x64 crop (float, grey levels) of a 1-based box x1 y1 x2 y2.

    To the letter, off-by-ones included: the box is squared, widened by 5 % left and right and 10 % below; the
    image is padded, resized whole, cut to 63x63 and stretched to 64x64. Of the padded and resized picture,
    which the demo makes in floating point, only the pixels of the cut are computed.
    """
    x1, y1, x2, y2 = (float(value) - 1 for value in box)
    width, height = x2 - x1 + 1, y2 - y1 + 1
    if width > height:
        y1, y2 = y1 - (width - height) / 2, y2 + (width - height) / 2
    else:
        x1, x2 = x1 - (height - width) / 2, x2 + (height - width) / 2
    wide, high = x2 - x1, y2 - y1
    x1, x2, y2 = x1 - 0.05 * wide, x2 + 0.05 * wide, y2 + 0.10 * high
    rows, columns = image.shape[:2]
    border = int(max(-x1, -y1, x2 - columns, y2 - rows, 0)) + 10
    x1, x2, y1, y2 = x1 + border, x2 + border, y1 + border, y2 + border
    scale = (x2 - x1) / 64
    # The demo is Python 2, whose round() takes a half up, not to the even neighbour.
    left, top = math.floor(x1 / scale + 0.5), math.floor(y1 / scale + 0.5)
    cut = _bilinear(
        image,
        _resized_pixels(np.arange(left, left + 63), columns + 2 * border, scale) - border,
        _resized_pixels(np.arange(top, top + 63), rows + 2 * border, scale) - border,
        outside=0.0,
    )
    # caffe.io.resize_image maps the darkest grey level to 0 and takes 0 for what lies outside
    stretched = (np.arange(64) + 0.5) * 63 / 64 - 0.5
    crop = _bilinear(cut, stretched, stretched, outside=float(cut.min()))
    return crop.astype(np.float32), PublishedCrop(scale, left, top, border)


def _resized_pixels(pixels: AnyArray, side: int, scale: float) -> FloatArray:
    """Where `pixels` of an axis shrunk by `scale` lie on that axis before, `side` pixels long.

    As cv2.resize has it: the new length is whole, so that the true factor is a little more than `scale`.
    """
    places: FloatArray = (pixels + 0.5) * (side / int(side / scale)) - 0.5
    return places


def _bilinear(image: AnyArray, x: FloatArray, y: FloatArray, outside: float) -> FloatArray:
    """`image` (h, w, 3) sampled at every pair of columns x (n,) and rows y (m,); (m, n, 3).

    Pixels beyond the image have the value `outside`.
    """
    height, width = image.shape[:2]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_weight, lower_weight = x - left, y - top
    sampled = np.zeros((len(y), len(x), image.shape[2]))
    for column, column_weight in ((left, 1 - right_weight), (left + 1, right_weight)):
        for row, row_weight in ((top, 1 - lower_weight), (top + 1, lower_weight)):
            inside = np.outer((row >= 0) & (row < height), (column >= 0) & (column < width))
            pixels = image[np.ix_(row.clip(0, height - 1), column.clip(0, width - 1))]
            weight = np.outer(row_weight, column_weight)[..., None]
            sampled += weight * np.where(inside[..., None], pixels, outside)
    return sampled


def published_landmarks(values: AnyArray, record: PublishedCrop) -> FloatArray:
    """Landmarks (68, 2) in 0-based image pixels from network outputs (136,) on a published crop."""
    x, y = np.split(np.asarray(values, dtype=np.float64).ravel() * 64 - 1, 2)
    points = np.stack([x + record.left + 1, y + record.top + 1], axis=-1)
    return points * record.scale - record.border - 1
