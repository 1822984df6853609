"""Frames of a video file or a camera, upright as a player shows them."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from facealign.arrays import Image
from facealign.errors import FaceAlignError

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp")
"""By which a file is taken for a video, for a hint only."""
USUAL_RATE = 25.0
"""Frames a second, where a file or camera does not say."""
HIGHEST_RATE = 1000.0


@dataclass(frozen=True)
class Frame:
    """A frame. number: from 0; time: seconds from the start; image: BGR uint8 (h, w, 3)."""

    number: int
    time: float
    image: Image


class Video:
    """A video file or a camera, to be read from its start to its end once.

    name: the file as given, or "camera N"; rate: frames a second; length: frames as the file announces them,
    which may be wrong, or None; width, height: pixels of the upright frame.
    """

    def __init__(self, source: str) -> None:
        """source: path of a file, or the number of a camera. Raises FaceAlignError when it cannot be read."""
        silence_ffmpeg()
        self.is_camera = source.isdecimal()
        self.name = f"camera {source}" if self.is_camera else Path(source).as_posix()
        if not self.is_camera:
            _check_file(Path(source))
        self._capture = cv2.VideoCapture(int(source)) if self.is_camera else open_file(Path(source))
        if not self._capture.isOpened():
            if self.is_camera:
                raise FaceAlignError(
                    f"{self.name}: cannot be opened; connect it, and end programs that use it"
                )
            raise FaceAlignError(f"{self.name}: not a video that can be read")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and 0 < rate <= HIGHEST_RATE else USUAL_RATE
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = not self.is_camera and 0 < announced < 2**31
        self.length = int(announced) if known else None
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._number, self._last, self._began = 0, -1.0, time.monotonic()

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def frames(self) -> Iterator[Frame]:
        """The frames that are left, in order; those of a camera never end."""
        while self._capture.grab():
            done, image = self._capture.retrieve()
            if not done:
                break
            yield Frame(self._number, self._advance(), _bgr(image))

    def skip(self, frames: int) -> int:
        """Pass over so many frames; the number there were, which is less at the end."""
        for passed in range(frames):
            if not self._capture.grab():
                return passed
            self._advance()
        return frames

    def _advance(self) -> float:
        """Time of the frame that was grabbed, seconds, always later than that of the one before."""
        if self.is_camera:
            moment = time.monotonic() - self._began
        else:
            moment = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not (math.isfinite(moment) and moment > self._last):
                moment = max(self._number / self.rate, self._last + 1 / self.rate)
        self._number += 1
        self._last = moment
        return moment


def silence_ffmpeg() -> None:
    """Keep FFmpeg from printing about files that it cannot read and encoders that it lacks.

    It looks there when its first file is opened.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def open_file(path: Path) -> cv2.VideoCapture:
    """A video file as OpenCV opens it: by FFmpeg where it is built with it, as other readers print."""
    known = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG if known else cv2.CAP_ANY)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise FaceAlignError(f"{path}: a folder, not a file; expected a video")
    if not path.exists():
        raise FaceAlignError(f"{path}: no such file; expected a video, or the number of a camera")
    if not path.is_file():
        raise FaceAlignError(f"{path}: a device or pipe, not a file; expected a video")


def _bgr(image: np.ndarray) -> Image:
    """A frame as BGR; some cameras give grey ones."""
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    return np.asarray(image, dtype=np.uint8)
