"""The formats of results: JSON, JSON Lines, CSV in long form, and .pts files beside their images."""

import csv
import itertools
import json
import os
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from facealign.arrays import Image
from facealign.datasets.pts import write_pts
from facealign.inference.face_aligner import Face
from facealign.io.addresses import is_remote
from facealign.io.atomic import replacing
from facealign.io.images import read_image
from facealign.io.reading import read_bytes
from facealign.results.record import Record

PTS_FOLDER = "pts"
IMAGE_COLUMNS = ("file",)
FRAME_COLUMNS = ("file", "frame", "time", "track")
FACE_COLUMNS = ("face", "x1", "y1", "x2", "y2", "score", "confidence", "yaw", "pitch", "roll")
POINT_COLUMNS = ("landmark", "x", "y")
JPEG_QUALITY = 95
"""Of a video's frames."""


def write_json(path: Path, records: Iterable[Record]) -> None:
    """One object: {"images": [entry, ...]}, an entry at a time."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write('{\n "images": [')
        separator = "\n"
        for record in records:
            stream.write(separator)
            stream.write(textwrap.indent(json.dumps(record, indent=1, allow_nan=False), "  "))
            separator = ",\n"
        stream.write("]\n}\n" if separator == "\n" else "\n ]\n}\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """An entry a line."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(record, allow_nan=False)}\n" for record in records)


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """The file of `csv_lines`."""
    with (
        replacing(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        csv_lines(stream, records)


def csv_lines(stream: TextIO, records: Iterable[Record]) -> None:
    """In long form: a line for each landmark of each face, with the columns above.

    face: from 0, in the order of the entry; landmark: from 0; of a video also frame, time and track. Images
    without a face have no line. `pandas.read_csv` reads it.
    """
    coming = iter(records)
    first = next(coming, None)
    frames = first is not None and "frame" in first
    columns = (*(FRAME_COLUMNS if frames else IMAGE_COLUMNS), *FACE_COLUMNS, *POINT_COLUMNS)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for record in itertools.chain([] if first is None else [first], coming):
        for number, face in enumerate(record["faces"]):
            whole = [record["file"]]
            if frames:
                whole += [record["frame"], record["time"], face["track"]]
            pose = face["pose"] or dict.fromkeys(("yaw", "pitch", "roll"))
            whole += [number, *face["box"], face["score"], face["confidence"], *pose.values()]
            writer.writerows([*whole, index, x, y] for index, (x, y) in enumerate(face["landmarks"]))


WRITERS: dict[str, Callable[[Path, Iterable[Record]], None]] = {
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
}
FORMATS = (*WRITERS, "pts")


def write_pts_beside(
    folder: Path, name: str, image: Image, faces: Sequence[Face], file: Path | None = None
) -> int:
    """Write a .pts file for each face that is not doubtful, the image beside it, as `make-lmdb` reads them.

    name: of the image, perhaps in folders; image: (h, w, 3), upright, as the landmarks are; file: of the
    image, to which a link is made (of a store: a copy); where it is turned when it is read, or there is
    none, it is written anew. The second face is NAME_face2, and so on. Returns their number.
    """
    certain = [face for face in faces if not face.doubtful]
    target = folder / name
    linked = file is not None and np.array_equal(image, read_image(file, orient=False))
    suffix = file.suffix if file is not None and linked else ".png" if file is not None else ".jpg"
    for number in itertools.count(1):
        stem = target.stem if number == 1 else f"{target.stem}_face{number}"
        pts, picture = target.with_name(f"{stem}.pts"), target.with_name(f"{stem}{suffix}")
        if number > len(certain):
            if not pts.is_file():
                return len(certain)
            pts.unlink()  # of a former run
            picture.unlink(missing_ok=True)
            continue
        with replacing(picture) as partial:
            if linked and file is not None:
                if is_remote(file):
                    partial.write_bytes(read_bytes(file, "expected an image"))
                else:
                    os.symlink(file.resolve(), partial)
            else:
                _, data = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                partial.write_bytes(data.tobytes())
        write_pts(pts, certain[number - 1].landmarks)
    raise AssertionError("unreachable")
