"""A cut of a photo that is large enough for every variation of one face's crop, and no larger."""

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
"""How far a first network may err and the second crop still be cut from a loose one whole: how far the crop's
centre is off, a share of its side, and by what factor its side. On 300-W and the like the released one stays
below 0.25 and within 0.83 to 1.58, of which no crop left its loose one by a pixel.
"""


@dataclass(frozen=True)
class ContextCrop:
    """A face's part of a photo, in pixels of its own.

    pixels: BGR (h, w, 3); points (68, 2); box (4,); half: `pixels` reduced by 2 where some draw shrinks them
    by 2 or more, so that they need not be averaged for every sample anew.
    """

    pixels: Image
    points: FloatArray
    box: FloatArray
    half: Image | None = None


def show(cuts: Sequence[ContextCrop], affines: FloatArray, size: tuple[int, int]) -> Iterator[Image]:
    """What `crop.warp` shows of the `pixels` of each of n crops by its affine (n, 2, 3), in less time.

    Each (height, width, 4): BGR and a channel of no meaning.
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
        picture = cut.half if half and cut.half is not None else cut.pixels
        part = picture[y1:y2, x1:x2]
        if part.size == 0:
            yield np.zeros((*size, 4), np.uint8)
            continue
        # OpenCV warps four channels in half the time of three. And memory that is first read from begin to
        # end need not be waited for when it is read crosswise.
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
    """Cut out what any draw of `settings` can show of the face in `box`.

    A face far larger than the network's input is reduced by a whole factor, by averaging, as long as no draw
    has to enlarge what is left. second: of a cascade's second network, whose crops by the first one's
    landmarks are to have room too, as far as these err no more than `ERROR` and `ZOOM` say.
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
    """The size of the pixels of `loose_crop` in a photo that has no border near the face; never more."""
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
    """Centre (2,) and half the side of the square to cut out, and the factor to reduce it by.

    And whether any draw shrinks what is then left by 2 or more.
    """
    shown = square(box, spec.box_scale, spec.box_shift)
    side = float(shown[2] - shown[0])
    smallest, largest = settings.scale_range
    short, long = sorted(spec.size)
    centre, factor = (shown[:2] + shown[2:]) / 2, side / (largest * long)
    most = side / long / smallest
    # The farthest corner of the crop, shifted both ways and shrunk most, and what averaging mixes in.
    reach = side * math.hypot(1, long / short) * (0.5 + settings.shift) / smallest
    if points is not None and second is not None:
        affine = aligned_transform(points, second)
        size = np.array([second.input_width, second.input_height])
        middle, shrink = apply(invert(affine), (size - 1) / 2), shrinking(affine)
        # Turned as it may be; and two of its pixels for the blocks of `warp`.
        farthest = shrink * (ZOOM * (math.hypot(*size) / 2 + 2) + ERROR * max(size))
        reach = max(reach, float(np.abs(middle - centre).max()) + farthest)
        factor = min(factor, shrink / ZOOM)
        most = max(most, shrink * ZOOM)
    whole = max(1, int(factor))
    reach += 2 * whole
    if max(map(abs, settings.rotate_range)) > 30:
        # A corner that points straight left, right, up or down leaves no room for the blocks of `warp`.
        reach += 2 * side / (smallest * short)
    return centre, reach, whole, most / whole >= MAX_SHRINK
