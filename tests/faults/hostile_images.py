"""Files that are, or look like, images on which decoders fail: made here, of the kinds that were seen to."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np


def png(width: int, height: int, rows: int, depth: int = 8) -> bytes:
    """A grey PNG that announces a size, with `rows` rows of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width * depth + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of 50 x 50 pixels that announces another size."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((50, 50, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def hostile_images() -> Iterator[tuple[str, bytes]]:
    """(name, contents) of each file."""
    yield "bits.png", png(30_000, 30_000, 30_000, depth=1)
    yield "short.png", png(30_000, 30_000, 2)
    yield "wide.png", png(1_000_000, 1000, 1000, depth=1)
    yield "endless.png", png(2_000_000_000, 2_000_000_000, 0)
    yield "end_only.png", b"\x89PNG\r\n\x1a\nIEND"
    for side in (65_535, 30_000, 0, 10):
        yield f"says{side}.jpg", jpeg(side, side)
    for name, data in (
        ("start", b"\xff\xd8\xff"),
        ("start_and_end", b"\xff\xd8\xff\xd9"),
        ("zeros", bytes(100_000)),
    ):
        yield f"{name}.jpg", data
    yield "text.jpg", b"<html>404</html>"
    yield "packed.jpg", zlib.compress(bytes(10**6))
    yield "drawing.jpg", b'<svg xmlns="http://www.w3.org/2000/svg" width="100000" height="100000"></svg>'
    head = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "large.bmp", b"BM" + head
    yield "ppm.jpg", b"P6\n60000 60000\n255\n"
    yield "pbm.jpg", b"P4\n32000 32000\n"
    photo = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8), (0, 0), 3)
    for suffix in (".jpg", ".png", ".tiff", ".webp", ".gif", ".bmp", ".avif", ".jp2", ".ppm"):
        try:
            data = cv2.imencode(suffix, photo)[1].tobytes()
        except cv2.error:  # OpenCV 4 lacks some
            continue
        yield f"is{suffix[1:]}.jpg", data
        yield f"half{suffix[1:]}{suffix}", data[: len(data) // 2]
        yield f"half{suffix[1:]}_as.jpg", data[: len(data) // 2]
    for name, image in (
        ("dot.png", np.zeros((1, 1, 3), np.uint8)),
        ("line.png", np.zeros((1, 5000, 3), np.uint8)),
        ("column.png", np.zeros((40_000, 1, 3), np.uint8)),
        ("deep.png", np.full((99, 99, 3), 40_000, np.uint16)),
        ("clear.png", np.dstack([photo, photo[..., 0]])),
        ("long.jpg", np.zeros((60_000, 200, 3), np.uint8)),
    ):
        yield name, cv2.imencode(Path(name).suffix, image)[1].tobytes()
