"""Reading of images: complete files only, as BGR."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from facealign.arrays import Image
from facealign.errors import FaceAlignError
from facealign.io.reading import read_bytes

PNG_END = b"IEND\xaeB`\x82"
"""The last chunk's name and checksum."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of the files in a folder that count as images."""


def read_image(path: Path, orient: bool = True) -> Image:
    """The image in a file as BGR uint8 (h, w, 3); grey is repeated, transparency dropped, 16 bits cut to 8.

    orient: rotate it as its EXIF data tells viewers to; annotations refer to the unrotated image. (OpenCV
    rotates a TIFF in any case, and a WebP only in recent versions.)
    Raises FaceAlignError on a file that is missing, not an image, or truncated (decoders would fill it up
    with grey).
    """
    data = read_bytes(path, "expected an image")
    if not _is_whole(data):
        raise FaceAlignError(f"{path}: the image is truncated; copy or fetch it again")
    flags = cv2.IMREAD_COLOR | (0 if orient else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise FaceAlignError(f"{path}: not an image that OpenCV can read")
    return np.asarray(image, dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int] | None:
    """Height and width of an image file, read from its header; None if that is not understood.

    EXIF orientation is not applied: annotations are made without.
    """
    try:
        with PillowImage.open(path) as opened:
            return opened.height, opened.width
    except Exception:  # Pillow raises many kinds on damaged files
        return None


def _is_whole(data: bytes) -> bool:
    """Whether a JPEG or PNG file has its end marker; any other content passes."""
    if data.startswith(b"\x89PNG"):
        return PNG_END in data
    if not data.startswith(b"\xff\xd8\xff"):
        return True
    # An embedded thumbnail has an end marker of its own: search after the header of the image itself.
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1  # fill and stray bytes, which decoders skip
        elif data[at + 1] == 0xDA:
            return data.rfind(b"\xff\xd9", at) >= 0  # near the end, if present
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
