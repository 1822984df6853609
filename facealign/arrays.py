"""Types of the arrays that pass between modules."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int_]
BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
"""BGR image, (height, width, 3)."""
AnyArray = npt.NDArray[Any]
