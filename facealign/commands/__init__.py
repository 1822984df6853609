"""The command line programs, one module per verb of `facealign`: options in, files and printed lines out."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import facealign

MESH = Path(".venv-mesh/bin/python")
"""The interpreter with mediapipe that `make mesh` makes."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that keeps the paragraphs of the description, and names defaults that the text does not."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        plain = action.default in (None, False, argparse.SUPPRESS) or action.default == []
        if text is None or plain or "default" in text or not action.option_strings:
            return text
        return f"{text} (default: %(default)s)"


def program(description: str | None, examples: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a verb, whose help ends in examples: command lines without the word `facealign`."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="\n".join(["examples:", *(f"  facealign {line}" for line in examples)]),
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"facealign {facealign.__version__}")
    return parser


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options, shared by align and evaluate, of how landmarks are predicted."""
    from facealign.engines.opening import KINDS  # here, as most verbs run no network

    parser.add_argument(
        "--engine",
        choices=KINDS,
        default="auto",
        help="auto (default): pycaffe when it is installed, else ONNX in OpenCV",
    )
    parser.add_argument(
        "--cascade",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="refine the landmarks with a second network on an aligned crop (default FILE: the released one)",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average with the prediction on the mirrored crop: two runs of each network for a face",
    )
    parser.add_argument(
        "--published", action="store_true", help="crop as the reference demo does, for its author's weights"
    )
