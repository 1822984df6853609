"""Videos made from a sample photo, moved and scaled by known maps: where each landmark goes is known."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from skimage.data import astronaut

RATE = 25.0
WIDTH, HEIGHT = 320, 240
FACE = np.array([222.0, 128.0])
"""The middle of the astronaut's face in her photo."""


def photo():
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@dataclass(frozen=True)
class Place:
    """Where the face of a frame is: its middle, and its size relative to the photo."""

    x: float
    y: float
    scale: float = 0.8

    @property
    def map(self):
        """Affine (2, 3) from the photo to the frame."""
        return np.column_stack([np.eye(2) * self.scale, np.array([self.x, self.y]) - self.scale * FACE])


def still(number: int) -> Place:
    return Place(160, 120)


def slowly_to_the_right(number: int) -> Place:
    """Two pixels a frame: about half a face size a second."""
    return Place(90 + 2.0 * number, 110 + 0.3 * number)


def nearer(number: int) -> Place:
    return Place(160, 120, 0.6 + 0.01 * number)


def drawn(place: Place | None, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A frame, BGR (HEIGHT, WIDTH, 3), of the face alone on grey; without it for None."""
    frame = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    if place is not None:
        head = photo()[20:215, 140:310]
        moved = place.map.copy()
        moved[:, 2] += place.scale * np.array([140.0, 20.0])
        flags = cv2.INTER_AREA if place.scale < 1 else cv2.INTER_LINEAR
        cv2.warpAffine(head, moved, (WIDTH, HEIGHT), frame, flags, cv2.BORDER_TRANSPARENT)
    if noise:
        frame = np.clip(frame + np.random.default_rng(seed).normal(0, noise, frame.shape), 0, 255)
    return frame.astype(np.uint8)


def frames(path: Callable[[int], Place | None], number: int, noise: float = 0.0) -> Iterator[np.ndarray]:
    for index in range(number):
        yield drawn(path(index), noise, index)


def write_video(file, images, rate=RATE, code="mp4v"):
    """Write a video by OpenCV directly."""
    writer = None
    for image in images:
        if writer is None:
            size = image.shape[1], image.shape[0]
            writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*code), rate, size)
        writer.write(image)
    writer.release()
    return file


def turned(data: bytes, degrees: int) -> bytes:
    """An MP4 whose track header says that players turn it clockwise, as phones write it."""
    at = data.index(b"tkhd")
    version = data[at + 4]
    matrix = at + 4 + 4 + (32 if version else 20) + 16
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    values = struct.pack(">9i", cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30)
    return data[:matrix] + values + data[matrix + 36 :]
