"""Context crop: a cut of a photo just large enough for every augmentation of one face's crop."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crops.aligned import aligned_transform
from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import (
    MAX_SHRINK,
    apply,
    block_average,
    block_grid,
    compose,
    invert,
    reach,
    shrinking,
    warp,
)
from facealign.geometry.boxes import square

ERROR, ZOOM = 0.25, 1.4
"""Largest errors of a first cascade stage for which the second stage's crop still fits into a context crop.

Of the crop's centre, as a fraction of its side, and of its side, as a factor. On 300-W and similar sets the
released first stage stays below 0.25 and within 0.83 to 1.58, and no crop left its context crop by a pixel.
"""


@dataclass(frozen=True)
class ContextCrop:
    """The part of a photo around a face; coordinates are in its own pixels.

    pixels: BGR (h, w, 3); points: (68, 2); box: (4,); half: `pixels` reduced by 2, kept where some draw
    shrinks them by 2 or more, so that they are not averaged again for every sample.
    """

    pixels: Image
    points: FloatArray
    box: FloatArray
    half: Image | None = None


def show(cuts: Sequence[ContextCrop], affines: FloatArray, size: tuple[int, int]) -> Iterator[Image]:
    """Crops from n context crops: what `affine.warp` gives of their `pixels`, in less time.

    affines: (n, 2, 3), from `pixels` to the crop; size: height and width of the crops. Yields uint8
    (height, width, 4): BGR and a channel without meaning.
    """
    shrinks = np.abs(np.linalg.det(affines[..., :2])) ** -0.5
    halved = (shrinks >= MAX_SHRINK) & np.array([cut.half is not None for cut in cuts])
    affines = np.where(halved[:, None, None], compose(affines, block_grid(2)), affines)
    reached = reach(affines, size)
    low = np.maximum(reached[:, :2], 0)
    high = np.maximum(reached[:, 2:], low)
    affines[..., 2:] += affines[..., :2] @ low[..., None]
    for cut, half, affine, (x1, y1), (x2, y2) in zip(
        cuts, halved.tolist(), affines, low.tolist(), high.tolist(), strict=True
    ):
        pixels = cut.half if half and cut.half is not None else cut.pixels
        part = pixels[y1:y2, x1:x2]
        if part.size == 0:
            yield np.zeros((*size, 4), np.uint8)
            continue
        # OpenCV warps four channels in half the time of three. The copy also brings the pixels into the
        # cache in order, so that a rotated warp does not wait for memory.
        four: Image = cv2.cvtColor(part, cv2.COLOR_BGR2BGRA)  # type: ignore[assignment]
        yield warp(four, affine, size)


def context_crop(
    image: Image,
    points: FloatArray,
    box: FloatArray,
    spec: ModelSpec,
    settings: Augmentation,
    second: ModelSpec | None = None,
) -> ContextCrop:
    """The part of a photo that any draw of `settings` can show of a face.

    image: BGR uint8 (h, w, 3); points: (68, 2); box: (4,); spec: of the network that the samples are for;
    second: spec of a second cascade stage, whose crops must fit too, for errors of the first stage of at most
    `ERROR` and `ZOOM`.
    A face far larger than the network's input is reduced by a whole factor, by averaging, as long as no draw
    has to enlarge the result.

    >>> photo, points = np.zeros((400, 400, 3), np.uint8), np.full((68, 2), 200.0)
    >>> face = context_crop(photo, points, np.array([150.0, 150, 250, 250]), ModelSpec(), Augmentation())
    >>> face.pixels.shape
    (197, 197, 3)
    """
    centre, reach, factor, halved = _window(box, spec, settings, points, second)
    height, width = image.shape[:2]
    low = np.clip(np.floor(centre - reach), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, (width, height)).astype(int)
    cut = image[low[1] : high[1], low[0] : high[0]]
    factor = min(factor, max(cut.shape[:2]))  # a larger block would be all but empty
    if factor > 1:
        cut, _ = block_average(cut, factor)
    offset = low + block_grid(factor)[:, 2]
    pixels = np.ascontiguousarray(cut)
    half = block_average(pixels, 2)[0] if halved else None
    corners = (box.reshape(2, 2) - offset) / factor
    return ContextCrop(pixels, (points - offset) / factor, corners.reshape(4), half)


def most_bytes(
    box: FloatArray,
    spec: ModelSpec,
    settings: Augmentation,
    points: FloatArray | None = None,
    second: ModelSpec | None = None,
) -> int:
    """Largest size in bytes of the pixels of `context_crop`: that of a face far from the photo's border."""
    _, reach, factor, halved = _window(box, spec, settings, points, second)
    side = math.ceil((2 * reach + 3) / factor)
    return 3 * (side**2 + (-(-side // 2)) ** 2 * halved)


def _window(
    box: FloatArray,
    spec: ModelSpec,
    settings: Augmentation,
    points: FloatArray | None,
    second: ModelSpec | None,
) -> tuple[FloatArray, float, int, bool]:
    """Centre (2,) and half the side of the square to cut out, the factor to reduce it by, and whether any
    draw shrinks the reduced square by 2 or more.
    """
    shown = square(box, spec.box_scale, spec.box_shift)
    side = float(shown[2] - shown[0])
    smallest, largest = settings.scale_range
    short, long = sorted(spec.size)
    centre, factor = (shown[:2] + shown[2:]) / 2, side / (largest * long)
    most = side / long / smallest
    # Distance of the crop's farthest corner, at the largest shift and the smallest scale.
    reach = side * math.hypot(1, long / short) * (0.5 + settings.shift) / smallest
    if points is not None and second is not None:
        affine = aligned_transform(points, second)
        size = np.array([second.input_width, second.input_height])
        middle, shrink = apply(invert(affine), (size - 1) / 2), shrinking(affine)
        # At any rotation, with two crop pixels more for the blocks that `warp` averages.
        farthest = shrink * (ZOOM * (math.hypot(*size) / 2 + 2) + ERROR * max(size))
        reach = max(reach, float(np.abs(middle - centre).max()) + farthest)
        factor = min(factor, shrink / ZOOM)
        most = max(most, shrink * ZOOM)
    whole = max(1, int(factor))
    reach += 2 * whole  # what averaging mixes in
    if max(map(abs, settings.rotate_range)) > 30:
        # A corner on an axis through the centre leaves no room for the blocks that `warp` averages.
        reach += 2 * side / (smallest * short)
    return centre, reach, whole, most / whole >= MAX_SHRINK
