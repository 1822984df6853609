"""Reproduce all released weights from the photos: boxes, LMDBs, every stage, VGG-Shadow, cards and figures.

Prints at the start how long that will take on this machine. After an interruption the same command resumes.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from facealign.datasets.scan import faces_in
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results
from facealign.io.atomic import replacing
from facealign.io.outputs import check_outputs
from facealign.io.package_data import PACKAGE
from facealign.release.machine_speed import ITERATION_SECONDS, iteration_seconds
from facealign.release.progress import Progress, minutes_left
from facealign.release.reproduction_plan import plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="300w/, menpo/, any folder")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("out/reproduced"),
        metavar="DIR",
        help="folder for all results: LMDBs of some GB, runs, models (default: out/reproduced)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FRACTION",
        help="of the iterations, such as 0.01 for a trial",
    )
    arguments = parser.parse_args()
    if not 0 < arguments.scale <= 1:
        parser.error("--scale: expected more than 0, and 1 or less")
    report = arguments.work / "report.md"
    check_outputs([report, arguments.work / "done.json"], [arguments.work])
    found = faces_in(arguments.data)
    steps = plan(arguments.data, arguments.work, found.samples, arguments.scale)
    progress = Progress(arguments.work / "done.json", steps)
    single_threaded_blas()
    speed = ITERATION_SECONDS / iteration_seconds(arguments.work)
    ahead = [step for step in steps if not progress.has(step)]
    expected = sum(minutes_left(step, speed) for step in ahead)
    print(
        f"{len(ahead)} of {len(steps)} steps to do, in about {spoken(expected)} on this machine", flush=True
    )
    for number, step in enumerate(steps, 1):
        if progress.has(step):
            continue
        print(f"[{number}/{len(steps)}] {step.name}: about {spoken(minutes_left(step, speed))}", flush=True)
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "facealign", *step.command],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},  # for a checkout that is not installed
            check=False,
        )
        if done.returncode != 0:
            raise FaceAlignError(
                f"{step.name}: failed, see above (facealign {' '.join(step.command)}); the same command "
                "resumes here"
            )
        progress.add(step)
        print(f"[{number}/{len(steps)}] {step.name}: took {spoken((time.monotonic() - begun) / 60)}")
    evaluations = [read_results(step.result) for step in steps if step.command[0] == "evaluate"]
    with replacing(report) as partial:
        partial.write_text(markdown(evaluations), encoding="utf-8")
    print(f"{report}: the figures of all; {arguments.work / 'models'}: the weights")


def spoken(minutes: float) -> str:
    """A duration in words: "40 s", "12 min", "3.5 h"."""
    if minutes < 1.5:
        return f"{60 * minutes:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
