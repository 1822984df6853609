"""Faces drawn on images: landmarks joined by lines, box, head pose and a label, for paper and screen.

All widths follow the face and the image. A face is drawn on a transparent layer, larger than the image where
lines are thin, which is then laid over it: lines are smooth and of any width, and dark edges set them off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from facealign.arrays import FloatArray, Image
from facealign.geometry.boxes import landmark_box
from facealign.geometry.head_pose import Pose, pose_axes
from facealign.geometry.landmarks import LANDMARK_GROUPS, LANDMARK_LINES
from facealign.inference.face_aligner import Face

COLOURS: dict[str, tuple[int, int, int]] = {
    "contour": (255, 200, 60),
    "brows": (90, 220, 250),
    "nose": (200, 250, 170),
    "eyes": (80, 120, 255),
    "mouth": (230, 120, 250),
}
"""BGR colour of each group of landmarks."""
AXIS_COLOURS = ((50, 50, 220), (40, 160, 40), (230, 90, 30))
"""Of the head's axes: to the image's right, up, and to where it looks."""
BOX_COLOUR = (240, 240, 240)
DOUBTFUL_COLOUR = (60, 60, 250)
FRACTION_BITS = 4
"""Fractional bits of the coordinates for OpenCV, which then draws to a sixteenth of a pixel."""
LIMIT = 2.0**26
"""Coordinates are clipped to this, for OpenCV's 32-bit integers; far outside any image."""
SHADE = 120
"""Opacity of the dark edges, of 255."""
LAYER_SIDE = 1600
"""A layer is made larger than the image only as long as its sides stay below this."""


@dataclass(frozen=True)
class Sizes:
    """Widths in pixels of the image. line: of lines; radius: of points; axis: length of the pose's axes;
    text: height of the label's letters.
    """

    line: float
    radius: float
    axis: float
    text: float


def sizes(side: float, longest: float) -> Sizes:
    """Sizes for a face whose box has the longer side `side`, in an image whose longer side is `longest`.

    They follow the face, down to what can still be seen when the whole image is on a screen.
    """
    line = max(side / 220, longest / 4500, 0.55)
    # On a small face, points would run into each other: there are lines only.
    return Sizes(
        line,
        min(1.7 * line, max(side / 85, 0.6 * line)),
        0.45 * side,
        min(max(side / 11, longest / 110, 9.0), longest / 8),
    )


def draw_face(
    image: Image,
    box: FloatArray,
    landmarks: FloatArray,
    pose: Pose | None = None,
    doubtful: bool = False,
    label: str = "",
) -> Image:
    """A copy of an image with a face drawn on it.

    image: BGR uint8 (h, w, 3); box: (4,) and landmarks: (68, 2), 0-based pixels; pose: its axes start at the
    tip of the nose; doubtful: the box is red and crossed out, as the landmarks are likely wrong; label: a
    line of text above the box.

    >>> drawn = draw_face(np.zeros((90, 90, 3), np.uint8), np.array([20, 20, 60, 70]), np.full((68, 2), 40.0))
    >>> drawn.shape, bool(drawn.any())
    ((90, 90, 3), True)
    """
    drawn = np.ascontiguousarray(image).copy()
    _draw(drawn, box, landmarks, pose, doubtful, label)
    return drawn


def draw_faces(image: Image, faces: Sequence[Face], labels: Sequence[str] | None = None) -> Image:
    """A copy of an image with all faces drawn on it, the last first; labels: by default their scores."""
    drawn = np.ascontiguousarray(image).copy()
    shown = [score_label(face) for face in faces] if labels is None else labels
    for face, label in reversed(list(zip(faces, shown, strict=True))):
        _draw(drawn, face.box, face.landmarks, face.pose, face.doubtful, label)
    return drawn


def score_label(face: Face, track: int | None = None) -> str:
    """The label of a face: its track's number, if any, and the detector's score.

    >>> face = Face(np.zeros(4), 0.987, np.zeros((68, 2)), None, confidence=1.0)
    >>> score_label(face), score_label(face, track=3)
    ('0.99', '#3  0.99')
    """
    score = "" if face.score is None else f"{face.score:.2f}"
    return score if track is None else f"#{track}  {score}".rstrip()


