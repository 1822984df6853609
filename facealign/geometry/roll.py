"""Roll of a face in the image plane, and the turn that undoes it."""

import numpy as np

from facealign.arrays import FloatArray


def roll_of(left_eye: FloatArray, right_eye: FloatArray, mouth: FloatArray) -> FloatArray:
    """Roll of faces, by three points (..., 2) of each: degrees, -180..180, positive clockwise on the screen.

    The direction of the sum of two vectors: from eye to eye, and from the eyes down to the mouth, turned by a
    quarter. In a profile the eyes are nearly one point; the mouth is always below them.

    >>> float(roll_of(np.array([0.0, 0.0]), np.array([10.0, 10.0]), np.array([-5.0, 15.0])))
    45.0
    """
    down = mouth - (left_eye + right_eye) / 2
    across = right_eye - left_eye + np.stack([down[..., 1], -down[..., 0]], axis=-1)
    degrees: FloatArray = np.degrees(np.arctan2(across[..., 1], across[..., 0]))
    return degrees


def landmark_roll(points: FloatArray) -> FloatArray:
    """Roll (...) in degrees of faces with landmarks (..., 68, 2); see `roll_of`."""
    eyes = points[..., 36:42, :].mean(axis=-2), points[..., 42:48, :].mean(axis=-2)
    return roll_of(*eyes, points[..., 48:68, :].mean(axis=-2))


def five_point_roll(points: FloatArray) -> FloatArray:
    """Roll (...) in degrees of faces with MTCNN's points (..., 5, 2): eyes, nose, corners of the mouth."""
    return roll_of(points[..., 0, :], points[..., 1, :], points[..., 3:, :].mean(axis=-2))


def roll_difference(first: FloatArray, second: FloatArray) -> FloatArray:
    """How far the angle `first` is clockwise of `second`: degrees, -180..180.

    >>> float(roll_difference(np.array(170.0), np.array(-170.0)))
    -20.0
    """
    return (first - second + 180.0) % 360.0 - 180.0


def turn_about(centre: FloatArray, degrees: float) -> FloatArray:
    """Affine (2, 3) that turns points clockwise on the screen about `centre` (2,)."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, centre - turn @ centre])
