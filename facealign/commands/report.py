"""Compare evaluations with each other and with the reported figures: as Markdown, CED plot or HTML page.

The page (--html) is one file that needs no network: figures, error curves, error by landmark, by pose, box
and size, and the worst faces and some at random, with their photos when --data names the folder evaluated;
also the curves of training runs (--log).
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facealign.commands import program
from facealign.commands.messages import figures, json_files, note, number_of, problem, result, write_json
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.errors import FaceAlignError
from facealign.evaluation.ced_plot import plot_ced
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results
from facealign.io.atomic import write_together
from facealign.io.images import read_image
from facealign.io.outputs import check_outputs
from facealign.report.faces import NUMBER, SAME, SEED, ShownFace, crop, shown_faces
from facealign.report.page import page
from facealign.training.log import LOG, LogRow, read_log

EXAMPLES = (
    "report out/stage2.json out/stage3.json",
    "report out/stage2.json out/stage3.json --output out/report.md --plot out/report.png",
    "report out/stage3.json --html out/report.html --data data/300w --log runs/mobilenet_v2_stage3",
)
"""Command lines that its help shows."""
PER_FACE = ("errors", "members", "faces", "skipped")
"""Parts of an evaluation that --json leaves out: they have a line for each face."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the figures of each evaluation")
    source = parser.add_argument_group("input")
    source.add_argument(
        "evaluations", type=Path, nargs="*", metavar="JSON", help="written by facealign evaluate"
    )
    source.add_argument(
        "--data",
        type=Path,
        metavar="ROOT",
        help="the folder evaluated: small crops of its photos enter the page",
    )
    source.add_argument(
        "--log",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help=f"a training run's folder, or its {LOG}, for the page; may be given again",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file for the Markdown (default: standard output, or none with --html)",
    )
    output.add_argument("--plot", type=Path, metavar="PNG", help="file for the CED curves")
    output.add_argument("--html", type=Path, metavar="FILE", help="file for the page")
    faces = parser.add_argument_group("faces")
    faces.add_argument(
        "--faces",
        type=int,
        default=NUMBER,
        metavar="N",
        help="the page's number of worst faces, and of random ones",
    )
    faces.add_argument("--seed", type=int, default=SEED, metavar="N", help="of the random faces")
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if not arguments.evaluations and not arguments.log:
        parser.error("expected an evaluation (JSON) or, for a page of training alone, --log")
    if not arguments.evaluations and (arguments.output or arguments.plot or arguments.data):
        parser.error("--output, --plot, --data: need an evaluation (JSON)")
    if arguments.html is None and (arguments.data or arguments.log):
        parser.error("--data, --log: only for the page (--html)")
    if arguments.faces < 0 or arguments.seed < 0:
        parser.error("--faces, --seed: expected 0 or more")
    return arguments


def main() -> None:
    arguments = arguments_of()
    outputs = (arguments.output, arguments.plot, arguments.html)
    read = [*arguments.evaluations, *map(log_file, arguments.log)]
    check_outputs(
        [path for path in outputs if path is not None] + json_files(),
        inputs=[*read, *(path for path in [arguments.data] if path is not None)],
    )
    evaluations = [read_results(path) for path in arguments.evaluations]
    logs = read_logs(arguments.log)
    writers: dict[Path, Callable[[Path], object]] = {}
    if arguments.output is not None:
        text = markdown(evaluations)
        writers[arguments.output] = lambda partial: partial.write_text(text, encoding="utf-8")
    elif arguments.html is None:
        figures(markdown(evaluations))
    if arguments.plot is not None:
        writers[arguments.plot] = lambda partial: plot_ced(partial, evaluations)
    if arguments.html is not None:
        faces = shown_faces(evaluations, arguments.faces, arguments.seed)
        photos = {} if arguments.data is None else photos_of(faces, arguments.data)
        html = page(evaluations, faces, photos, logs, arguments.seed)
        # A file's name need not be text.
        writers[arguments.html] = lambda partial: partial.write_text(
            html, encoding="utf-8", errors="backslashreplace"
        )
    write_together(writers)
    # Not among the Markdown on standard output, which may be piped into a file.
    say = result if arguments.output or arguments.html else note
    for path in writers:
        say(f"{path}: {path.stat().st_size} bytes")
    write_json(
        {
            "evaluations": [
                {key: value for key, value in one.items() if key not in PER_FACE} for one in evaluations
            ]
        }
    )


def log_file(path: Path) -> Path:
    """The log of a run that is named by it or by its folder."""
    return path / LOG if path.is_dir() else path


def read_logs(paths: Sequence[Path]) -> dict[str, list[LogRow]]:
    """Name of each run, which is its folder's, -> the rows of its log.

    Raises FaceAlignError when a log is missing, has no rows, or is none.
    """
    logs = {}
    for path in paths:
        file = log_file(path)
        if not file.exists():
            raise FaceAlignError(f"{file}: no such file; expected the log of a training run")
        rows = read_log(file)
        if not rows:
            raise FaceAlignError(f"{file}: has no row yet; the run writes one after its first iterations")
        name = file.absolute().parent.name if file.name == LOG else file.stem
        logs[str(file) if name in logs else name] = rows
    return logs


def photos_of(faces: Sequence[ShownFace], root: Path) -> dict[str, bytes]:
    """JPEG crops of faces whose photos are below `root`, by their path; what has none is counted and said."""
    samples = {sample.relative: sample for sample in faces_in(root).samples}
    drawn = [face for face in faces if face.frame is not None]
    photos: dict[str, bytes] = {}
    without = []
    for face in drawn:
        sample = samples.get(face.path)
        try:
            photos[face.path] = photo_of(face, sample)
        except FaceAlignError as error:
            without.append(str(error))
    if drawn and not photos:
        raise FaceAlignError(f"{root}: has none of the evaluations' photos ({without[0]})")
    if without:
        problem(
            "without a picture", f"{len(without)} of {number_of(len(drawn), 'face')}, the first: {without[0]}"
        )
    return photos


def photo_of(face: ShownFace, sample: Sample | None) -> bytes:
    """The crop of a face. Raises FaceAlignError when its photo is missing, unreadable, or another one."""
    if sample is None:
        raise FaceAlignError(f"{face.path}: no such photo with its annotation")
    truth: Any = face.truth
    if not np.allclose(sample.points, truth, atol=SAME, rtol=0):
        raise FaceAlignError(f"{sample.path}: its annotation is not the one of the evaluation")
    assert face.frame is not None
    return crop(read_image(sample.path, orient=False), face.frame)
