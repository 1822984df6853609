"""Compare evaluations with each other and with the reported figures, as Markdown and as a CED plot."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from facealign.commands import program
from facealign.evaluation.ced_plot import plot_ced
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results
from facealign.io.atomic import write_together
from facealign.io.outputs import check_outputs

EXAMPLES = (
    "report out/stage2.json out/stage3.json",
    "report out/stage2.json out/stage3.json --output out/report.md --plot out/report.png",
)
"""Command lines that its help shows."""


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = program(__doc__, EXAMPLES)
    parser.add_argument(
        "evaluations", type=Path, nargs="+", metavar="JSON", help="written by facealign evaluate"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file for the Markdown (default: standard output)"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="file for the CED curves")
    return parser.parse_args(command)


def main() -> None:
    arguments = arguments_of()

    check_outputs([path for path in (arguments.output, arguments.plot) if path is not None])
    evaluations = [read_results(path) for path in arguments.evaluations]
    text = markdown(evaluations)
    writers: dict[Path, Callable[[Path], object]] = {}
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        writers[arguments.output] = lambda partial: partial.write_text(text, encoding="utf-8")
    if arguments.plot is not None:
        writers[arguments.plot] = lambda partial: plot_ced(partial, evaluations)
    write_together(writers)
