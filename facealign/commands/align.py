"""Find faces in images: box, 68 landmarks and head pose.

Writes each image with its faces drawn on it, and one landmarks.json in 0-based pixels of the original images.
"""

import argparse
import json
import os
import sys
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from facealign.arrays import Image
from facealign.commands import add_network_options
from facealign.concurrency.processes import cores
from facealign.concurrency.threads import ThreadedStep, overlapped
from facealign.errors import FaceAlignError
from facealign.inference.drawing import draw_face
from facealign.inference.face_aligner import TURNS, Face, FaceAligner
from facealign.inference.formats import image_record
from facealign.inference.given_boxes import read_box_file
from facealign.inference.model_zoo import default_weights, second_of
from facealign.io.atomic import replacing
from facealign.io.images import SUFFIXES, read_image
from facealign.io.outputs import check_outputs

LONGEST_STEM = 150
"""Bytes of a picture's name before its suffix."""
BESIDE_IMAGES = (".csv", ".json", ".jsonl", ".md", ".pts", ".txt")
"""Suffixes of files that lie beside images and are none."""
WRITABLE = (".jpg", ".jpeg", ".png", ".bmp")


def arguments_of(command: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "paths", type=Path, nargs="*", metavar="DIR|FILE", help="images, or folders of images"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", default=[], metavar="DIR|FILE", help="the same, as an option"
    )
    parser.add_argument("--output", type=Path, default=Path("out"), metavar="DIR", help="default: out")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="DIR",
        help="take boxes from DIR/NAME.txt (1-based `x1 y1 x2 y2`, one face per line) instead of detecting",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="default: the newest stage in models/")
    add_network_options(parser)
    parser.add_argument(
        "--turns",
        choices=TURNS,
        default="auto",
        help="search each image turned by quarters too, for faces on their side or upside down (auto: when "
        "no face is found upright, or one is doubtful)",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first image that fails")
    arguments = parser.parse_args(command)
    arguments.images = [*arguments.paths, *arguments.images]
    if not arguments.images:
        parser.error("no images given")
    return arguments


def find_images(arguments: Sequence[Path]) -> list[Path]:
    """Image files of `--images`, in order, each once; a folder stands for its images, sorted.

    A named file is kept even when it does not exist, to be reported with the others that cannot be read.
    Raises FaceAlignError for a folder without images.
    """
    files: dict[Path, Path] = {}
    for argument in arguments:
        if argument.is_dir():
            inside = sorted(
                path
                for path in argument.iterdir()
                if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
            )
            if not inside:
                raise FaceAlignError(f"{argument}: no image in it; expected {', '.join(SUFFIXES)}")
        else:
            inside = [argument]
        for path in inside:
            files.setdefault(_place(path), path)
    return list(files.values())


def _place(path: Path) -> Path:
    """Where a file is, links followed; a loop of links is taken as it is, to be reported when it is read."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def passed_over(arguments: Sequence[Path]) -> list[Path]:
    """What the folders of `--images` hold beside images, hidden files and the texts that belong to images."""
    known = {*SUFFIXES, *BESIDE_IMAGES}
    inside = [path for argument in arguments if argument.is_dir() for path in sorted(argument.iterdir())]
    return [
        path
        for path in inside
        if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() not in known)
    ]


def picture_names(files: Sequence[Path]) -> list[str]:
    """Output name of each file, all different even when case is ignored.

    The file's own name; for a second file of that name, with its folder's name before it; then with a number.
    """
    taken: set[str] = set()
    names = []
    for file in files:
        suffix = file.suffix if file.suffix.lower() in WRITABLE else ".png"
        stem = file.name if file.suffix.lower() not in WRITABLE else file.stem
        folder = file.absolute().parent.name
        if len(os.fsencode(stem)) > LONGEST_STEM:  # with what is added, file systems would refuse it
            whole = os.fsencode(stem)
            stem = f"{whole[: LONGEST_STEM - 9].decode(errors='ignore')}_{zlib.crc32(whole):08x}"
        choices = [f"{stem}{suffix}", f"{folder}_{stem}{suffix}"]
        choices += [f"{folder}_{stem}_{number}{suffix}" for number in range(2, len(files) + 2)]
        name = next(choice for choice in choices if choice.lower() not in taken)
        taken.add(name.lower())
        names.append(name)
    return names


def encoded(path: Path, image: Image, faces: Sequence[Face]) -> bytes:
    """Contents of the file `path`, the image with its faces drawn. Raises FaceAlignError when that fails."""
    drawn = image
    for face in faces:
        drawn = draw_face(drawn, face.box, face.landmarks, face.pose, face.doubtful)
    done, data = cv2.imencode(path.suffix, drawn)
    if not done:
        raise FaceAlignError(f"{path}: cannot be written")
    return data.tobytes()


@dataclass(frozen=True)
class Work:
    """An image to process; file: of the image; picture: output file with the faces drawn."""

    file: Path
    picture: Path


@dataclass(frozen=True)
class Done:
    """Output of an image: the encoded image with faces drawn, and the entry in landmarks.json."""

    data: bytes
    record: dict[str, Any]


def steps(aligner: FaceAligner, boxes: Path | None, turns: str) -> tuple[ThreadedStep, ...]:
    """From a Work to what is Done: read the image, find and align the faces, draw. Errors name the file."""

    def read(work: Work) -> tuple[Work, Image]:
        return work, read_image(work.file)

    def align(opened: tuple[Work, Image]) -> tuple[Work, Image, list[Face]]:
        work, image = opened
        if boxes is None:
            return work, image, aligner.detect_and_align(image, turns)
        file = boxes / f"{work.file.stem}.txt"
        given = read_box_file(file)
        try:
            return work, image, aligner.align(image, given)
        except FaceAlignError as error:
            raise FaceAlignError(f"{file}: {error}") from error

    def draw(aligned: tuple[Work, Image, list[Face]]) -> Done:
        work, image, faces = aligned
        height, width = image.shape[:2]
        record = image_record(work.file.as_posix(), width, height, faces)
        return Done(encoded(work.picture, image, faces), record)

    # A network runs one image at a time.
    return (read, cores()), (align, 1), (draw, cores())


def main() -> None:
    arguments = arguments_of()
    files = find_images(arguments.images)
    for path in passed_over(arguments.images):
        what = "a folder; give it as an argument of its own" if path.is_dir() else "not a format that is read"
        print(f"passed over: {path}: {what}", file=sys.stderr)
    names = picture_names(files)
    originals = {_place(file) for file in files}
    for name in names:
        if (arguments.output / name).resolve() in originals:
            raise FaceAlignError(
                f"{arguments.output / name}: the output would replace an input image; change --output"
            )
    if arguments.boxes is not None and not arguments.boxes.is_dir():
        raise FaceAlignError(f"{arguments.boxes}: no such folder; --boxes takes a folder of NAME.txt")

    listing = arguments.output / "landmarks.json"
    check_outputs([*(arguments.output / name for name in names), listing], [arguments.output])
    weights = arguments.weights or default_weights(arguments.engine)
    second = second_of(arguments.cascade, arguments.engine)
    aligner = FaceAligner.open(
        weights,
        arguments.engine,
        detector=arguments.boxes is None,
        published=arguments.published,
        flip=arguments.flip,
        cascade=second,
    )
    if aligner.cascade_mismatch:
        print(f"warning: {second}: {aligner.cascade_mismatch}", file=sys.stderr)
    arguments.output.mkdir(parents=True, exist_ok=True)
    records = []
    failures = []
    works = [Work(file, arguments.output / name) for file, name in zip(files, names, strict=True)]
    with (
        closing(overlapped(works, *steps(aligner, arguments.boxes, arguments.turns))) as coming,
        tqdm(coming, total=len(works), unit="image", desc="align") as bar,
    ):
        for work, future in bar:
            try:
                done = future.result()
            except FaceAlignError as error:
                if arguments.strict or len(files) == 1:
                    raise
                failures.append(str(error))
                tqdm.write(f"skipped: {error}", file=sys.stderr)
                continue
            # Written here, in order, so that nothing after an image at which --strict stops is written.
            with replacing(work.picture) as partial:
                partial.write_bytes(done.data)
            records.append(done.record)
    if not records:
        raise FaceAlignError(f"none of the {len(files)} images could be used")

    with replacing(listing) as partial:
        text = json.dumps({"images": records}, indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
    n_faces = sum(len(one["faces"]) for one in records)
    n_doubtful = sum(face["doubtful"] for one in records for face in one["faces"])
    doubtful = f" ({n_doubtful} of them doubtful)" if n_doubtful else ""
    skipped = f", {len(failures)} skipped" if failures else ""
    print(f"{listing}: {len(records)} images, {n_faces} faces{doubtful}{skipped}")
