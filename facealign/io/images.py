"""Reading of images: complete files only, as BGR."""

import importlib.util
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from facealign.arrays import Image
from facealign.errors import FaceAlignError, attempted
from facealign.io.addresses import is_remote, read_remote
from facealign.io.reading import read_bytes

_PILLOW = threading.Lock()
HEIF = importlib.util.find_spec("pillow_heif") is not None
"""Whether HEIC images are read too: with the package pillow-heif, `pip install 'facealign[heic]'`."""
BY_PILLOW = ("GIF", "AVIF", "JPEG2000", "HEIF")
"""Formats for which Pillow is asked where OpenCV cannot read them."""
ISO_MEDIA = b"ftyp"
"""At the fifth byte of AVIF and HEIC files. Of AVIF, OpenCV does not apply the orientation."""
MAX_PIXELS = 200_000_000
"""Of an image, unless FACEALIGN_MAX_PIXELS in the environment says otherwise: 0.6 GB when it is decoded."""
HEADER_BYTES = 1 << 16
"""At the beginning of a file in a store, read for the image's size; all of it where they do not suffice."""
PNG_END = b"IEND\xaeB`\x82"
"""The last chunk's name and checksum."""
SUFFIXES: tuple[str, ...] = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".avif",
    ".jp2",
)
SUFFIXES += (".heic", ".heif") if HEIF else ()
"""Suffixes of the files in a folder that count as images."""


def read_image(path: Path, orient: bool = True) -> Image:
    """The image in a file as BGR uint8 (h, w, 3); grey is repeated, transparency dropped, 16 bits cut to 8.

    orient: rotate it as its EXIF data says; annotations refer to the unrotated image. (OpenCV
    rotates a TIFF in any case, a WebP only in recent versions; a HEIC is always upright.)
    Raises FaceAlignError on a file that is missing, not an image, or truncated (decoders would fill it up
    with grey).
    """
    return decode_image(read_bytes(path, "expected an image"), path, orient)


def decode_image(data: bytes, name: Path | str, orient: bool = True) -> Image:
    """The image in the bytes of a file, as `read_image` has it; `name` is that of the errors."""
    if not data:
        raise FaceAlignError(f"{name}: empty; expected an image")
    _check_size(name, data)
    if not _is_whole(data):
        raise FaceAlignError(f"{name}: the image is truncated; copy or fetch it again")
    decoders = (_by_opencv, _by_pillow)
    for decode in reversed(decoders) if data[4:8] == ISO_MEDIA else decoders:
        image = decode(data, orient)
        if image is not None:
            return image
    raise FaceAlignError(f"{name}: not an image that can be read")


def _by_opencv(data: bytes, orient: bool) -> Image | None:
    flags = cv2.IMREAD_COLOR | (0 if orient else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def _check_size(name: Path | str, data: bytes) -> None:
    """Raises FaceAlignError when the header of an image announces more pixels than the limit."""
    size = image_size(io.BytesIO(data))
    given = os.environ.get("FACEALIGN_MAX_PIXELS", str(MAX_PIXELS))
    if not given.isdecimal():
        raise FaceAlignError(f"FACEALIGN_MAX_PIXELS is {given!r}, expected a number of pixels")
    most = int(given)
    if size is not None and size[0] * size[1] > most:
        raise FaceAlignError(
            f"{name}: {size[1]}x{size[0]} pixels are more than the limit of {most}; set FACEALIGN_MAX_PIXELS "
            "to read it all the same"
        )


def image_size(file: Path | io.BytesIO) -> tuple[int, int] | None:
    """Height and width of an image file, read from its header; None if that is not understood.

    EXIF orientation is not applied: annotations are made without.
    """
    if isinstance(file, Path) and not file.is_file():  # opening a pipe would wait for its writer
        return None
    if not isinstance(file, io.BytesIO) and is_remote(file):
        return _remote_size(file)
    try:
        with _unlimited(), PillowImage.open(file) as opened:
            return opened.height, opened.width
    except Exception:  # Pillow raises many kinds on damaged files
        return None


def _remote_size(file: Path) -> tuple[int, int] | None:
    """`image_size` of a file in a store."""
    for most in (HEADER_BYTES, None):
        data = attempted(read_remote, file, "expected an image", most)
        if isinstance(data, FaceAlignError):
            return None
        size = image_size(io.BytesIO(data))
        if size is not None:
            return size
    return None


@contextmanager
def _unlimited() -> Iterator[None]:
    """Have Pillow open an image of any size, quietly: its own limit is another one."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            PillowImage.MAX_IMAGE_PIXELS = before


def _by_pillow(data: bytes, orient: bool) -> Image | None:
    """An image in a format that OpenCV may not read, see BY_PILLOW; of several frames the first."""
    _know_heif()
    try:
        with _unlimited(), PillowImage.open(io.BytesIO(data), formats=BY_PILLOW) as opened:
            shown = ImageOps.exif_transpose(opened) if orient else opened
            return np.ascontiguousarray(np.asarray(shown.convert("RGB"))[:, :, ::-1])
    except Exception:
        return None


@cache
def _know_heif() -> None:
    """Have Pillow open HEIC images, where that is installed."""
    if HEIF:
        import pillow_heif

        pillow_heif.register_heif_opener()


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
