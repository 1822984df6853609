"""Reproduce all released weights from the photos: boxes, LMDBs, every stage, VGG-Shadow, cards and figures.

Prints at the start how long that will take on this machine. After an interruption the same command resumes.
It runs a copy of the code, made in the folder of the results at its first start, which later changes to the
code do not reach.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from facealign.commands import MESH, add_data, program
from facealign.commands.messages import (
    json_files,
    number_of,
    problem,
    quietly,
    result,
    resumable,
    stream_of_results,
    write_json,
)
from facealign.concurrency.processes import ENDING
from facealign.datasets.scan import faces_in
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results
from facealign.io.atomic import replacing
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs, check_own
from facealign.io.package_data import PACKAGE
from facealign.release.code_copy import changed_since, copy_code
from facealign.release.machine_speed import ITERATION_SECONDS, iteration_seconds
from facealign.release.progress import Progress, minutes_left
from facealign.release.reproduction_plan import PlannedStep, plan

EXAMPLES = (
    "reproduce --data data",
    "reproduce --data data --scale 0.001 --work out/trial",
)
"""Command lines that its help shows."""

RUN = ("-P", "-m", "facealign")
"""Arguments of Python that run this program, and not one in the working directory."""
REPORT, DONE, CODE = "report.md", "done.json", "code"
"""Names in the folder of the results: their report, the steps that are done, the copy of the code."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="which steps are done, also when one fails,")
    add_data(parser.add_argument_group("input"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--work",
        type=Path,
        default=Path("out/reproduced"),
        metavar="DIR",
        help="folder for all results: LMDBs of some GB, runs, models",
    )
    output.add_argument(
        "--update",
        action="store_true",
        help="take the code as it is now, instead of the copy of the first start",
    )
    parser.add_argument_group("training").add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FRACTION",
        help="of the iterations, such as 0.01 for a trial",
    )
    parser.add_argument_group("network").add_argument(
        "--mesh",
        type=Path,
        default=MESH,
        metavar="PYTHON",
        help="an interpreter that has mediapipe, of `make mesh`; without it no faces are turned, and the "
        "teacher is the cascade alone",
    )
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if not 0 < arguments.scale <= 1:
        parser.error("--scale: expected more than 0, and 1 or less")
    return arguments


def main() -> None:
    arguments = arguments_of()
    files = [arguments.work / REPORT, arguments.work / DONE, *json_files()]
    check_outputs(files, [arguments.work], [arguments.data])
    check_own(arguments.work, [DONE, CODE], "--work")
    found = faces_in(arguments.data)
    in_a_copy_of_the_code(arguments.work / CODE, arguments.update)
    mesh = arguments.mesh.absolute() if arguments.mesh.exists() else None
    if mesh is None:
        problem(
            "warning",
            f"{arguments.mesh}: not there (`make mesh` makes it): no faces are turned, the teacher is the "
            "cascade alone",
        )
    steps = plan(arguments.data, arguments.work, found.samples, arguments.scale, mesh)
    single_threaded_blas()
    with resumable(arguments.work), exclusive(arguments.work, "a reproduction"):
        progress = Progress(arguments.work / DONE, steps)
        try:
            reproduce(steps, progress, arguments.work)
        finally:
            states = [{"name": step.name, "done": progress.has(step)} for step in steps]
            write_json({"work": str(arguments.work), "steps": states})


def reproduce(steps: Sequence[PlannedStep], progress: Progress, work: Path) -> None:
    """Run the steps that are not done, saying how long each will take, and write the report."""
    speed = ITERATION_SECONDS / iteration_seconds(work)
    ahead = [step for step in steps if not progress.has(step)]
    expected = sum(minutes_left(step, speed) for step in ahead)
    result(f"{len(ahead)} of {len(steps)} steps to do, in about {spoken(expected)} on this machine")
    for number, step in enumerate(steps, 1):
        if progress.has(step):
            continue
        result(f"[{number}/{len(steps)}] {step.name}: about {spoken(minutes_left(step, speed))}")
        progress.begin(step)
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, *RUN, *step.command, *quietly()],
            env=environment(PACKAGE.parent),
            stdout=subprocess.DEVNULL if quietly() else stream_of_results(),
            check=False,
        )
        if done.returncode != 0:
            raise FaceAlignError(
                f"{step.name}: failed, see above (facealign {' '.join(step.command)}); the same command "
                "resumes here"
            )
        progress.add(step)
        result(f"[{number}/{len(steps)}] {step.name}: took {spoken((time.monotonic() - begun) / 60)}")
    evaluations = [read_results(step.result) for step in steps if step.command[0] == "evaluate"]
    report = work / REPORT
    with replacing(report) as partial:
        partial.write_text(markdown(evaluations), encoding="utf-8")
    result(f"{report}: the figures of all; {work / 'models'}: the weights")


def in_a_copy_of_the_code(folder: Path, update: bool) -> None:
    """Go on in the copy of the code in `folder`, made if need be; returns only to who runs in it."""
    if folder.resolve() == PACKAGE.parent:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        return
    if update or not folder.exists():
        copy_code(folder)
    elif changed := changed_since(folder):
        problem(
            "warning",
            f"{folder}: goes on with the code of its first start; {number_of(len(changed), 'file')} changed "
            f"since ({changed[0]}...): --update takes what changed",
        )
    command = [sys.executable, *RUN, "reproduce", *sys.argv[1:]]
    # One that came now would be forgotten by the new program, which takes it when it is ready.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    os.execve(sys.executable, command, environment(folder.resolve()))


def environment(code: Path) -> dict[str, str]:
    """Environment of a process that imports `facealign` from the folder `code`."""
    return {**os.environ, "PYTHONPATH": str(code)}


def spoken(minutes: float) -> str:
    """A duration in words: "40 s", "12 min", "3.5 h"."""
    if minutes < 1.5:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
