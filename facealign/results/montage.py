"""Contact sheets: small copies of many images, with their faces drawn on them, and their names."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from facealign.arrays import Image
from facealign.inference.drawing import draw_faces, lettering
from facealign.inference.face_aligner import Face
from facealign.io.atomic import replacing

MONTAGE_FOLDER = "montage"
CELL = 220
"""Side of a small copy, pixels."""
GAP, CAPTION = 10, 18
"""Between cells; height of a name, pixels."""
COLUMNS, ROWS = 8, 10
"""Of a sheet, at most."""
MOST = COLUMNS * ROWS
BACKGROUND, INK = 32, 220


def small_copy(image: Image, faces: Sequence[Face], labels: Sequence[str] | None = None) -> Image:
    """An image (h, w, 3) shrunk to CELL pixels, if it is larger, with its faces drawn at that size.

    >>> small_copy(np.zeros((600, 1200, 3), np.uint8), []).shape
    (110, 220, 3)
    """
    height, width = image.shape[:2]
    scale = min(1.0, CELL / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scaled = [
        replace(face, box=_scaled(face.box, scale), landmarks=_scaled(face.landmarks, scale))
        for face in faces
    ]
    return draw_faces(image, scaled, labels)


def _scaled(values: np.ndarray, scale: float) -> np.ndarray:
    """Coordinates in an image that is scaled; whole numbers are centres of pixels."""
    return (values + 0.5) * scale - 0.5


def sheets(cells: Iterable[tuple[Image, str]]) -> Iterator[Image]:
    """Sheets of (small copy, name), row by row, MOST on each.

    >>> [sheet.shape for sheet in sheets([(np.zeros((220, 220, 3), np.uint8), "a.jpg")] * 3)]
    [(506, 470, 3)]
    """
    page: list[tuple[Image, str]] = []
    for cell in cells:
        page.append(cell)
        if len(page) == MOST:
            yield _sheet(page)
            page = []
    if page:
        yield _sheet(page)


def write_sheets(folder: Path, made: Iterable[Image]) -> None:
    """Write sheets into a folder, which is replaced: sheet_1.jpg and so on."""
    with replacing(folder) as partial:
        partial.mkdir()
        for number, sheet in enumerate(made, 1):
            _, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 92])
            (partial / f"sheet_{number}.jpg").write_bytes(data.tobytes())


def _sheet(cells: Sequence[tuple[Image, str]]) -> Image:
    columns = min(COLUMNS, math.ceil(math.sqrt(len(cells))))
    rows = math.ceil(len(cells) / columns)
    across, down = CELL + GAP, CELL + CAPTION + GAP
    sheet: Image = np.full((rows * down + GAP, columns * across + GAP, 3), BACKGROUND, np.uint8)
    for index, (image, name) in enumerate(cells):
        x, y = GAP + index % columns * across, GAP + index // columns * down
        height, width = image.shape[:2]
        left, top = x + (CELL - width) // 2, y + (CELL - height) // 2
        sheet[top : top + height, left : left + width] = image
        _write(sheet[y + CELL : y + CELL + CAPTION, x : x + CELL], name)
    return sheet


def _write(place: Image, name: str) -> None:
    """Write a name into a place of a sheet, in the middle; of a long one, the end."""
    shown = name
    letters = lettering(shown, CAPTION * 5 // 9, 0)[0]
    while letters.shape[1] > place.shape[1] and len(shown) > 1:
        shown = "…" + shown[2 if shown[0] == "…" else 1 :]
        letters = lettering(shown, CAPTION * 5 // 9, 0)[0]
    letters = letters[: place.shape[0], : place.shape[1]]
    top, left = (place.shape[0] - letters.shape[0]) // 2, (place.shape[1] - letters.shape[1]) // 2
    part = place[top : top + letters.shape[0], left : left + letters.shape[1]]
    part[:] = (BACKGROUND + letters[..., None] * ((INK - BACKGROUND) / 255)).astype(np.uint8)
