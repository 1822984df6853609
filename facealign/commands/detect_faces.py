"""Detect the annotated faces of data sets with MTCNN and write their boxes to one file.

A missed face is reported and gets a box derived from its landmarks, marked as such. Boxes that the file
already holds, found with the same settings, are kept: an interrupted run resumes, even a killed one, from the
file .found beside it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from facealign.commands import add_data, add_strict, add_workers, name_options, program, scheduler_of
from facealign.commands.messages import (
    json_files,
    note,
    number_of,
    problem,
    progress,
    result,
    resumable,
    write_json,
)
from facealign.datasets.detected_boxes import (
    BoxesSoFar,
    FaceBox,
    checksums_of,
    described,
    find_boxes,
    read_boxes,
    unreadable,
    write_boxes,
)
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.detection.mtcnn import MtcnnSettings
from facealign.engines.opening import KINDS
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import landmark_box
from facealign.io.lock import exclusive
from facealign.io.markdown import table
from facealign.io.outputs import check_outputs

EXAMPLES = (
    "detect-faces --data data",
    "detect-faces --data data --min-face 20 --output data/small.json",
    "detect-faces --data s3://bucket/photos --scheduler tcp://host:8786",
)
"""Command lines that its help shows."""
HEADER = ("Folder", "Faces", "Found, %", "Overlap over 0.5, %", "Centre off by (x y)", "Size ratio (x y)")
"""Of the table by folder."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the table that it prints")
    source = parser.add_argument_group("input")
    add_data(source, several=True)
    add_strict(source)
    parser.add_argument_group("output").add_argument(
        "--output", type=Path, default=Path("data/boxes.json"), metavar="FILE", help="file for the boxes"
    )
    faces = parser.add_argument_group("faces")
    faces.add_argument(
        "--min-face",
        type=float,
        default=40.0,
        metavar="PIXELS",
        help="side of the smallest square in which MTCNN searches for a face; "
        "the box that it then fits to the face may be smaller",
    )
    faces.add_argument("--engine", choices=KINDS, default="onnx", help="what runs MTCNN")
    add_workers(parser, scheduler=True)
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `settings` are the detector's."""
    parser = options()
    arguments = parser.parse_args(command)
    try:
        arguments.settings = MtcnnSettings(min_face=arguments.min_face)
    except ValueError as error:
        parser.error(name_options(error))
    return arguments


def main() -> None:
    arguments = arguments_of()
    check_outputs([arguments.output, *json_files()], inputs=arguments.data)
    with resumable(arguments.output), exclusive(arguments.output, "a detection"):
        detect(arguments, arguments.settings)


def detect(arguments: argparse.Namespace, settings: MtcnnSettings) -> None:
    """Find the boxes, and write them."""
    where = scheduler_of(arguments, arguments.data) or arguments.workers
    found = faces_in(*arguments.data, strict=arguments.strict, where=where)
    for _, reason in found.skipped:
        problem("skipped", reason)
    so_far = BoxesSoFar(arguments.output, described(settings))
    unwritten = so_far.read()
    kept = {**known_boxes(arguments.output, settings), **unwritten}
    known = [sample for sample in found.samples if sample.relative in kept]
    faces = {
        sample.relative: kept[sample.relative]
        for sample, checksum in zip(known, checksums_of(known, where), strict=True)
        if kept[sample.relative].stamp == checksum
    }
    for sample in found.samples:
        if sample.relative in faces and faces[sample.relative].source == "unreadable":
            if arguments.strict:
                del faces[sample.relative]  # tried again, to stop at its error
            else:
                problem("skipped", f"{sample.path}: could not be read before and has not changed")
    todo = [sample for sample in found.samples if sample.relative not in faces]
    if faces:
        note(f"{arguments.output}: has {len(faces)} of {number_of(len(found.samples), 'face')} already")
    boxes = find_boxes(todo, settings, arguments.engine, where)
    bar = progress(boxes, total=len(todo), unit="faces", what="detect")
    try:
        for sample, box in zip(todo, bar, strict=True):
            if isinstance(box, FaceAlignError):
                if arguments.strict:
                    raise box
                face, label, text = unreadable(sample), "skipped", str(box)
            else:
                face, label, text = box, "missed" if box.source != "mtcnn" else "", str(sample.path)
            faces[sample.relative] = face
            so_far.add(sample.relative, face)
            if label:
                problem(label, text)
    finally:
        so_far.close()
        if (todo or unwritten) and faces:
            write_boxes(arguments.output, described(settings), {**kept, **faces})
            so_far.remove()
    readable = [sample for sample in found.samples if faces[sample.relative].source != "unreadable"]
    skipped = len(found.skipped) + len(found.samples) - len(readable)
    rows = summary(readable, faces)
    profiles = number_of(found.profiles, "profile")
    result(
        f"{arguments.output}: {number_of(len(readable), 'face')}, {profiles} left out, {skipped} skipped\n\n"
        f"{table(HEADER, [cells(row) for row in rows]).rstrip()}"
    )
    write_json(
        {
            "output": str(arguments.output),
            "faces": len(readable),
            "profiles_left_out": found.profiles,
            "skipped": skipped,
            "folders": rows,
        }
    )


def known_boxes(path: Path, settings: MtcnnSettings) -> dict[str, FaceBox]:
    """Boxes that an earlier run found with the same settings."""
    if not path.exists():
        return {}
    written, faces = read_boxes(path)
    if written != described(settings):
        note(f"{path}: made with other settings; starting again")
        return {}
    return faces


def summary(samples: list[Sample], faces: dict[str, FaceBox]) -> list[dict[str, Any]]:
    """By folder: faces, % found, % with an overlap over 0.5, median offset and size of the boxes.

    centre_off: of the boxes' centres from those of the landmarks' boxes, x and y in sizes of the latter;
    size_ratio: of the former to the latter; None where no face was found.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.is_300w:
            groups.setdefault("300-W, all", []).append(sample)
        groups.setdefault(sample.subset, []).append(sample)
    rows = []
    for name, members in sorted(groups.items()):
        boxes = [faces[sample.relative] for sample in members]
        found = [box.source == "mtcnn" for box in boxes]
        centre = ratio = None
        if any(found):
            given = np.array([box.box for box in boxes])[found]
            tight = landmark_box(np.array([sample.points for sample in members]))[found]
            size = tight[:, 2:] - tight[:, :2]
            off = ((given[:, :2] + given[:, 2:]) - (tight[:, :2] + tight[:, 2:])) / 2 / size
            centre = np.median(off, axis=0).tolist()
            ratio = np.median((given[:, 2:] - given[:, :2]) / size, axis=0).tolist()
        rows.append(
            {
                "folder": name,
                "faces": len(members),
                "found_percent": 100 * float(np.mean(found)),
                "overlap_over_half_percent": 100 * float(np.mean([box.overlap > 0.5 for box in boxes])),
                "centre_off": centre,
                "size_ratio": ratio,
            }
        )
    return rows


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the summary in the table."""
    return [
        row["folder"],
        str(row["faces"]),
        f"{row['found_percent']:.2f}",
        f"{row['overlap_over_half_percent']:.2f}",
        " ".join(f"{value:+.3f}" for value in row["centre_off"] or ()),
        " ".join(f"{value:.3f}" for value in row["size_ratio"] or ()),
    ]
