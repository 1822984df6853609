"""The 68-point markup of 300-W: mirror permutation, named groups, the two normalisers, .pts files."""

from pathlib import Path

import numpy as np

from facealign.arrays import AnyArray, FloatArray
from facealign.errors import FaceAlignError
from facealign.files import replacing

N_LANDMARKS = 68

_MIRROR_PAIRS = [
    *[(i, 16 - i) for i in range(8)],  # outline
    *[(17 + i, 26 - i) for i in range(5)],  # brows
    (31, 35),
    (32, 34),  # nostrils
    (36, 45),
    (37, 44),
    (38, 43),
    (39, 42),
    (40, 47),
    (41, 46),  # eyes
    (48, 54),
    (49, 53),
    (50, 52),
    (55, 59),
    (56, 58),  # outer lips
    (60, 64),
    (61, 63),
    (65, 67),  # inner lips
]


def _mirror_permutation() -> AnyArray:
    permutation = np.arange(N_LANDMARKS)
    for left, right in _MIRROR_PAIRS:
        permutation[left], permutation[right] = right, left
    return permutation


MIRROR = _mirror_permutation()
"""(68,): landmark i of a mirrored face is landmark MIRROR[i] of the face."""

GROUPS: dict[str, slice] = {
    "contour": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}


def mirror_points(points: FloatArray, width: float) -> FloatArray:
    """Landmarks (..., 68, 2) of the picture flipped left to right, `width` pixels wide (0-based pixels).

    Left and right landmarks change places, so that each index keeps its meaning.
    """
    mirrored = points[..., MIRROR, :].copy()
    mirrored[..., 0] = width - 1.0 - mirrored[..., 0]
    return mirrored


def inter_pupil(points: FloatArray) -> FloatArray:
    """Distance between the means of each eye's six landmarks; (..., 68, 2) -> (...)."""
    distance: FloatArray = np.linalg.norm(
        points[..., 36:42, :].mean(axis=-2) - points[..., 42:48, :].mean(axis=-2), axis=-1
    )
    return distance


def inter_ocular(points: FloatArray) -> FloatArray:
    """Distance between the outer corners of the eyes (36 and 45, 0-based); (..., 68, 2) -> (...)."""
    distance: FloatArray = np.linalg.norm(points[..., 36, :] - points[..., 45, :], axis=-1)
    return distance


def eye_distance(points: FloatArray) -> FloatArray:
    """Inter-pupil distance as a share of the longer side of the landmarks' box; (..., 68, 2) -> (...).

    About 0.4 for a face seen from the front, 0 for a profile.
    """
    share: FloatArray = inter_pupil(points) / np.ptp(points, axis=-2).max(axis=-1)
    return share


def read_pts(path: Path, expected: int | None = N_LANDMARKS) -> FloatArray:
    """Read a .pts file (1-based, as 300-W publishes them); (n, 2) in 0-based pixels.

    Raises FaceAlignError when the file cannot be read, is malformed or has not `expected` points (None: any).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; expected the annotation of an image") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FaceAlignError(f"{path}: not a readable .pts file ({error})") from error
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
    rows = "".join(f"{x:.6f} {y:.6f}\n" for x, y in np.asarray(points) + 1.0)
    with replacing(path) as partial:
        partial.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}}}\n", encoding="utf-8")
