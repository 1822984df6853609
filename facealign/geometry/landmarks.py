"""The 68-point markup of 300-W: mirror permutation, named groups, distances between the eyes."""

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
LANDMARK_LINES: dict[str, tuple[tuple[slice, bool], ...]] = {
    "contour": ((slice(0, 17), False),),
    "brows": ((slice(17, 22), False), (slice(22, 27), False)),
    "nose": ((slice(27, 31), False), (slice(31, 36), False)),
    "eyes": ((slice(36, 42), True), (slice(42, 48), True)),
    "mouth": ((slice(48, 60), True), (slice(60, 68), True)),
}
"""By group, the lines through its landmarks, and whether each returns to its start."""


def mirror_points(points: FloatArray, width: float) -> FloatArray:
    """Landmarks of the horizontally flipped image.

    points: (..., 68, 2), 0-based pixels; width: of the image, pixels. Left and right landmarks change
    places, so that each index keeps its meaning.

    >>> face = np.zeros((68, 2))
    >>> face[36] = 10, 50  # the outer corner of the eye at the left
    >>> mirror_points(face, width=100)[45]
    array([89., 50.])
    """
    mirrored = points[..., MIRROR, :].copy()
    mirrored[..., 0] = width - 1.0 - mirrored[..., 0]
    return mirrored


def inter_pupil(points: FloatArray) -> FloatArray:
    """Inter-pupil distance, between the means of each eye's six landmarks; (..., 68, 2) -> (...)."""
    distance: FloatArray = np.linalg.norm(
        points[..., 36:42, :].mean(axis=-2) - points[..., 42:48, :].mean(axis=-2), axis=-1
    )
    return distance


def inter_ocular(points: FloatArray) -> FloatArray:
    """Inter-ocular distance, between the outer eye corners (36 and 45, 0-based); (..., 68, 2) -> (...).

    >>> face = np.zeros((68, 2))
    >>> face[45] = 30, 40
    >>> float(inter_ocular(face))
    50.0
    """
    distance: FloatArray = np.linalg.norm(points[..., 36, :] - points[..., 45, :], axis=-1)
    return distance


def eye_distance(points: FloatArray) -> FloatArray:
    """Inter-pupil distance over the longer side of the landmarks' bounding box; (..., 68, 2) -> (...).

    About 0.4 for a frontal face, 0 for a profile.
    """
    ratio: FloatArray = inter_pupil(points) / np.ptp(points, axis=-2).max(axis=-1)
    return ratio
