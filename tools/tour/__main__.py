"""Go the whole way with a few photos that packages bring: from photos to a trained network and its report.

Each step says what it does, the command it runs, and what to look at. Stopped, the same command goes on.
"""

import argparse
import shlex
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from facealign.console import run
from facealign.errors import FaceAlignError
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs
from facealign.training.snapshots import snapshots
from tools.tour.steps import ITERATIONS, Step, steps
from tools.tour.walk import run_command

WIDTH = 100


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.tour", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/tour"), metavar="DIR")
    parser.add_argument(
        "--iterations",
        type=int,
        default=ITERATIONS,
        metavar="N",
        help=f"of the training (default: {ITERATIONS})",
    )
    parser.add_argument("--list", action="store_true", help="print the commands, and run none")
    arguments = parser.parse_args(command)
    if arguments.iterations < 2:
        parser.error("--iterations: expected 2 or more")
    return arguments


def main() -> None:
    arguments = arguments_of()
    programs = Path(sys.executable).parent
    if programs.is_relative_to(Path.cwd()):
        programs = programs.relative_to(Path.cwd())
    whole = steps(arguments.output, str(programs), arguments.iterations)
    if arguments.list:
        for step in whole:
            print("\n".join([f"# {step.title}", *map(shlex.join, step.commands)]))
        return
    check_outputs(folders=[arguments.output])
    with exclusive(arguments.output, "a tour"):
        check_iterations(arguments.output, arguments.iterations)
        taken = [take(step, number, len(whole)) for number, step in enumerate(whole, start=1)]
    print(f"\nThe tour took {sum(taken):.0f} s. docs/tutorial.md goes the same way by hand.")


def check_iterations(output: Path, iterations: int) -> None:
    """Raises FaceAlignError when the training of an earlier tour has more iterations than are asked for."""
    done = max((one.iteration for one in snapshots(output / "run", "stage3")), default=0)
    if done > iterations:
        raise FaceAlignError(
            f"{output}: its training has {done} iterations, more than the {iterations} asked for; "
            f"{shlex.join(['rm', '-r', str(output)])} starts the tour again"
        )


def take(step: Step, number: int, total: int) -> float:
    """Take a step, saying what it does and what to look at; the seconds that its commands took."""
    print(f"\n=== {number} of {total}: {step.title} ===\n")
    say(step.what)
    began = time.monotonic()
    for command in step.commands:
        print(f"\n$ {shlex.join(command)}", flush=True)
        follow(command, step.stop_at)
    seconds = time.monotonic() - began
    print()
    say(f"Look at: {step.look}")
    print(f"({seconds:.0f} s)", flush=True)
    return seconds


def follow(command: Sequence[str], stop_at: Path | None) -> None:
    """Run a command, and say when it is stopped on purpose, or came as far before."""
    if stop_at is None:
        run_command(command)
    elif stop_at.exists():
        print(f"(not again: {stop_at} is there from before)", flush=True)
    elif run_command(command, stop_at.exists):
        print("(Ctrl-C was pressed by the tour)", flush=True)
    else:
        print("(it ended before Ctrl-C was pressed)", flush=True)


def say(text: str) -> None:
    print(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False), flush=True)


if __name__ == "__main__":
    run(main)
