"""The image of a surface of triangles that has moved: each triangle shows what it showed before."""

import cv2
import numpy as np

from facealign.arrays import Float32Array, FloatArray, Image, IntArray
from facealign.geometry.surface import facing

SAMPLES = 2
"""Samples per pixel and axis, so that the edges of what stands in front are smooth."""
SLACK = 1.0
"""Pixels by which a sample may lie beside its triangle, as those on its edge do."""
_FRACTION = 4
"""Bits of a corner's coordinates below a sample, as OpenCV fills triangles."""


def warp_surface(
    image: Image,
    before: FloatArray,
    after: FloatArray,
    triangles: IntArray,
    layers: IntArray,
    samples: int = SAMPLES,
) -> Image:
    """An image of a surface as it looks after its vertices have moved.

    image: uint8 (h, w, 3); before, after: (n, 3), the vertices where the image shows them, and where they go
    (see `surface`); triangles: (t, 3); layers: (t,), a triangle hides all of lower layers, and within its
    layer those farther away. What faces away is not drawn. Pixels without a triangle stay as they are; what a
    triangle shows beyond the image's border is the border's colour. samples: per pixel and axis.

    >>> image = np.repeat(np.arange(0, 250, 25, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    >>> corners = np.array([[-1.0, -1, 0], [10, -1, 0], [10, 5, 0], [-1, 5, 0]])
    >>> square = np.array([[0, 1, 2], [0, 2, 3]])
    >>> warp_surface(image, corners, corners + [2, 0, 0], square, np.zeros(2, int), samples=1)[0, :, 0]
    array([  0,   0,   0,  25,  50,  75, 100, 125, 150, 175], dtype=uint8)
    """
    height, width = image.shape[:2]
    low = np.clip(np.floor(after[:, :2].min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(after[:, :2].max(axis=0)) + 1, low, (width, height)).astype(int)
    if (high <= low).any():
        return image.copy()
    size = (high - low)[::-1] * samples
    placed = (after[:, :2] - low + 0.5) * samples - 0.5
    drawn = np.flatnonzero(facing(placed, triangles))
    drawn = drawn[np.lexsort((-after[triangles[drawn], 2].mean(axis=1), layers[drawn]))]
    chosen = _fill(placed[triangles[drawn]], (int(size[0]), int(size[1])))
    x, y = _sources(chosen, placed[triangles[drawn]], before[triangles[drawn]][..., :2], low, samples)
    part = cv2.remap(
        image, x, y, cv2.INTER_CUBIC if samples > 1 else cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    result = image.copy()
    result[low[1] : high[1], low[0] : high[0]] = cv2.resize(
        part, (high - low).tolist(), interpolation=cv2.INTER_AREA
    )
    return result


def _fill(corners: FloatArray, size: tuple[int, int]) -> IntArray:
    """Triangle that each sample (height, width) shows: the last that covers it of (t, 3, 2); t for none."""
    canvas = np.full(size, len(corners), np.float32)
    fixed = np.clip(np.round(corners * 2**_FRACTION), -(2.0**24), 2.0**24).astype(np.int32)
    for index, corner in enumerate(fixed):
        cv2.fillConvexPoly(canvas, corner, index, cv2.LINE_8, _FRACTION)
    return canvas.astype(np.int64)


def _sources(
    chosen: IntArray, placed: FloatArray, before: FloatArray, low: IntArray, samples: int
) -> tuple[Float32Array, Float32Array]:
    """x and y in the image of each sample (height, width), by the affine map of its triangle.

    chosen: of `_fill`; placed, before: (t, 3, 2), corners in samples and in the image.
    """
    corners = np.concatenate([placed, np.ones((len(placed), 3, 1))], axis=2)
    affine = np.linalg.solve(corners, before).reshape(-1, 6)
    bounds = np.hstack([before.min(axis=1) - SLACK, before.max(axis=1) + SLACK])
    scale, (left, top) = 1 / samples, low + 0.5 / samples - 0.5
    stay = [scale, 0, 0, scale, left, top, *np.full(2, -np.inf), *np.full(2, np.inf)]
    rows = np.vstack([np.hstack([affine, bounds]), stay]).astype(np.float32)[chosen]
    column = np.arange(chosen.shape[1], dtype=np.float32)
    row = np.arange(chosen.shape[0], dtype=np.float32)[:, None]
    x = rows[..., 0] * column + rows[..., 2] * row + rows[..., 4]
    y = rows[..., 1] * column + rows[..., 3] * row + rows[..., 5]
    return np.clip(x, rows[..., 6], rows[..., 8]), np.clip(y, rows[..., 7], rows[..., 9])
