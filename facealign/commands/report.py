"""Compare evaluations with each other and with the reported figures, as Markdown and as a CED plot."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from facealign.evaluation.ced_plot import plot_ced
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results
from facealign.io.atomic import write_together
from facealign.io.outputs import check_outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "evaluations", type=Path, nargs="+", metavar="JSON", help="written by facealign evaluate"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file for the Markdown (default: standard output)"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="file for the CED curves")
    arguments = parser.parse_args()

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
