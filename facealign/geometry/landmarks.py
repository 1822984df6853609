"""The 68-point markup of 300-W: mirror permutation, named groups, the two normalisers, .pts files."""

import numpy as np

from facealign.arrays import AnyArray, FloatArray

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
LANDMARK_GROUPS: dict[str, slice] = {
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
