"""Network targets and outputs: the conversion between 0-based pixels and 1-based fractions."""

import numpy as np

from facealign.arrays import AnyArray, Float32Array, FloatArray


def encode_targets(points: FloatArray, size: tuple[int, int], origin: int = 1) -> Float32Array:
    """Network targets of landmarks: (pixel + origin) / side, the side being width for x and height for y.

    points: (..., n, 2), 0-based pixels of a crop of `size` (height, width). Returns float32 (..., 2n), all x
    then all y.

    >>> encode_targets(np.array([[31.0, 15.0]]), (64, 64))
    array([0.5 , 0.25], dtype=float32)
    """
    scaled = (points + origin) / np.array([size[1], size[0]], dtype=np.float64)
    return np.concatenate([scaled[..., 0], scaled[..., 1]], axis=-1).astype(np.float32)


def decode_targets(values: AnyArray, size: tuple[int, int], origin: int = 1) -> FloatArray:
    """Landmarks (..., n, 2), 0-based crop pixels, of network outputs (..., 2n): inverse of `encode_targets`.

    >>> decode_targets(np.array([0.5, 0.25]), (64, 64))
    array([[31., 15.]])
    """
    x, y = np.split(np.asarray(values, dtype=np.float64), 2, axis=-1)
    return np.stack([x * size[1], y * size[0]], axis=-1) - origin
