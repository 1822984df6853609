"""A cut of a photo that is large enough for every variation of one face's crop, and no larger."""

import math
from dataclasses import dataclass

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.augment import Augmentation
from facealign.boxes import square
from facealign.crop import apply, block_average, invert
from facealign.spec import ModelSpec


@dataclass(frozen=True)
class LooseCrop:
    """pixels: BGR (h, w, 3); points (68, 2) and box (4,), in its own pixels."""

    pixels: Image
    points: FloatArray
    box: FloatArray


def loose_crop(
    image: Image, points: FloatArray, box: FloatArray, spec: ModelSpec, settings: Augmentation
) -> LooseCrop:
    """Cut out what any draw of `settings` can show of the face in `box`.

    A face far larger than the network's input is reduced by a whole factor, by averaging, as long as no draw
    has to enlarge what is left.
    """
    centre, reach, factor = _window(box, spec, settings)
    height, width = image.shape[:2]
    low = np.clip(np.floor(centre - reach), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, (width, height)).astype(int)
    cut = image[low[1] : high[1], low[0] : high[0]]
    grid = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    factor = min(factor, max(cut.shape[:2]))  # a larger block would be all but empty
    if factor > 1:
        cut, grid = block_average(cut, factor)
    grid[:, 2] += low
    back = invert(grid)
    return LooseCrop(
        np.ascontiguousarray(cut), apply(back, points), apply(back, box.reshape(2, 2)).reshape(4)
    )


def most_bytes(box: FloatArray, spec: ModelSpec, settings: Augmentation) -> int:
    """The size of the pixels of `loose_crop` in a photo that has no border near the face; never more."""
    _, reach, factor = _window(box, spec, settings)
    return 3 * math.ceil((2 * reach + 3) / factor) ** 2


def _window(box: FloatArray, spec: ModelSpec, settings: Augmentation) -> tuple[FloatArray, float, int]:
    """Centre (2,) and half the side of the square to cut out, and the factor to reduce it by."""
    shown = square(box, spec.box_scale, spec.box_shift)
    side = float(shown[2] - shown[0])
    smallest, largest = settings.scale_range
    short, long = sorted((spec.input_height, spec.input_width))
    factor = max(1, int(side / (largest * long)))
    # The farthest corner of the crop, shifted both ways and shrunk most, and what averaging mixes in.
    reach = side * math.hypot(1, long / short) * (0.5 + settings.shift) / smallest + 2 * factor
    if max(map(abs, settings.rotate_range)) > 30:
        # A corner that points straight left, right, up or down leaves no room for the blocks of `warp`.
        reach += 2 * side / (smallest * short)
    return (shown[:2] + shown[2:]) / 2, reach, factor
