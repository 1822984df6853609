"""Boxes x1 y1 x2 y2, 0-based: overlap, squaring and widening, boxes from landmarks and from text files."""

import numpy as np

from facealign.arrays import FloatArray

# An MTCNN box relative to the box of the landmarks: its centre's offset and its size, as fractions of the
# landmark box's width and height. Medians over the 2012 training faces of 300-W at hand, as
# facealign detect-faces prints them.
MTCNN_CENTRE = (-0.024, -0.182)
MTCNN_SIZE = (0.972, 1.297)


def landmark_box(points: FloatArray) -> FloatArray:
    """The smallest box around points (..., n, 2); (..., 4)."""
    return np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)


def area(boxes: FloatArray) -> FloatArray:
    """Area of boxes (..., 4), 0 where a box is empty; (...)."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    product: FloatArray = sides[..., 0] * sides[..., 1]
    return product


def intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    """Area common to boxes a and b (..., 4), broadcast against each other."""
    # Coordinate by coordinate, as NMS asks for many: pairs of them side by side take several times as long.
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    product: FloatArray = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    return product


def overlap(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union, 0..1, of boxes a and b (..., 4), broadcast against each other."""
    a, b = np.broadcast_arrays(a, b)
    common = intersection(a, b)
    union = area(a) + area(b) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def square(box: FloatArray, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Square of side `scale` x the longer side, its centre moved by `shift` (right, down) x that side.

    box (..., 4) -> (..., 4).
    """
    side = (box[..., 2:] - box[..., :2]).max(axis=-1, keepdims=True)
    centre = (box[..., :2] + box[..., 2:]) / 2 + side * np.asarray(shift)
    half = side * (scale / 2)
    return np.concatenate([centre - half, centre + half], axis=-1)


def box_from_landmarks(points: FloatArray) -> FloatArray:
    """The box that MTCNN would be expected to give for a face with these landmarks; (..., 4)."""
    tight = landmark_box(points)
    size = tight[..., 2:] - tight[..., :2]
    centre = (tight[..., :2] + tight[..., 2:]) / 2 + size * np.array(MTCNN_CENTRE)
    half = size * np.array(MTCNN_SIZE) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
