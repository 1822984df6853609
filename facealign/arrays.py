"""Types of the arrays that pass between modules, and the check of an image."""

from typing import Any

import numpy as np
import numpy.typing as npt

from facealign.errors import FaceAlignError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int_]
BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
"""BGR image, (height, width, 3)."""
AnyArray = npt.NDArray[Any]


def check_image(image: Image) -> Image:
    """An image (h, w, 3) uint8, not empty, as it is. Raises FaceAlignError on any other array.

    >>> check_image(np.zeros((2, 3, 3), np.uint8)).shape
    (2, 3, 3)
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise FaceAlignError(f"an image of {image.dtype} {image.shape}: expected uint8 (h, w, 3)")
    return image
