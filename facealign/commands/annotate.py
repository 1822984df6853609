"""Write the landmarks of photos as .pts files: the mean of several predictors, where these agree.

The members are the released cascade, averaged with the mirrored crops, and mediapipe's face mesh if there is
an environment with it (make mesh). A face on which they disagree, or that is doubtful, is left out. The
output has the tree of the photos: NAME.pts, or NAME_1.pts, NAME_2.pts... where a photo shows several faces,
and annotations.json, with the members and how far they agree on each face. An interrupted run
resumes, even a killed one.
"""

import argparse
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from facealign.annotation.annotated_files import is_done, remove_others, written_entry
from facealign.annotation.annotator import (
    AnnotationSettings,
    Annotator,
    Photo,
    annotated,
    stamps_of,
)
from facealign.annotation.description import (
    ANNOTATIONS,
    Record,
    is_unfinished,
    photos_so_far,
    read_description,
    write_description,
)
from facealign.commands import MESH, add_strict, add_workers, place, program, scheduler_of
from facealign.commands.annotate_photos import photos_of
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
from facealign.concurrency.pools import Where
from facealign.engines.opening import KINDS, files_of
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import TURNS
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs

EXAMPLES = (
    "annotate --photos photos --output data/mine --with-photos",
    "annotate --photos photos --output data/mine --no-mesh --max-disagreement 4",
    "annotate --photos data --boxes data/boxes.json --output data/teacher_points",
    "annotate --photos s3://bucket/photos --output data/mine --scheduler tcp://host:8786",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(
        __doc__, EXAMPLES, json="the numbers of photos and faces, and how far the members agree,"
    )
    source = parser.add_argument_group("input")
    source.add_argument(
        "--photos",
        type=place,
        required=True,
        metavar="ROOT",
        help="a folder of photos, searched to its depth; or s3://bucket/folder",
    )
    source.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="of facealign detect-faces: annotate its faces, one for each annotated photo, instead of those "
        "that are detected",
    )
    add_strict(source, "photo")
    output = parser.add_argument_group("output")
    output.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the .pts files")
    output.add_argument(
        "--with-photos",
        action="store_true",
        help="copy the photo of each face beside its .pts, under its name: the output can then be trained on",
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
    faces.add_argument(
        "--turns",
        choices=TURNS,
        default="auto",
        help="search each photo turned by quarters too; auto: when no face is found upright, or one is "
        "doubtful",
    )
    faces.add_argument(
        "--max-disagreement",
        type=float,
        default=10.0,
        metavar="PERCENT",
        help="of the inter-pupil distance: leave a face out when the members, or without the face mesh the "
        "first cascade stage and both, are farther apart in the mean",
    )
    members = parser.add_argument_group("network")
    members.add_argument(
        "--mesh",
        type=Path,
        metavar="PYTHON",
        help=f"an interpreter that has mediapipe (default: {MESH}, if it is there)",
    )
    members.add_argument(
        "--cascade",
        type=Path,
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="weights of the cascade's stages (default: the released ones)",
    )
    members.add_argument("--no-mesh", action="store_true", help="the cascade alone")
    members.add_argument("--engine", choices=KINDS, default="onnx", help="what runs the cascade and MTCNN")
    add_workers(parser, scheduler=True)
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if not (0 < arguments.max_disagreement < math.inf):
        parser.error("--max-disagreement: expected more than 0")
    if not (12 <= arguments.min_face < math.inf):
        parser.error("--min-face: expected 12 or more")
    if arguments.mesh is not None and arguments.no_mesh:
        parser.error("--mesh, --no-mesh: one of them only")
    if arguments.mesh is None and not arguments.no_mesh and MESH.exists():
        arguments.mesh = MESH
    return arguments


def main() -> None:
    arguments = arguments_of()
    networks = [file for weights in arguments.cascade or () for file in files_of(weights)]
    read = [arguments.photos, *networks, *(path for path in [arguments.boxes] if path is not None)]
    check_outputs([arguments.output / ANNOTATIONS, *json_files()], [arguments.output], read)
    check_output(arguments.output)
    if arguments.mesh is None and not arguments.no_mesh:
        problem(
            "warning",
            f"{MESH}: not there (`make mesh` makes it): the cascade alone annotates, as with --no-mesh",
        )
    scheduler = scheduler_of(arguments, [arguments.photos, *(arguments.cascade or ())])
    where = scheduler or arguments.workers
    given, photos = photos_of(arguments, where)
    check_outputs(json_files(), inputs=[photo.path for photo in photos])
    settings = AnnotationSettings(
        arguments.mesh,
        arguments.max_disagreement,
        arguments.engine,
        arguments.turns,
        arguments.min_face,
        None if arguments.cascade is None else tuple(arguments.cascade),
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    with resumable(arguments.output), exclusive(arguments.output, "an annotation"):
        opened = Annotator(settings)
        try:
            described = {**opened.describe(), "boxes": given, "with_photos": arguments.with_photos}
            if where != 1:
                opened.close()
            annotate(arguments, settings, described, photos, opened, where)
        finally:
            opened.close()


def annotate(
    arguments: argparse.Namespace,
    settings: AnnotationSettings,
    described: Mapping[str, Any],
    photos: list[Photo],
    opened: Annotator,
    where: Where,
) -> None:
    """Annotate the photos that are not annotated yet, and write the description.

    where: number of worker processes (1: by `opened`), or a scheduler.
    """
    output = arguments.output
    so_far = photos_so_far(output, described)
    before: dict[str, Record] = {}
    if (output / ANNOTATIONS).exists():
        written, before = read_description(output)
        if written != described:
            raise FaceAlignError(f"{output}: made with other settings; remove it, or give another --output")
    if so_far.is_of_another:
        raise FaceAlignError(f"{output}: begun with other settings; remove it, or give another --output")
    entries = {**before, **so_far.read()}
    todo = []
    known = [photo for photo in photos if photo.name in entries]
    stamps = {photo.name: stamp for photo, stamp in zip(known, stamps_of(known, where), strict=True)}
    for photo in photos:
        entry = entries.get(photo.name)
        if not is_done(photo, entry, stamps.get(photo.name), output) or (
            entry and entry["error"] and arguments.strict
        ):
            todo.append(photo)
        elif entry and entry["error"]:
            problem("skipped", f"{entry['error']}; it has not changed since")
    if len(todo) < len(photos):
        note(f"{output}: has {len(photos) - len(todo)} of {number_of(len(photos), 'photo')} already")
    gone = sorted(entries.keys() - {photo.name for photo in photos})
    if gone:
        problem(
            "warning",
            f"{output}: keeps what was made of {number_of(len(gone), 'photo')} no longer in "
            f"{arguments.photos}, such as {gone[0]}",
        )
    names = {str(PurePosixPath(photo.name).with_suffix("")) for photo in photos}
    results = (
        annotated(todo, settings, where, opened.describe())
        if where != 1
        else (opened.annotate(photo) for photo in todo)
    )
    try:
        if todo:
            so_far.begin()
        with (
            closing(results),
            progress(results, total=len(todo), unit="photos", what="annotate") as bar,
        ):
            for photo, found in zip(todo, bar, strict=True):
                entry = written_entry(photo, found, names, output, arguments.with_photos)
                if entry["error"] and arguments.strict:
                    raise FaceAlignError(entry["error"])
                remove_others(photo, entries.get(photo.name), entry, output, arguments.with_photos)
                entries[photo.name] = entry
                so_far.add(photo.name, entry)
                report(photo, entry)
    finally:
        so_far.close()
    if todo or is_unfinished(output):
        write_description(output, described, entries)
        so_far.remove()
    members = [member["name"] for member in described["members"]]
    counts = summarise(output, [entries[photo.name] for photo in photos])
    result(f"{output}: by {' and '.join(members)}")
    write_json({"output": str(output), **counts, "photos_gone": len(gone), "members": members})


def check_output(output: Path) -> None:
    """Raise FaceAlignError when `output` is a folder of something else, whose .pts might be replaced."""
    ours = not output.exists() or (output / ANNOTATIONS).exists() or is_unfinished(output)
    if not ours and any(not entry.name.startswith(".") for entry in output.iterdir()):
        raise FaceAlignError(f"{output}: exists and holds no {ANNOTATIONS}; give another --output")


def report(photo: Photo, entry: Record) -> None:
    """Name a photo that could not be used, and faces that are left out."""
    if entry["error"]:
        problem("skipped", entry["error"])
    for face in entry["faces"]:
        if face["left_out"]:
            apart = "" if face["disagreement"] is None else f" by {face['disagreement']:.1f} %"
            problem("left out", f"{photo.path}: {face['left_out']}{apart}")


def summarise(output: Path, entries: list[Record]) -> dict[str, Any]:
    """Print the numbers of photos and faces, and return them.

    Raises FaceAlignError when no photo could be used.
    """
    failed = sum(bool(entry["error"]) for entry in entries)
    if failed == len(entries):
        raise FaceAlignError(f"none of {number_of(failed, 'photo')} could be used: {entries[0]['error']}")
    faces = [face for entry in entries for face in entry["faces"]]
    used = [face["disagreement"] for face in faces if not face["left_out"]]
    empty = sum(not entry["faces"] and not entry["error"] for entry in entries)
    median = sorted(used)[len(used) // 2] if used else None
    left_out = Counter(face["left_out"] for face in faces if face["left_out"])
    kept, photos = number_of(len(used), "face"), number_of(len(entries), "photo")
    result(f"{output}: {kept} of {photos}; {empty} without a face, {failed} skipped")
    if median is not None:
        result(f"{output}: disagreement {median:.2f} % (median)")
    for reason, count in sorted(left_out.items()):
        result(f"{output}: {number_of(count, 'face')} left out: {reason}")
    return {
        "photos": len(entries),
        "faces": len(used),
        "photos_without_faces": empty,
        "skipped": failed,
        "left_out": dict(left_out),
        "median_disagreement_percent": median,
    }
