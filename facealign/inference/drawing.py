"""Boxes, landmarks and pose drawn on images."""

import math

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.geometry.head_pose import Pose
from facealign.geometry.landmarks import LANDMARK_GROUPS

COLOURS: dict[str, tuple[int, int, int]] = {
    "contour": (255, 200, 60),
    "brows": (90, 220, 250),
    "nose": (120, 250, 120),
    "eyes": (80, 120, 255),
    "mouth": (230, 120, 250),
}
"""BGR colour of each group of landmarks."""
BOX_COLOUR = (240, 240, 240)
DOUBTFUL_COLOUR = (60, 60, 250)
FRACTION_BITS = 4
"""Fractional bits of the coordinates for OpenCV, which then draws to a sixteenth of a pixel."""
LIMIT = 2.0**30
"""Coordinates are clipped to this, for OpenCV's 32-bit integers; far outside any image."""


def draw_face(
    image: Image, box: FloatArray, landmarks: FloatArray, pose: Pose | None = None, doubtful: bool = False
) -> Image:
    """A copy of an image with a face drawn on it; lines and text are sized to the face.

    image: BGR uint8 (h, w, 3); box: (4,) and landmarks: (68, 2), 0-based pixels; pose: its angles are written
    above the box; doubtful: the box is red and crossed out, as the landmarks are likely wrong.

    >>> drawn = draw_face(np.zeros((90, 90, 3), np.uint8), np.array([20, 20, 60, 70]), np.full((68, 2), 40.0))
    >>> drawn.shape, bool(drawn.any())
    ((90, 90, 3), True)
    """
    drawn = image.copy()
    side = min(float(max(box[2] - box[0], box[3] - box[1])), float(max(image.shape[:2])))
    line = max(1, round(side / 160))
    radius = max(1.0, side / 110)
    colour = DOUBTFUL_COLOUR if doubtful else BOX_COLOUR
    cv2.rectangle(drawn, _fixed(box[:2]), _fixed(box[2:]), colour, line, cv2.LINE_AA, FRACTION_BITS)
    if doubtful:
        for start, end in ((box[:2], box[2:]), (box[[2, 1]], box[[0, 3]])):
            cv2.line(drawn, _fixed(start), _fixed(end), colour, line, cv2.LINE_AA, FRACTION_BITS)
    for name, members in LANDMARK_GROUPS.items():
        for point in landmarks[members]:
            where, size = _fixed(point), round(radius * 2**FRACTION_BITS)
            cv2.circle(drawn, where, size, COLOURS[name], cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)
    if pose is not None:
        text = f"yaw {pose.yaw:+.0f}  pitch {pose.pitch:+.0f}  roll {pose.roll:+.0f}"
        scale = max(0.4, side / 320)
        (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        baseline = max(float(box[1]) - height / 2, float(height))
        left = max(float(box[0]), 0.0)
        x, y = math.floor(min(left, LIMIT)), math.floor(min(baseline, LIMIT))
        # A dark edge of shifted copies: OpenCV 5 sets thicker text wider, so one thick copy would not fit.
        edge = [((x + dx, y + dy), (0, 0, 0)) for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        for corner, ink in (*edge, ((x, y), BOX_COLOUR)):
            cv2.putText(drawn, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, line, cv2.LINE_AA)
    return drawn


def _fixed(point: FloatArray) -> tuple[int, int]:
    """A point as integers with FRACTION_BITS fractional bits."""
    x, y = np.clip(np.round(point * 2**FRACTION_BITS), -LIMIT, LIMIT).astype(int)
    return int(x), int(y)
