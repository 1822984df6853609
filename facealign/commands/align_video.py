"""`facealign align --video`: a video file or a camera."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.arrays import Image
from facealign.commands import network_files
from facealign.commands.align_setup import (
    Setup,
    close_results,
    opened,
    opened_window,
    output_of,
    result_files,
    results_of,
    smoothing_of,
)
from facealign.commands.messages import json_files, note, number_of, problem, progress
from facealign.concurrency.processes import cores
from facealign.concurrency.threads import ThreadedStep, overlapped
from facealign.errors import FaceAlignError
from facealign.inference.drawing import draw_faces, score_label
from facealign.inference.face_aligner import Face
from facealign.io.outputs import check_outputs
from facealign.results.formats import write_pts_beside
from facealign.results.growing_results import GrowingResults, fingerprint, frame_key, stamp
from facealign.results.montage import MONTAGE_FOLDER, MOST, sheets, small_copy, write_sheets
from facealign.results.record import Record, faces_of, frame_record, tracks_of
from facealign.video.reading import Frame, Video
from facealign.video.tracker import FaceTracker, TrackerSettings
from facealign.video.window import Window
from facealign.video.writing import encoder_here, video_writer

STATE_EVERY = 25
"""Frames after which the tracker's state is stored, from which a stopped run goes on."""
WHOLE = 0.9
"""Part of the announced frames below which a file is said to have ended early."""


@dataclass(frozen=True)
class Tracked:
    """A frame and its entry; state: of the tracker, where it is stored; is_new: not of an earlier run."""

    frame: Frame
    record: Record
    state: Any
    is_new: bool


def align_video(arguments: argparse.Namespace) -> None:
    """Follow the faces of a video, and write what was found."""
    with Video(arguments.video) as video, ExitStack() as stack:
        target = None if arguments.no_pictures else _target(arguments, video)
        check_outputs(
            [path for path in (target, *result_files(arguments)) if path is not None] + json_files(),
            [arguments.output],
            network_files(arguments) + ([] if video.is_camera else [Path(arguments.video)]),
        )
        setup = opened(arguments)
        tracker = FaceTracker(setup.aligner, tracker_settings(arguments))
        run = _run_key(setup, tracker.settings, video)
        results = stack.enter_context(closing(GrowingResults(results_of(arguments))))
        window = stack.enter_context(opened_window()) if arguments.show else None
        known = 0
        if not video.is_camera:
            known, state = results.resume_frames(run)
            if known:
                tracker.restore(state)
                note(f"{results_of(arguments)}: has {number_of(known, 'frame')} already")
        frames = _Run(setup, video, tracker, results, run, known).frames(target, window)
        if frames == 0:
            raise FaceAlignError(f"{video.name}: no frame in it can be read")
        if video.length is not None and frames < WHOLE * video.length:
            problem("warning", f"{video.name}: ended after {frames} of {video.length} frames; damaged?")
        keys = [frame_key(run, number) for number in range(frames)]
        if arguments.montage:
            _write_montage(arguments, results, keys)
        close_results(setup, results, keys, "frame")


def tracker_settings(arguments: argparse.Namespace) -> TrackerSettings:
    """The tracker's settings by the options."""
    return TrackerSettings(
        detect_every=arguments.detect_every,
        max_faces=arguments.max_faces,
        turns=arguments.turns,
        smoothing=smoothing_of(arguments),
    )


def _target(arguments: argparse.Namespace, video: Video) -> Path:
    """The video to write."""
    name = video.name.replace(" ", "_") if video.is_camera else Path(arguments.video).stem
    target: Path = arguments.output / f"{name}{encoder_here()[0]}"
    return target


def _run_key(setup: Setup, settings: TrackerSettings, video: Video) -> str:
    source = video.name if video.is_camera else [video.name, stamp(Path(setup.arguments.video))]
    return fingerprint(setup.settings, str(settings), source, setup.arguments.format == "pts")