class _Layer:
    """A transparent picture of a part of an image, to be laid over it.

    Colours are stored multiplied by their opacity, so that they shrink and mix as light does.
    """

    def __init__(self, area: tuple[int, int, int, int], scale: int) -> None:
        """area: x1 y1 x2 y2 in the image; scale: pixels of the layer for one of the image."""
        self.area, self.scale = area, scale
        x1, y1, x2, y2 = area
        self.pixels = np.zeros(((y2 - y1) * scale, (x2 - x1) * scale, 4), np.uint8)
        self._corner = np.array([x1, y1])

    def _fixed(self, points: FloatArray) -> Any:
        """Points (..., 2) of the image as integers with FRACTION_BITS fractional bits, in the layer."""
        placed = (points - self._corner + 0.5) * self.scale - 0.5
        return np.clip(np.round(placed * 2**FRACTION_BITS), -LIMIT, LIMIT).astype(np.int32)

    def lines(self, points: FloatArray, closed: bool, ink: tuple[int, ...], width: float) -> None:
        """A line through points (n, 2)."""
        across = max(1, round(width * self.scale))
        cv2.polylines(self.pixels, [self._fixed(points)], closed, ink, across, cv2.LINE_AA, FRACTION_BITS)

    def points(self, points: FloatArray, ink: tuple[int, ...], radius: float) -> None:
        """Discs around points (n, 2)."""
        size = round(radius * self.scale * 2**FRACTION_BITS)
        for x, y in self._fixed(points).tolist():
            cv2.circle(self.pixels, (x, y), size, ink, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)

    def lay_over(self, image: Image) -> None:
        """Lay the layer over its part of the image."""
        x1, y1, x2, y2 = self.area
        pixels: Any = self.pixels
        if self.scale > 1:
            pixels = cv2.resize(pixels, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
        _blend(image[y1:y2, x1:x2], pixels[..., :3], pixels[..., 3])


def _blend(part: Image, colour: Image, opacity: Image) -> None:
    """Lay a colour (h, w, 3), multiplied by its opacity (h, w), over a part of an image, in place."""
    clear = cv2.merge([255 - opacity] * 3)
    cv2.add(cv2.multiply(part, clear, scale=1 / 255), np.ascontiguousarray(colour), dst=part)


def _draw(
    image: Image, box: FloatArray, landmarks: FloatArray, pose: Pose | None, doubtful: bool, label: str
) -> None:
    longest = float(max(image.shape[:2]))
    side = min(float(max(box[2] - box[0], box[3] - box[1])), longest)
    size = sizes(side, longest)
    area = _area(image, box, landmarks, size)
    if area is not None:
        widest = max(area[2] - area[0], area[3] - area[1])
        scale = max(1, min(round(4 / size.line), LAYER_SIDE // widest, 4))
        layer = _Layer(area, scale)
        for edge in (True, False):  # the dark edges of all, then the colours
            _draw_box(layer, box, size, doubtful, edge)
            if pose is not None:
                _draw_axes(layer, landmarks[30], pose, size, edge)
            _draw_landmarks(layer, landmarks, size, edge)
        layer.lay_over(image)
    if label:
        _write(image, label, box, size.text, DOUBTFUL_COLOUR if doubtful else BOX_COLOUR)


def _area(
    image: Image, box: FloatArray, landmarks: FloatArray, size: Sizes
) -> tuple[int, int, int, int] | None:
    """The part of the image, x1 y1 x2 y2, on which a face is drawn; None when it lies outside."""
    tight = landmark_box(landmarks)
    edge = max(size.axis, 4 * size.radius) + 2
    corners = np.concatenate([np.minimum(box[:2], tight[:2]) - edge, np.maximum(box[2:], tight[2:]) + edge])
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(corners.round(), 0, [width, height, width, height]).astype(int).tolist()
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _ink(colour: tuple[int, int, int], edge: bool) -> tuple[int, ...]:
    return (0, 0, 0, SHADE) if edge else (*colour, 255)


def _draw_box(layer: _Layer, box: FloatArray, size: Sizes, doubtful: bool, edge: bool) -> None:
    ink = _ink(DOUBTFUL_COLOUR if doubtful else BOX_COLOUR, edge)
    width = size.line * (2.2 if edge else 1.0)
    layer.lines(box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2), True, ink, width)
    if doubtful:
        for diagonal in ([0, 1, 2, 3], [2, 1, 0, 3]):
            layer.lines(box[diagonal].reshape(2, 2), False, ink, width)


def _draw_landmarks(layer: _Layer, landmarks: FloatArray, size: Sizes, edge: bool) -> None:
    for name, lines in LANDMARK_LINES.items():
        for members, closed in lines:
            width = size.line * (1.8 if edge else 1.0)
            layer.lines(landmarks[members], closed, _ink(COLOURS[name], edge), width)
    for name, members in LANDMARK_GROUPS.items():
        radius = size.radius + (0.5 * size.line if edge else 0.0)
        layer.points(landmarks[members], _ink(COLOURS[name], edge), radius)


def _draw_axes(layer: _Layer, start: FloatArray, pose: Pose, size: Sizes, edge: bool) -> None:
    axes = pose_axes(pose)
    for axis, colour in zip(axes, AXIS_COLOURS, strict=True):
        width = size.line * (2.6 if edge else 1.7)
        layer.lines(np.stack([start, start + size.axis * axis]), False, _ink(colour, edge), width)


def _write(image: Image, text: str, box: FloatArray, height: float, colour: tuple[int, int, int]) -> None:
    """Write a line of text above a box, or as far down as the image asks for, with a dark edge."""
    edge = max(1, round(height / 12))
    letters, halo = lettering(text, round(height), edge)
    rows, columns = letters.shape
    x = int(np.clip(box[0], 0, max(image.shape[1] - columns, 0)))
    y = int(np.clip(box[1] - rows - height / 8, 0, max(image.shape[0] - rows, 0)))
    part = image[y : y + rows, x : x + columns]
    letters, halo = letters[: part.shape[0], : part.shape[1]], halo[: part.shape[0], : part.shape[1]]
    _blend(part, np.zeros_like(part), (halo * 0.75).astype(np.uint8))
    ink = letters[..., None] * (np.array(colour) / 255)
    _blend(part, ink.astype(np.uint8), letters)


def lettering(text: str, height: int, edge: int) -> tuple[Image, Image]:
    """Opacity (h, w) of a text and of its edge, 0..255."""
    font = _font(height)
    left, top, right, bottom = font.getbbox(text, stroke_width=edge)
    size = max(1, round(right - left)), max(1, round(bottom - top))
    made = []
    for stroke in (0, edge):
        canvas = PillowImage.new("L", size)
        ImageDraw.Draw(canvas).text((-left, -top), text, fill=255, font=font, stroke_width=stroke)
        made.append(np.array(canvas))
    return made[0], made[1]


@cache
def _font(height: int) -> Any:
    """Pillow's own font, whose capital letters have about this height in pixels."""
    return ImageFont.load_default(max(4.0, 1.35 * height))
