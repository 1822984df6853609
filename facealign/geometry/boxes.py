"""Boxes x1 y1 x2 y2 in 0-based pixels: area, overlap, squaring and widening, boxes from landmarks."""

import numpy as np

from facealign.arrays import FloatArray

# MTCNN's box relative to the bounding box of the landmarks: offset of its centre, and its size, as fractions
# of the landmark box's width and height. Medians over the 2012 training faces of 300-W at hand, printed by
# facealign detect-faces.
MTCNN_CENTRE = (-0.024, -0.182)
MTCNN_SIZE = (0.972, 1.297)


def landmark_box(points: FloatArray) -> FloatArray:
    """Bounding box (..., 4) of points (..., n, 2)."""
    return np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)


def area(boxes: FloatArray) -> FloatArray:
    """Area (...) of boxes (..., 4), 0 for an empty box."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    product: FloatArray = sides[..., 0] * sides[..., 1]
    return product


def intersection(a: FloatArray, b: FloatArray) -> FloatArray:
    """Common area (...) of boxes a and b (..., 4), broadcast against each other."""
    # One coordinate at a time: non-maximum suppression compares many boxes, and (x, y) pairs are several
    # times slower.
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    product: FloatArray = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    return product


def overlap(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union (...), 0..1, of boxes a and b (..., 4), broadcast against each other.

    >>> overlap(np.array([0.0, 0, 10, 10]), np.array([[0.0, 0, 10, 10], [0, 0, 5, 10], [20, 0, 30, 10]]))
    array([1. , 0.5, 0. ])
    """
    a, b = np.broadcast_arrays(a, b)
    common = intersection(a, b)
    union = area(a) + area(b) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def square(box: FloatArray, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Square (..., 4) around the centre of a box (..., 4).

    scale: side of the square over the box's longer side; shift: (right, down), how far its centre moves, as
    fractions of that longer side.

    >>> square(np.array([0.0, 0, 10, 20]), scale=1.5)
    array([-10.,  -5.,  20.,  25.])
    """
    side = (box[..., 2:] - box[..., :2]).max(axis=-1, keepdims=True)
    centre = (box[..., :2] + box[..., 2:]) / 2 + side * np.asarray(shift)
    half = side * (scale / 2)
    return np.concatenate([centre - half, centre + half], axis=-1)


def box_from_landmarks(points: FloatArray) -> FloatArray:
    """Expected MTCNN box (..., 4) of a face with landmarks (..., n, 2), by MTCNN_CENTRE and MTCNN_SIZE.

    >>> box_from_landmarks(np.array([[0.0, 0], [100, 100]])).round(2)
    array([ -1.  , -33.05,  96.2 ,  96.65])
    """
    tight = landmark_box(points)
    size = tight[..., 2:] - tight[..., :2]
    centre = (tight[..., :2] + tight[..., 2:]) / 2 + size * np.array(MTCNN_CENTRE)
    half = size * np.array(MTCNN_SIZE) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)
