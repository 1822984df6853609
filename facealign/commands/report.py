"""Compare evaluations with each other and with the reported figures, as Markdown and as a CED plot."""

import argparse
import sys
from pathlib import Path

from facealign.evaluation.ced_plot import plot_ced
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results
from facealign.io.atomic import replacing


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

    evaluations = [read_results(path) for path in arguments.evaluations]
    text = markdown(evaluations)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        with replacing(arguments.output) as partial:
            partial.write_text(text, encoding="utf-8")
    if arguments.plot is not None:
        plot_ced(arguments.plot, evaluations)
