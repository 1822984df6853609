"""Detect the annotated faces of data sets with MTCNN and write their boxes to one file.

A missed face is reported and gets a box derived from its landmarks, marked as such. Boxes that the file
already holds, found with the same settings, are kept: an interrupted run resumes, even a killed one, from the
file .found beside it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facealign.commands import program
from facealign.concurrency.processes import cores
from facealign.datasets.detected_boxes import (
    BoxesSoFar,
    FaceBox,
    checksum_of,
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
)
"""Command lines that its help shows."""


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; `settings` are the detector's."""
    parser = program(__doc__, EXAMPLES)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="ROOT",
        help="300w/, menpo/, any folders of images with .pts files",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("data/boxes.json"), metavar="FILE", help="file for the boxes"
    )
    parser.add_argument("--engine", choices=KINDS, default="onnx", help="that runs MTCNN")
    parser.add_argument("--min-face", type=float, default=40, metavar="PIXELS", help="smallest side of a box")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="default: one per core")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that cannot be used")
    arguments = parser.parse_args(command)
    if arguments.workers < 1:
        parser.error("--workers: expected 1 or more")
    try:
        arguments.settings = MtcnnSettings(min_face=arguments.min_face)
    except ValueError as error:
        parser.error(f"--min-face: {error}")
    return arguments


def main() -> None:
    arguments = arguments_of()
    check_outputs([arguments.output])
    with exclusive(arguments.output, "a detection"):
        detect(arguments, arguments.settings)


def detect(arguments: argparse.Namespace, settings: MtcnnSettings) -> None:
    """Find the boxes, and write them."""
    found = faces_in(*arguments.data, strict=arguments.strict)
    for _, reason in found.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    so_far = BoxesSoFar(arguments.output, described(settings))
    unwritten = so_far.read()
    kept = {**known_boxes(arguments.output, settings), **unwritten}
    faces = {
        sample.relative: kept[sample.relative]
        for sample in found.samples
        if sample.relative in kept and kept[sample.relative].stamp == checksum_of(sample)
    }
    for sample in found.samples:
        if sample.relative in faces and faces[sample.relative].source == "unreadable":
            if arguments.strict:
                del faces[sample.relative]  # tried again, to stop at its error
            else:
                print(
                    f"skipped: {sample.path}: could not be read before and has not changed", file=sys.stderr
                )
    todo = [sample for sample in found.samples if sample.relative not in faces]
    if faces:
        print(f"{arguments.output}: has {len(faces)} of {len(found.samples)} faces already", file=sys.stderr)
    boxes = find_boxes(todo, settings, arguments.engine, arguments.workers)
    try:
        for sample, box in zip(todo, tqdm(boxes, total=len(todo), unit="face", desc="detect"), strict=True):
            if isinstance(box, FaceAlignError):
                if arguments.strict:
                    raise box
                face, said = unreadable(sample), f"skipped: {box}"
            else:
                face, said = box, f"missed: {sample.path}" if box.source != "mtcnn" else ""
            faces[sample.relative] = face
            so_far.add(sample.relative, face)
            if said:
                tqdm.write(said, file=sys.stderr)
    finally:
        so_far.close()
        if (todo or unwritten) and faces:
            write_boxes(arguments.output, described(settings), {**kept, **faces})
            so_far.remove()
    readable = [sample for sample in found.samples if faces[sample.relative].source != "unreadable"]
    skipped = len(found.skipped) + len(found.samples) - len(readable)
    print(
        f"{arguments.output}: {len(readable)} faces, {found.profiles} profiles left out, {skipped} skipped\n"
    )
    sys.stdout.write(summary(readable, faces))


def known_boxes(path: Path, settings: MtcnnSettings) -> dict[str, FaceBox]:
    """Boxes that an earlier run found with the same settings."""
    if not path.exists():
        return {}
    written, faces = read_boxes(path)
    if written != described(settings):
        print(f"{path}: made with other settings; starting again", file=sys.stderr)
        return {}
    return faces


def summary(samples: list[Sample], faces: dict[str, FaceBox]) -> str:
    """Table by folder: faces, % found, % with an overlap over 0.5, median offset and size of the boxes."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault("300-W, all" if sample.is_300w else "", []).append(sample)
        groups.setdefault(sample.subset, []).append(sample)
    groups.pop("", None)
    rows = []
    for name, members in sorted(groups.items()):
        boxes = [faces[sample.relative] for sample in members]
        found = [box.source == "mtcnn" for box in boxes]
        cells = [name, str(len(members)), f"{100 * np.mean(found):.2f}"]
        cells.append(f"{100 * np.mean([box.overlap > 0.5 for box in boxes]):.2f}")
        if any(found):
            given = np.array([box.box for box in boxes])[found]
            tight = landmark_box(np.array([sample.points for sample in members]))[found]
            size = tight[:, 2:] - tight[:, :2]
            centre = ((given[:, :2] + given[:, 2:]) - (tight[:, :2] + tight[:, 2:])) / 2 / size
            ratio = (given[:, 2:] - given[:, :2]) / size
            cells += [" ".join(f"{value:+.3f}" for value in np.median(centre, axis=0))]
            cells += [" ".join(f"{value:.3f}" for value in np.median(ratio, axis=0))]
        rows.append([*cells, *[""] * (6 - len(cells))])
    header = ["Folder", "Faces", "Found, %", "Overlap over 0.5, %", "Centre off by (x y)", "Size ratio (x y)"]
    return table(header, rows)
