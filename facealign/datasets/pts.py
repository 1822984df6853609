"""Reading and writing .pts files: landmarks as 300-W publishes them, 1-based."""

from pathlib import Path

import numpy as np

from facealign.arrays import FloatArray
from facealign.errors import FaceAlignError
from facealign.geometry.landmarks import N_LANDMARKS
from facealign.io.atomic import replacing
from facealign.io.reading import read_text


def read_pts(path: Path, expected: int | None = N_LANDMARKS) -> FloatArray:
    """Landmarks (n, 2) of a .pts file, in 0-based pixels (the file's are 1-based).

    Raises FaceAlignError when the file cannot be read, is malformed, or has another number of points than
    `expected` (None: any).
    """
    text = read_text(path, "expected a .pts file, the annotation of an image")
    head, brace, rest = text.partition("{")
    body, closing, _ = rest.partition("}")
    if not brace or not closing:
        raise FaceAlignError(f"{path}: no {{ ... }} block of points: truncated, or not a .pts file")
    declared: int | None = None
    coordinates: list[float] = []
    line = 0
    try:
        for content in head.split("\n"):
            line += 1
            key, _, value = content.partition(":")
            if key.strip() == "n_points":
                declared = int(value)
        for content in body.split("\n"):  # the first is what follows the brace
            coordinates += [float(word) for word in content.split()]
            line += 1
    except ValueError as error:
        raise FaceAlignError(f"{path}, line {line}: not a .pts file ({error})") from error
    numbers = np.array(coordinates)
    if declared is None:
        declared = len(numbers) // 2
    if len(numbers) % 2 or len(numbers) != 2 * declared:
        raise FaceAlignError(f"{path}: {len(numbers)} coordinates, but n_points says {declared} points")
    if expected is not None and declared != expected:
        raise FaceAlignError(f"{path}: {declared} points, expected {expected}")
    if not np.isfinite(numbers).all():
        raise FaceAlignError(f"{path}: a coordinate is not a finite number")
    return numbers.reshape(-1, 2) - 1.0


def write_pts(path: Path, points: FloatArray) -> None:
    """Write points (n, 2), 0-based pixels, as a 1-based .pts file, to a millionth of a pixel."""
    with replacing(path) as partial:
        partial.write_text(pts_text(points), encoding="utf-8")


def pts_text(points: FloatArray) -> str:
    """Contents of a 1-based .pts file of points (n, 2), 0-based pixels, to a millionth of a pixel.

    >>> print(pts_text(np.array([[0.0, 9.5]])), end="")
    version: 1
    n_points: 1
    {
    1.000000 10.500000
    }
    """
    rows = "".join(f"{x:.6f} {y:.6f}\n" for x, y in np.asarray(points) + 1.0)
    return f"version: 1\nn_points: {len(points)}\n{{\n{rows}}}\n"
