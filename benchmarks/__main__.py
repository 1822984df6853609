"""Measure ours and the peers side by side, and say which targets are reached.

Without --only, everything: the figures go to benchmarks/results/HARDWARE.csv and into docs/benchmarks.md.
"""

import argparse
import importlib
import os
import sys
import time

from benchmarks import peers, results, targets
from benchmarks.hardware import describe, machine
from benchmarks.measure import ROOT, ROUNDS, Measurement
from facealign.errors import FaceAlignError
from facealign.files import replacing
from tools.cli import run

PARTS = ("training", "inference", "detection", "lmdb_writing", "lmdb_reading")
BUSY = 0.5
"""Mean number of others' processes at work, above which the figures are less sure."""
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of the figures -->"


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these alone; prints, writes nothing")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    arguments = parser.parse_args(command)
    if arguments.rounds < 2:
        parser.error("--rounds: expected 2 or more, for there to be a spread")
    return arguments


def main() -> None:
    arguments = arguments_of()
    load = os.getloadavg()[0]  # before this program makes its own
    if load > BUSY:
        print(f"the machine is busy (load {load:.1f}): expect wide quartiles", file=sys.stderr)
    for problem in peers.set_up():
        print(f"peer {problem}", file=sys.stderr)
    measurements: list[Measurement] = []
    failed = []
    for part in arguments.only or PARTS:
        begun = time.monotonic()
        print(f"{part} ...", end="", flush=True, file=sys.stderr)
        try:
            measurements += importlib.import_module(f"benchmarks.{part}").run(rounds=arguments.rounds)
            print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr)
        except FaceAlignError as error:
            failed.append(part)
            print(f" failed: {error}", file=sys.stderr)
    for one in measurements:
        if not one.rounds:
            print(f"not measured: {one.name}, {one.task}: {one.note}", file=sys.stderr)
    print(targets.results_table(measurements))
    tasks = {one.task for one in measurements}
    wanted = [one for one in targets.TARGETS if not arguments.only or one.task in tasks]
    print(targets.targets_table(measurements, wanted))
    if failed:
        raise FaceAlignError(f"{', '.join(failed)}: not measured, so nothing was written; see above")
    if not arguments.only:
        head = describe() | {"load before": f"{load:.1f}"}
        path = ROOT / "benchmarks" / "results" / f"{machine().slug}.csv"
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(results.to_csv(measurements, head), encoding="utf-8")
        text = insert(DOCS.read_text(encoding="utf-8"), figures(measurements, head, path.name))
        with replacing(DOCS) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}, {DOCS.relative_to(ROOT)}", file=sys.stderr)


def figures(measurements: list[Measurement], head: dict[str, str], file: str) -> str:
    """The generated part of the docs: machine, targets, all figures."""
    lines = [f"| {name} | {value} |" for name, value in head.items()]
    return "\n".join(
        [
            f"From [`{file}`](../benchmarks/results/{file}), which has every round.",
            "",
            "| Measured on | |",
            "|---|---|",
            *lines,
            "",
            targets.targets_table(measurements),
            targets.results_table(measurements),
        ]
    )


def insert(text: str, generated: str) -> str:
    """`text` with what is between the markers replaced. Raises FaceAlignError unless each is there once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise FaceAlignError(f"{DOCS.relative_to(ROOT)}: lacks the lines {BEGIN!r} and {END!r}; restore them")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{generated.rstrip()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    run(main)