@dataclass
class _Run:
    """One pass over the frames; known: those whose entries an earlier run left."""

    setup: Setup
    video: Video
    tracker: FaceTracker
    results: GrowingResults
    run: str
    known: int

    def frames(self, target: Path | None, window: Window | None) -> int:
        """Follow the faces of all frames, and write what comes; the number of frames."""
        number = 0
        append: Callable[[Image], None] | None = None
        pace = _Pace(self.video)
        with ExitStack() as stack:
            if target is None:
                number = self.video.skip(self.known)
            draw = target is not None or window is not None
            coming = stack.enter_context(closing(overlapped(self.video.frames(), *self._steps(draw))))
            bar = stack.enter_context(
                progress(coming, total=self.video.length, done=number, unit="frames", what="align")
            )
            try:
                for _, future in bar:
                    tracked, drawn = future.result()
                    self._store(tracked)
                    number = tracked.frame.number + 1
                    if target is not None and append is None:
                        size = drawn.shape[1], drawn.shape[0]
                        append = stack.enter_context(video_writer(target, self.video.rate, size))
                    if append is not None:
                        for _ in range(pace.copies(tracked.frame.time)):
                            append(drawn)
                    if window is not None:
                        window.show(drawn)
                        if self.video.is_camera and not window.is_open and not window.shut:
                            break
            except KeyboardInterrupt as stop:
                # Ctrl-C is how a camera's recording ends.
                if not self.video.is_camera or type(stop) is not KeyboardInterrupt:
                    raise
        return number

    def _steps(self, draw: bool) -> tuple[ThreadedStep, ...]:
        """From a Frame to it Tracked, and drawn on if `draw`."""

        def follow(frame: Frame) -> Tracked:
            if frame.number < self.known:
                (record,) = self.results.records([frame_key(self.run, frame.number)])
                return Tracked(frame, record, None, is_new=False)
            found = self.tracker.update(frame.image, frame.time)
            size = frame.image.shape[1], frame.image.shape[0]
            tracks, faces = [one.track for one in found], [one.face for one in found]
            record = frame_record(self.video.name, size, frame.number, frame.time, tracks, faces)
            due = frame.number % STATE_EVERY == STATE_EVERY - 1
            return Tracked(frame, record, self.tracker.state() if due else None, is_new=True)

        def drawn(tracked: Tracked) -> tuple[Tracked, Image]:
            return tracked, drawn_on(tracked.frame.image, tracked.record) if draw else tracked.frame.image

        return (follow, 1), (drawn, cores())

    def _store(self, tracked: Tracked) -> None:
        """Keep the entry of a frame, in order."""
        if not tracked.is_new:
            return
        arguments, frame = self.setup.arguments, tracked.frame
        if arguments.format == "pts":
            name = f"{Path(self.video.name.replace(' ', '_')).stem}_{frame.number:06}.jpg"
            write_pts_beside(output_of(arguments), name, frame.image, faces_of(tracked.record))
        self.results.add(frame_key(self.run, frame.number), tracked.record, tracked.state)


class _Pace:
    """How often a frame is to be written: once, but for a camera's, which do not come at an even rate."""

    def __init__(self, video: Video) -> None:
        self._rate = video.rate if video.is_camera else None
        self._written = 0

    def copies(self, time: float) -> int:
        if self._rate is None:
            return 1
        copies = max(1, round(time * self._rate) - self._written)
        self._written += copies
        return copies


def drawn_on(image: Image, record: Record) -> Image:
    """A frame with the faces of its entry drawn on it."""
    faces = faces_of(record)
    return draw_faces(image, faces, labels_of(record, faces))


def labels_of(record: Record, faces: Sequence[Face]) -> list[str]:
    """The labels of a frame's faces: track and score."""
    return [score_label(face, track) for face, track in zip(faces, tracks_of(record), strict=True)]


def _write_montage(arguments: argparse.Namespace, results: GrowingResults, keys: list[str]) -> None:
    """Write one contact sheet, of frames at even distances."""
    step = -(-len(keys) // MOST)

    def cells() -> Iterator[tuple[Image, str]]:
        with Video(arguments.video) as video:
            for number in range(0, len(keys), step):
                frame = next(video.frames(), None)
                if frame is None:
                    return
                (record,) = results.records([keys[number]])
                faces = faces_of(record)
                yield small_copy(frame.image, faces, labels_of(record, faces)), f"{frame.time:.2f} s"
                video.skip(step - 1)

    write_sheets(arguments.output / MONTAGE_FOLDER, sheets(cells()))
