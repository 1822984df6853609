"""Video files, written whole or not at all, by the best encoder that OpenCV has here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from facealign.arrays import Image
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.unfinished import temporary_folder
from facealign.video.reading import open_file, silence_ffmpeg

ENCODERS = ((".mp4", "avc1"), (".mp4", "mp4v"), (".avi", "MJPG"))
"""Suffixes and codes of H.264, MPEG-4 and Motion JPEG: the first that works is taken."""
TRIED = (64, 64)
"""Size of the video with which that is tried."""


@cache
def encoder_here() -> tuple[str, str]:
    """Suffix and code of the encoder that OpenCV has. Raises FaceAlignError when it has none of ENCODERS."""
    silence_ffmpeg()
    with temporary_folder() as folder:
        for suffix, code in ENCODERS:
            path = folder / f"{code}{suffix}"
            writer = _opened(path, code, 25.0, TRIED)
            writer.write(np.zeros((*TRIED, 3), np.uint8))
            writer.release()
            if _frames_in(path) == 1:
                return suffix, code
    raise FaceAlignError(
        "OpenCV has no encoder for videos here; install opencv-python, or give --no-pictures"
    )


@contextmanager
def video_writer(path: Path, rate: float, size: tuple[int, int]) -> Iterator[Callable[[Image], None]]:
    """A function that appends a frame (h, w, 3) to the video `path`, which is there when the block ends.

    path: with the suffix of `encoder_here`; rate: frames a second; size: (w, h) of the frames, pixels: where
    one is odd, the last column or row is repeated, as the encoders need even ones. Raises FaceAlignError when
    the video could not be written whole.
    """
    width, height = size
    padding = (0, height % 2, 0, width % 2)
    with replacing(path) as partial:
        writer = _opened(partial, encoder_here()[1], rate, (width + width % 2, height + height % 2))
        written = 0

        def write(image: Image) -> None:
            nonlocal written
            if any(padding):
                image = np.asarray(cv2.copyMakeBorder(image, *padding, cv2.BORDER_REPLICATE), dtype=np.uint8)
            writer.write(image)
            written += 1

        try:
            yield write
        finally:
            writer.release()
        if written and _frames_in(partial) != written:  # OpenCV says nothing of failed writes
            raise FaceAlignError(f"{path}: the video could not be written; is the disk full?")


def _opened(path: Path, code: str, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), rate, size)


def _frames_in(path: Path) -> int:
    """Frames that a video announces; 0 when it cannot be read."""
    capture = open_file(path)
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
