"""Measure ours and the peers side by side, all at one level of the instruction set.

Says which targets are met. Without --only, everything: the figures go to
benchmarks/results/PROCESSOR_LEVEL.csv and into docs/benchmarks.md, unless there are changes that are not
committed.
"""

import argparse
import importlib
import os
import sys
import time
from dataclasses import replace

from benchmarks import instruction_levels, peers, publishing, targets
from benchmarks.comparisons import COMPARISONS, comparisons_table, results_table
from benchmarks.hardware import cpuinfo, describe, machine, vendor
from benchmarks.measure import PYTHONS, ROOT, ROUNDS, Measurement
from facealign.console import run
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError

PARTS = ("training", "inference", "detection", "lmdb_writing", "lmdb_reading")
BUSY = 0.5
"""Mean number of others' processes at work, above which the figures are less sure."""
UNFORCED = "onnxruntime"
"""The peer that cannot be held to a level."""


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these alone; prints, writes nothing")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--level", help="baseline, v3 or v4; default: the best that the processor has")
    arguments = parser.parse_args(command)
    if arguments.rounds < 2:
        parser.error("--rounds: expected 2 or more, for there to be a spread")
    return arguments


def main() -> None:
    arguments = arguments_of()
    available = import_caffe().available_isas()
    level = instruction_levels.choose(arguments.level, available)
    load = os.getloadavg()[0]  # before this program makes its own
    if load > BUSY:
        print(f"the machine is busy (load {load:.1f}): expect wide quartiles", file=sys.stderr)
    commit = None if arguments.only else publishing.commit_or_warning()
    for environment in peers.ENVIRONMENTS:
        for problem in peers.set_up(environment):
            print(f"peer {problem}", file=sys.stderr)
    os.environ |= instruction_levels.environment(level, vendor(cpuinfo()))  # all that is measured inherits it
    said = instruction_levels.in_use(PYTHONS)
    instruction_levels.check(level, said)
    kernels = ", ".join(f"{library} {runs}" for library, runs in said.items())
    print(f"level {level}: {kernels}", file=sys.stderr)
    measurements, failed = measure(arguments.only or PARTS, arguments.rounds)
    if level != available[-1]:
        measurements = [
            replace(one, note=instruction_levels.UNFORCED) if one.name == UNFORCED and one.rounds else one
            for one in measurements
        ]
    report(level, measurements, everything=not arguments.only)
    if failed:
        raise FaceAlignError(f"{', '.join(failed)}: not measured, so nothing was written; see above")
    if commit is not None and publishing.commit_or_warning() == commit:
        head = describe() | {
            "commit": commit,
            "level": level,
            "kernels": kernels,
            "load before": f"{load:.1f}",
        }
        path = publishing.write(measurements, head, f"{machine().slug}_{level}")
        print(f"written: {path.relative_to(ROOT)}, {publishing.DOCS.relative_to(ROOT)}", file=sys.stderr)


def measure(parts: list[str] | tuple[str, ...], rounds: int) -> tuple[list[Measurement], list[str]]:
    """Measure the parts in turn; what came of them, and the names of those that failed."""
    measurements: list[Measurement] = []
    failed = []
    for part in parts:
        begun = time.monotonic()
        print(f"{part} ...", end="", flush=True, file=sys.stderr)
        try:
            measurements += importlib.import_module(f"benchmarks.{part}").run(rounds=rounds)
            print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr)
        except FaceAlignError as error:
            failed.append(part)
            print(f" failed: {error}", file=sys.stderr)
    return measurements, failed


def report(level: str, measurements: list[Measurement], everything: bool) -> None:
    """Print the tables; everything: those comparisons too whose task was not measured."""
    for one in measurements:
        if not one.rounds:
            print(f"not measured: {one.name}, {one.task}: {one.note}", file=sys.stderr)
    tasks = {one.task for one in measurements}
    compared = [one for one in COMPARISONS if everything or one.task in tasks]
    print(results_table(measurements))
    print(comparisons_table(measurements, compared))
    print(targets.verdicts(level, measurements, [t for t in targets.TARGETS if t.comparison in compared]))


if __name__ == "__main__":
    run(main)
