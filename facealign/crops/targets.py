"""Network targets and outputs: the one border between 0-based pixels and 1-based numbers."""

import numpy as np

from facealign.arrays import AnyArray, Float32Array, FloatArray


def encode_targets(points: FloatArray, size: tuple[int, int], origin: int = 1) -> Float32Array:
    """Network targets (..., 2n), all x then all y, of crop pixels (..., n, 2), 0-based.

    A target is (pixel + origin) / side, the side being width for x and height for y.
    """
    scaled = (points + origin) / np.array([size[1], size[0]], dtype=np.float64)
    return np.concatenate([scaled[..., 0], scaled[..., 1]], axis=-1).astype(np.float32)


def decode_targets(values: AnyArray, size: tuple[int, int], origin: int = 1) -> FloatArray:
    """Crop pixels (..., n, 2), 0-based, of network outputs (..., 2n): the inverse of `encode_landmarks`."""
    x, y = np.split(np.asarray(values, dtype=np.float64), 2, axis=-1)
    return np.stack([x * size[1], y * size[0]], axis=-1) - origin
