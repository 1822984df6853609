"""`facealign align` on images."""

import argparse
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from facealign.arrays import Image
from facealign.commands import network_files, scheduler_of
from facealign.commands.align_setup import (
    Setup,
    close_results,
    opened,
    opened_window,
    output_of,
    result_files,
    results_of,
)
from facealign.commands.messages import json_files, note, number_of, problem, progress
from facealign.concurrency.cluster import Scheduler
from facealign.concurrency.pools import ordered_map
from facealign.concurrency.processes import cores
from facealign.concurrency.threads import ThreadedStep, overlapped
from facealign.errors import FaceAlignError, attempted
from facealign.inference.drawing import draw_faces
from facealign.inference.face_aligner import Face
from facealign.inference.given_boxes import read_box_file
from facealign.io.addresses import is_remote
from facealign.io.atomic import replacing
from facealign.io.images import read_image
from facealign.io.outputs import check_outputs
from facealign.results.formats import PTS_FOLDER, write_pts_beside
from facealign.results.found_images import find_images, picture_names
from facealign.results.growing_results import GrowingResults, entry_text, fingerprint, stamp
from facealign.results.montage import MONTAGE_FOLDER, sheets, small_copy, write_sheets
from facealign.results.record import Record, faces_of, image_record
from facealign.video.reading import SUFFIXES as VIDEOS
from facealign.video.tracker import largest
from facealign.video.window import Window


@dataclass(frozen=True)
class Work:
    """An image to process; name: of its output; key: of its result."""

    file: Path
    name: str
    key: str

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True)
class Done:
    """What came of an image; drawn: with its faces; data: the same as a file's contents, if wanted.

    image, drawn: None where they are not wanted; faces: empty where the entry suffices: what a worker of a
    cluster need not send; entry: of the results, as text.
    """

    image: Image | None
    faces: list[Face]
    entry: str
    drawn: Image | None
    data: bytes | None


def align_images(arguments: argparse.Namespace) -> None:
    """Align the faces of images, and write what was found."""
    found = find_images(arguments.images, arguments.output)
    if not found.files:
        raise FaceAlignError("; ".join(found.notes))
    for reason in found.notes:
        problem("passed over", reason)
    names = picture_names(found.files, found.places, arguments.format == "pts", (PTS_FOLDER, MONTAGE_FOLDER))
    boxes = [box for file in found.files if (box := _box_file(arguments, file)) is not None]
    check_outputs(
        [arguments.output / name for name in ([] if arguments.no_pictures else names)]
        + result_files(arguments)
        + json_files(),
        [arguments.output],
        [*found.files, *boxes, *network_files(arguments)],
    )
    weights = (arguments.weights, None if isinstance(arguments.cascade, bool) else Path(arguments.cascade))
    here = [path for path in arguments.images if not is_remote(path) and path.exists()]
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in here)
    scheduler = scheduler_of(arguments, [*folders, arguments.boxes, *weights])
    setup = opened(arguments)
    works = [Work(file, name, _key(setup, file, name)) for file, name in zip(found.files, names, strict=True)]
    with ExitStack() as stack:
        results = stack.enter_context(closing(GrowingResults(results_of(arguments))))
        window = stack.enter_context(opened_window()) if arguments.show else None
        results.resume({work.key for work in works})
        todo = [work for work in works if not _is_done(arguments, work, results)]
        if len(todo) < len(works):
            kept = number_of(len(works) - len(todo), "image")
            note(f"{results_of(arguments)}: has {kept} already")
        failures = _run(setup, todo, len(works), results, window, scheduler)
        keys = [work.key for work in works if work.key in results]
        if not keys:
            raise FaceAlignError(f"none of the {number_of(len(works), 'image')} could be used")
        if arguments.montage:
            _write_montage(arguments, works, results)
        close_results(setup, results, keys, "image", failures)


def _box_file(arguments: argparse.Namespace, file: Path) -> Path | None:
    return None if arguments.boxes is None else arguments.boxes / f"{file.stem}.txt"


def _key(setup: Setup, file: Path, name: str) -> str:
    boxes = _box_file(setup.arguments, file)
    pictures = None if setup.arguments.no_pictures else name
    pts = name if setup.arguments.format == "pts" else None
    own = [str(file), stamp(file), None if boxes is None else [str(boxes), stamp(boxes)], pictures, pts]
    return fingerprint(setup.settings, own)


def _is_done(arguments: argparse.Namespace, work: Work, results: GrowingResults) -> bool:
    """Whether an earlier run has the image's result, and its picture is there."""
    return work.key in results and (arguments.no_pictures or (arguments.output / work.name).is_file())


