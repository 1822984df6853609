"""The command line programs, one module per verb of `facealign`: options in, files and printed lines out."""

import argparse
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import facealign

if TYPE_CHECKING:
    from facealign.concurrency.cluster import Scheduler

MESH = Path(".venv-mesh/bin/python")
"""The interpreter with mediapipe that `make mesh` makes."""
WIDTH = 80
"""Columns of the examples in helps."""


class _Help(argparse.HelpFormatter):
    """Help that keeps the paragraphs of the description, and names defaults that the text does not.

    Paragraphs with an indented line, such as examples, are kept as they are; no line is broken at a hyphen.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            one if re.search("^ ", one, re.MULTILINE) else "\n".join(self._split_lines(one, width))
            for one in paragraphs
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Show in the usage what must be given, and `[options]` for all else."""
        kept = [group for group in groups if group.required]
        needed = [action for group in kept for action in group._group_actions]
        shown = [
            action for action in actions if action.required or not action.option_strings or action in needed
        ]
        others = argparse.Action(["options"], "", nargs=0)
        super().add_usage(usage, [*shown, others], kept, prefix)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, value = action.help, action.default
        plain = value is None or value is False or value in (argparse.SUPPRESS, [])
        if text is None or plain or "default" in text or not action.option_strings:
            return text
        values = value if isinstance(value, list | tuple) else [value]
        shown = " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values)
        return f"{text} (default: {shown.replace('%', '%%')})"


class Program(argparse.ArgumentParser):
    """A parser whose --quiet and --json have effect when it has parsed, and that checks --workers."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        from facealign.commands.messages import choose_manner  # here, as tqdm takes longer than the rest

        parsed, others = super().parse_known_args(args, namespace)
        if getattr(parsed, "workers", 1) < 1:
            self.error("--workers: expected 1 or more")
        choose_manner(parsed.quiet, getattr(parsed, "json", None))
        return parsed, others

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's, an error of the stream is raised."""
        print(self.format_help(), file=file, end="")


def _broken(example: str) -> str:
    r"""An example over as many lines of at most WIDTH as it takes, broken before options and `>`.

    >>> print(_broken("  facealign align photos --output " + 60 * "x"))
      facealign align photos \
          --output xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
    """
    if len(example) <= WIDTH:
        return example
    first, *options = re.split(r" (?=--|> )", example)
    lines = [first]
    for option in options:
        if len(f"{lines[-1]} {option} \\") <= WIDTH:
            lines[-1] += f" {option}"
        else:
            lines.append(f"      {option}")
    return " \\\n".join(lines)


def program(description: str | None, examples: Sequence[str], json: str = "") -> argparse.ArgumentParser:
    """The parser of a verb, with the options that all have.

    examples: command lines without the word `facealign`, in which its help ends; json: what --json writes;
    empty: there is no such option.
    """
    parser = Program(
        description=description,
        epilog="\n".join(["examples:", *(_broken(f"  facealign {line}") for line in examples)]),
        formatter_class=_Help,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"facealign {facealign.__version__}",
        help="show the version and exit",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="no progress and no notes: only figures asked for, what had to be skipped, and errors",
    )
    if json:
        parser.add_argument(
            "--json",
            type=Path,
            metavar="FILE",
            help=f"write {json} as JSON; -: to standard output, all else to standard error",
        )
    return parser


def name_options(error: ValueError, options: Mapping[str, str] = MappingProxyType({})) -> str:
    """The message of an error that begins with a setting's name, beginning with its option instead.

    >>> name_options(ValueError("scale_range is 2 to 1, expected ..."), {"scale_range": "scale"})
    '--scale is 2 to 1, expected ...'
    """
    name, _, rest = str(error).partition(" ")
    return f"--{options.get(name, name.replace('_', '-'))} {rest}"


def add_data(group: Any, several: bool = False) -> None:
    """Add --data: folders of annotated photos."""
    group.add_argument(
        "--data",
        type=place if several else Path,
        nargs="+" if several else None,
        required=True,
        metavar="ROOT",
        help="folders of images with .pts files beside them, such as 300w/ or the folder that holds it"
        + ("; or s3://bucket/folder" if several else ""),
    )


def add_strict(group: Any, what: str = "file") -> None:
    """Add --strict."""
    group.add_argument(
        "--strict",
        action="store_true",
        help=f"stop at the first {what} that cannot be used, instead of skipping it",
    )


def add_workers(parser: argparse.ArgumentParser, scheduler: bool = False) -> None:
    """Add --workers, in a group of its own, and perhaps --scheduler."""
    from facealign.concurrency.processes import cores  # here, as it imports OpenCV

    group = parser.add_argument_group("speed")
    group.add_argument(
        "--workers", type=int, default=cores(), metavar="N", help="processes (default: one per core)"
    )
    if scheduler:
        add_scheduler(group)


def add_scheduler(group: Any) -> None:
    """Add --scheduler."""
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of a Dask scheduler, such as tcp://host:8786, whose workers read photos and run networks "
        "instead (docs/scale.md)",
    )


def scheduler_of(arguments: argparse.Namespace, inputs: Iterable[Path | None]) -> "Scheduler | None":
    """The scheduler that was given; inputs: files and folders that its workers need, those of a store too."""
    from facealign.concurrency.cluster import Scheduler
    from facealign.io.addresses import is_remote

    if arguments.scheduler is None:
        return None
    return Scheduler(arguments.scheduler, tuple(path for path in inputs if path and not is_remote(path)))


def place(text: str) -> Path:
    """The value of an option that takes a path or an address in a store."""
    from facealign.io.addresses import address  # here, for a quick start

    return address(text)


def network_files(arguments: argparse.Namespace) -> list[Path]:
    """The files of the networks that the options of `add_network_options` name, for `check_outputs`.

    Raises FaceAlignError when a released one is meant and is not there.
    """
    from facealign.engines.opening import files_of  # here, as most verbs run no network
    from facealign.inference.model_zoo import default_weights, second_of

    first = arguments.weights or default_weights(arguments.engine)
    return [*files_of(first), *files_of(second_of(arguments.cascade, arguments.engine))]


def add_network_options(group: Any, weights: str = "the newest released stage") -> None:
    """Add the options, shared by align, evaluate and serve, of how landmarks are predicted.

    weights: which they are by default.
    """
    from facealign.engines.opening import KINDS  # here, as most verbs run no network

    group.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=f".caffemodel or .onnx (default: {weights})",
    )
    group.add_argument(
        "--engine",
        choices=KINDS,
        default="auto",
        help="what runs it; auto (default): pycaffe when it is installed, else onnx, in OpenCV; others are "
        "packages of these names",
    )
    group.add_argument(
        "--cascade",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="refine the landmarks with a second network on an aligned crop (default FILE: the released one)",
    )
    group.add_argument(
        "--flip",
        action="store_true",
        help="average with the prediction on the mirrored crop: two runs of each network for a face",
    )
    group.add_argument(
        "--published", action="store_true", help="crop as the reference demo does, for its author's weights"
    )
