"""What `facealign align` on images and on a video have in common."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import facealign
from facealign.commands.messages import number_of, problem, result, write_json
from facealign.detection.mtcnn import MtcnnSettings
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.model_zoo import default_weights, second_of
from facealign.io.reading import read_bytes
from facealign.results.formats import PTS_FOLDER, WRITERS
from facealign.results.growing_results import GrowingResults, fingerprint, is_closed
from facealign.results.record import Record
from facealign.video.one_euro import OneEuroSettings
from facealign.video.window import Window


@dataclass(frozen=True)
class Setup:
    """What images and videos are aligned with. settings: all that results depend on, as JSON holds it."""

    arguments: argparse.Namespace
    aligner: FaceAligner
    settings: dict[str, Any]


def smoothing_of(arguments: argparse.Namespace) -> OneEuroSettings | None:
    """The filter's settings; None without smoothing. Raises ValueError when one is out of range."""
    settings = OneEuroSettings(**{one.name: getattr(arguments, one.name) for one in fields(OneEuroSettings)})
    return None if arguments.no_smoothing else settings


def detector_settings(arguments: argparse.Namespace) -> MtcnnSettings:
    """The detector's settings. Raises ValueError when one is out of range."""
    settings = MtcnnSettings()
    if arguments.min_face is not None:
        settings = replace(settings, min_face=arguments.min_face)
    if arguments.min_score is not None:
        if not 0 <= arguments.min_score <= 1:
            raise ValueError(f"min_score is {arguments.min_score}, expected a number from 0 to 1")
        settings = replace(settings, thresholds=(*settings.thresholds[:2], arguments.min_score))
    return settings


def opened(arguments: argparse.Namespace) -> Setup:
    """Open the networks. Raises FaceAlignError when that fails."""
    weights = arguments.weights or default_weights(arguments.engine)
    second = second_of(arguments.cascade, arguments.engine)
    mtcnn = detector_settings(arguments)
    aligner = FaceAligner.open(
        weights,
        arguments.engine,
        detector=arguments.boxes is None,
        published=arguments.published,
        mtcnn=mtcnn,
        flip=arguments.flip,
        cascade=second,
    )
    if aligner.cascade_mismatch:
        problem("warning", f"{second}: {aligner.cascade_mismatch}")
    settings = {
        "version": facealign.__version__,
        "weights": [_checksum(path) for path in (weights, second) if path is not None],
        "engines": [
            type(engine).__name__
            for engine in (aligner.engine, aligner.detector.onet if aligner.detector else None)
        ],
        "mtcnn": str(mtcnn),
        **{name: getattr(arguments, name) for name in ("published", "flip", "turns", "max_faces")},
    }
    return Setup(arguments, aligner, settings)


def _checksum(weights: Path) -> str:
    return fingerprint(read_bytes(weights, "expected weights").hex())


def close_results(
    setup: Setup, results: GrowingResults, keys: Sequence[str], noun: str, skipped: int = 0
) -> None:
    """Write the results of these keys, in this order, in their format; say what was found.

    noun: what each is of, "image" or "frame".
    """
    counts = {"faces": 0, "doubtful": 0}

    def counted(record: Record) -> Record:
        counts["faces"] += len(record["faces"])
        counts["doubtful"] += sum(face["doubtful"] for face in record["faces"])
        return record

    results.close()
    kind = setup.arguments.format
    path = output_of(setup.arguments)
    records = map(counted, results.records(keys))
    if kind == "pts":
        for _ in records:  # they were written with each image
            pass
    else:
        WRITERS[kind](path, records)
    if path != results_of(setup.arguments):
        results.remove()
    doubtful = f" ({counts['doubtful']} of them doubtful)" if counts["doubtful"] else ""
    if counts["faces"] == counts["doubtful"] == 1:
        doubtful = " (doubtful)"
    not_used = f", {skipped} skipped" if skipped else ""
    result(f"{path}: {number_of(len(keys), noun)}, {number_of(counts['faces'], 'face')}{doubtful}{not_used}")
    write_json({"output": str(path), f"{noun}s": len(keys), **counts, "skipped": skipped})


def results_of(arguments: argparse.Namespace) -> Path:
    """The file that grows while the program runs: not in the place of results that an earlier run closed."""
    path: Path = arguments.output / "landmarks.jsonl"
    return path.with_suffix(".growing.jsonl") if arguments.format != "jsonl" and is_closed(path) else path


def output_of(arguments: argparse.Namespace) -> Path:
    """The file of results, or the folder of .pts files."""
    name = PTS_FOLDER if arguments.format == "pts" else f"landmarks.{arguments.format}"
    path: Path = arguments.output / name
    return path


def result_files(arguments: argparse.Namespace) -> list[Path]:
    """The file that grows, and that of the results if it is another one."""
    growing, closed = results_of(arguments), output_of(arguments)
    return [growing] if arguments.format == "pts" or closed == growing else [growing, closed]


def opened_window() -> Window:
    """A window, closed where there is no display, which is said."""
    try:
        return Window()
    except FaceAlignError as error:
        problem("warning", f"--show: {error}")
        return Window(shut=True)
