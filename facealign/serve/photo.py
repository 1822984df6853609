"""From the bytes of a photo to the answer: what runs in a worker process."""

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from facealign.arrays import Image
from facealign.datasets.pts import pts_text
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import Face, FaceAligner
from facealign.io.images import decode_image, image_size
from facealign.results.formats import csv_lines
from facealign.results.record import image_record
from facealign.serve.limits import RefusalError

Turns = Literal["auto", "always", "never"]
Format = Literal["json", "csv", "pts"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "pts": "text/plain; charset=utf-8",
}
READABLE = "JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or JPEG 2000"


@dataclass(frozen=True)
class Settings:
    """Of the aligner, as `FaceAligner.open` has them; max_pixels: of a photo."""

    weights: Path | None = None
    engine: str = "auto"
    published: bool = False
    flip: bool = False
    cascade: Path | None = None
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class Photo:
    """A request; data: the file's bytes; name: the file's; face: the one that .pts is of, from 0."""

    data: bytes
    name: str
    turns: Turns = "auto"
    form: Format = "json"
    face: int = 0


@dataclass(frozen=True)
class Tools:
    """What a worker process has open."""

    aligner: FaceAligner
    max_pixels: int


def limit_decoders(max_pixels: int) -> None:
    """Have the worker processes that this one starts decode no larger image.

    A second line of defence: `decoded` looks at the header, in which a decoder may see another size.
    """
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(max_pixels)  # read by OpenCV when it is imported
    os.environ["FACEALIGN_MAX_PIXELS"] = str(max_pixels)


def open_tools(settings: Settings) -> Tools:
    """Open an aligner. Raises FaceAlignError on missing or invalid files."""
    single_threaded_blas()
    aligner = FaceAligner.open(
        settings.weights,
        settings.engine,
        published=settings.published,
        flip=settings.flip,
        cascade=settings.cascade,
    )
    aligner.detect_and_align(np.zeros((64, 64, 3), np.uint8))  # the first run is slow
    return Tools(aligner, settings.max_pixels)


def answer(tools: Tools, photo: Photo) -> bytes:
    """Body of the answer: the faces of a photo, in its format. Raises RefusalError on a bad photo."""
    image = decoded(photo.data, tools.max_pixels)
    faces = tools.aligner.detect_and_align(image, photo.turns)
    record = image_record(photo.name, (image.shape[1], image.shape[0]), faces)
    if photo.form == "json":
        return json.dumps(record, allow_nan=False).encode()
    if photo.form == "csv":
        table = io.StringIO()
        csv_lines(table, [record])
        return table.getvalue().encode(errors="replace")
    return _pts(faces, photo.face).encode()


def _pts(faces: Sequence[Face], index: int) -> str:
    if not 0 <= index < len(faces):
        raise RefusalError(
            422,
            "no_such_face",
            f"There is no face {index}: faces count from 0, and {len(faces)} were found.",
            "Ask for format=json, which has all faces, or for another face.",
        )
    return pts_text(faces[index].landmarks)


def _what(error: FaceAlignError) -> str:
    """What is wrong with the photo; the remedy that follows is for files."""
    return str(error).removeprefix("the photo: ").partition(";")[0]


def decoded(data: bytes, max_pixels: int) -> Image:
    """The image in the bytes of a file. Raises RefusalError unless it is whole and not too large."""
    size = image_size(io.BytesIO(data))
    if size is None:
        raise RefusalError(
            415, "not_an_image", "The body is not an image that can be read.", f"Send a {READABLE} file."
        )
    if size[0] * size[1] > max_pixels:
        raise RefusalError(
            413,
            "too_many_pixels",
            f"The photo has {size[1]}x{size[0]} pixels, more than the limit of {max_pixels}.",
            "Send it scaled down.",
        )
    try:
        return decode_image(data, "the photo")
    except FaceAlignError as error:
        raise RefusalError(
            422,
            "damaged_image",
            f"The photo cannot be decoded: {_what(error)}.",
            f"Send the whole file, or save it anew as {READABLE}.",
        ) from error
