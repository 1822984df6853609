"""Pictures for the benchmark of MTCNN: one face, pasted where it is known to be, on what has none."""

from collections.abc import Callable

import cv2
import numpy as np
from skimage import data
from skimage.data import astronaut

from facealign.arrays import FloatArray, Image

HEIGHT, WIDTH = 480, 640
BACKGROUNDS: dict[str, Callable[[], Image]] = {
    "gravel": data.gravel,
    "grass": data.grass,
    "brick": data.brick,
    "coins": data.coins,
    "coffee": data.coffee,
    "cat": data.chelsea,
    "rocket": data.rocket,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
}
"""scikit-image's sample pictures without a person: those that its wheel holds, not those it downloads.

Textures, in which PNet sees many faces that RNet then looks at, and photos, in which it sees few.
"""
FACE = (180.0, 65.0, 267.0, 177.0)
"""The astronaut's face, cheek to cheek and hair to chin, by eye."""
AROUND = 1.25
"""What is pasted, over the face's longer side."""
ANGLE, GAIN, NOISE = 45.0, (0.2, 1.2), 30.0
"""Of `varied`: degrees either way, brightness, and the most noise in grey levels: too much for some."""


def background(name: str) -> Image:
    """One of BACKGROUNDS (480, 640, 3), BGR: scaled to fill it, cut at the right and at the bottom."""
    picture = BACKGROUNDS[name]()
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    height, width = picture.shape[:2]
    scale = max(HEIGHT / height, WIDTH / width)
    seen = cv2.resize(
        picture,
        (round(width * scale), round(height * scale)),
        interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA,
    )
    return np.ascontiguousarray(seen[:HEIGHT, :WIDTH, ::-1])


def paste(
    picture: Image, centre: FloatArray, side: float, angle: float = 0.0, flip: bool = False
) -> FloatArray:
    """Paste the face in place, `side` pixels long, turned by `angle` degrees; its box (4,)."""
    portrait = np.ascontiguousarray(astronaut()[:, :, ::-1])
    x1, y1, x2, y2 = FACE
    if flip:
        portrait = np.ascontiguousarray(portrait[:, ::-1])
        x1, x2 = portrait.shape[1] - 1 - x2, portrait.shape[1] - 1 - x1
    middle, longer = np.array([x1 + x2, y1 + y2]) / 2, max(x2 - x1, y2 - y1)
    scale = side / longer
    # Made smaller first, as a camera would see it: a warp alone takes no means.
    near = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    x, y = (middle + 0.5) * scale - 0.5
    affine = np.asarray(cv2.getRotationMatrix2D((x, y), angle, 1.0), np.float64)
    affine[:, 2] += centre - (x, y)
    seen = cv2.warpAffine(near, affine, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    half = AROUND * side / 2
    left, top = np.maximum(np.floor(centre - half).astype(int), 0)
    right, bottom = np.ceil(centre + half).astype(int)
    picture[top:bottom, left:right] = seen[top:bottom, left:right]
    extent = np.array([x2 - x1, y2 - y1]) * scale / 2
    return np.concatenate([centre - extent, centre + extent])


def timed(faces: int, on: str = "gravel") -> tuple[Image, FloatArray]:
    """A picture with 0, 1 or 10 faces of 100 pixels on a background, and their boxes (faces, 4)."""
    picture = background(on)
    grid = [(64 + 128.0 * column, 120 + 240.0 * row) for row in range(2) for column in range(5)]
    places = {0: [], 1: [(320.0, 240.0)], 10: grid}[faces]
    boxes = [paste(picture, np.array(place), 100.0) for place in places]
    return picture, np.array(boxes).reshape(-1, 4)


def varied(count: int, smallest: float, largest: float) -> tuple[Image, FloatArray]:
    """Pictures (count, 480, 640, 3) and the box (count, 4) of the face in each, by seed 0.

    Each background in turn; faces of `smallest` to `largest` pixels, small ones as often as large ones,
    anywhere, mirrored or not, turned, bright or dark, with noise.
    """
    rng = np.random.default_rng(0)
    grounds = [background(name) for name in BACKGROUNDS]
    pictures, boxes = np.empty((count, HEIGHT, WIDTH, 3), np.uint8), np.empty((count, 4))
    for index in range(count):
        side = float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
        half = AROUND * side / 2
        centre = rng.uniform([half, half], [WIDTH - half, HEIGHT - half])
        picture = grounds[index % len(grounds)].copy()
        boxes[index] = paste(picture, centre, side, rng.uniform(-ANGLE, ANGLE), bool(rng.integers(2)))
        noisy = picture * rng.uniform(*GAIN) + rng.normal(0, rng.uniform(0, NOISE), picture.shape)
        pictures[index] = noisy.round().clip(0, 255).astype(np.uint8)
    return pictures, boxes
