"""The reference demo's crop, with its rounding, for weights trained by its author."""

import math
from dataclasses import dataclass

import numpy as np

from facealign.arrays import AnyArray, Float32Array, FloatArray, Image


@dataclass(frozen=True)
class PublishedCrop:
    """What maps landmarks of a published crop back to the image.

    scale: image pixels per crop pixel; left, top: corner of the cut, pixels of the resized image; border:
    width of the padding, image pixels.
    """

    scale: float
    left: int
    top: int
    border: int


def published_crop(image: Image, box: FloatArray) -> tuple[Float32Array, PublishedCrop]:
    """The reference demo's crop of a box, and what maps its landmarks back.

    image: BGR uint8 (h, w, 3); box: (4,) x1 y1 x2 y2, 1-based. Returns float32 (64, 64, 3), grey levels.
    It follows the demo exactly, off-by-one errors included: the box is squared, widened by 5 % left and right
    and 10 % below; the image is padded, resized whole, cut to 63x63 and stretched to 64x64. Of the padded and
    resized image, which the demo makes in floating point, only the pixels of the cut are computed.
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
    # The demo is Python 2, whose round() rounds halves up, not to even.
    left, top = math.floor(x1 / scale + 0.5), math.floor(y1 / scale + 0.5)
    cut = _bilinear(
        image,
        _resized_pixels(np.arange(left, left + 63), columns + 2 * border, scale) - border,
        _resized_pixels(np.arange(top, top + 63), rows + 2 * border, scale) - border,
        outside=0.0,
    )
    # caffe.io.resize_image maps the darkest grey level to 0, and reads 0 outside the image.
    stretched = (np.arange(64) + 0.5) * 63 / 64 - 0.5
    crop = _bilinear(cut, stretched, stretched, outside=float(cut.min()))
    return crop.astype(np.float32), PublishedCrop(scale, left, top, border)


def _resized_pixels(pixels: AnyArray, side: int, scale: float) -> FloatArray:
    """Positions on an axis of `side` pixels of the given pixels of that axis shrunk by `scale`.

    As in cv2.resize, the new length is rounded down, so the true factor is a little more than `scale`.
    """
    places: FloatArray = (pixels + 0.5) * (side / int(side / scale)) - 0.5
    return places


def _bilinear(image: AnyArray, x: FloatArray, y: FloatArray, outside: float) -> FloatArray:
    """`image` (h, w, 3) sampled bilinearly at every pair of columns x (n,) and rows y (m,); (m, n, 3).

    Pixels outside the image have the value `outside`.
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
    """Landmarks (68, 2), in 0-based image pixels, from network outputs (136,) on the crop of `record`."""
    x, y = np.split(np.asarray(values, dtype=np.float64).ravel() * 64 - 1, 2)
    points = np.stack([x + record.left + 1, y + record.top + 1], axis=-1)
    return points * record.scale - record.border - 1