def _run(
    setup: Setup,
    todo: Sequence[Work],
    total: int,
    results: GrowingResults,
    window: Window | None,
    scheduler: Scheduler | None,
) -> int:
    """Align the images of `todo`, in order, and write what comes; the number of those that failed."""
    arguments, failures = setup.arguments, 0
    made = (
        _done_here(setup, todo, window is not None) if scheduler is None else _done_by(scheduler, setup, todo)
    )
    with (
        closing(made),
        progress(made, total=total, done=total - len(todo), unit="images", what="align") as bar,
    ):
        for work, done in zip(todo, bar, strict=True):
            if isinstance(done, FaceAlignError):
                if arguments.strict or total == 1:
                    raise done
                failures += 1
                problem("skipped", str(done))
                continue
            # Written here, in order, so that nothing after an image at which --strict stops is written.
            if done.data is not None:
                with replacing(arguments.output / work.name) as partial:
                    partial.write_bytes(done.data)
            if arguments.format == "pts":
                image = read_image(work.file) if done.image is None else done.image
                write_pts_beside(output_of(arguments), work.name, image, done.faces, work.file)
            results.add_text(work.key, done.entry)
            if window is not None and done.drawn is not None:
                window.show(done.drawn)
    return failures


def _done_here(
    setup: Setup, todo: Sequence[Work], show: bool
) -> Generator[Done | FaceAlignError, None, None]:
    """What comes of each image, or its error, in order, by threads of this process."""
    with closing(overlapped(todo, *_steps(setup, show))) as coming:
        for _, future in coming:
            yield attempted(future.result)


def _done_by(
    scheduler: Scheduler, setup: Setup, todo: Sequence[Work]
) -> Generator[Done | FaceAlignError, None, None]:
    """The same by the workers of a scheduler, without the images."""
    few = argparse.Namespace(**{**vars(setup.arguments), "paths": [], "images": []})  # sent with every shard
    yield from ordered_map(_done, todo, scheduler, _opened_like, (few, setup.settings))


def _opened_like(arguments: argparse.Namespace, settings: Mapping[str, Any]) -> Setup:
    """What a worker aligns with, its own networks. Raises FaceAlignError when these are others."""
    setup = opened(arguments)
    for name, theirs in settings.items():
        if setup.settings[name] != theirs:
            raise FaceAlignError(
                f"a worker has other networks than this machine ({name}: {setup.settings[name]}, here "
                f"{theirs}); install the same there, or give --engine and --weights"
            )
    return setup


def _done(setup: Setup, work: Work) -> Done | FaceAlignError:
    done = attempted(_taken, setup, work)
    if isinstance(done, FaceAlignError):
        return done
    return replace(done, image=None, drawn=None, faces=done.faces if setup.arguments.format == "pts" else [])


def _taken(setup: Setup, work: Work) -> Done:
    """What comes of an image, by all steps in turn."""
    value: Any = work
    for step, _ in _steps(setup, show=False):
        value = step(value)
    done: Done = value
    return done


def _steps(setup: Setup, show: bool) -> tuple[ThreadedStep, ...]:
    """From a Work to what is Done: read the image, find and align the faces, draw. Errors name the file."""
    arguments, aligner = setup.arguments, setup.aligner

    def read(work: Work) -> tuple[Work, Image]:
        try:
            return work, read_image(work.file)
        except FaceAlignError as error:
            if work.file.suffix.lower() in VIDEOS and work.file.is_file():
                raise FaceAlignError(f"{error}; --video takes a video") from error
            raise

    def align(opened: tuple[Work, Image]) -> tuple[Work, Image, list[Face]]:
        work, image = opened
        boxes = _box_file(arguments, work.file)
        if boxes is None:
            found = aligner.detect_and_align(image, arguments.turns)
        else:
            given = read_box_file(boxes)
            try:
                found = aligner.align(image, given)
            except FaceAlignError as error:
                raise FaceAlignError(f"{boxes}: {error}") from error
        return work, image, largest(found, arguments.max_faces)

    def draw(aligned: tuple[Work, Image, list[Face]]) -> Done:
        work, image, faces = aligned
        entry = entry_text(image_record(work.file.as_posix(), (image.shape[1], image.shape[0]), faces))
        if arguments.no_pictures and not show:
            return Done(image, faces, entry, None, None)
        drawn = draw_faces(image, faces)
        path = arguments.output / work.name
        return Done(image, faces, entry, drawn, None if arguments.no_pictures else encoded(path, drawn))

    # A network runs one image at a time.
    return (read, cores()), (align, 1), (draw, cores())


def encoded(path: Path, image: Image) -> bytes:
    """Contents of the image file `path`. Raises FaceAlignError when that fails."""
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise FaceAlignError(f"{path}: cannot be written")
    return data.tobytes()


def _write_montage(arguments: argparse.Namespace, works: Sequence[Work], results: GrowingResults) -> None:
    """Write contact sheets of all images that have a result."""
    shown = [work for work in works if work.key in results]

    def small(pair: tuple[Work, Record]) -> tuple[Image, str]:
        work, record = pair
        return small_copy(read_image(work.file), faces_of(record)), work.name

    def cells() -> Iterator[tuple[Image, str]]:
        records = results.records([work.key for work in shown])
        with (
            closing(overlapped(zip(shown, records, strict=True), (small, cores()))) as coming,
            progress(coming, total=len(shown), unit="images", what="montage") as bar,
        ):
            for _, future in bar:
                yield future.result()

    write_sheets(arguments.output / MONTAGE_FOLDER, sheets(cells()))
