"""Write the prototxt of every network and stage, or check that existing files are up to date."""

import argparse
from pathlib import Path

from facealign.commands import program
from facealign.commands.messages import number_of, result
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.outputs import check_outputs
from facealign.networks.prototxt_tree import files

EXAMPLES = (
    "make-prototxt",
    "make-prototxt --check",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", type=Path, default=Path("prototxt"), metavar="DIR", help="folder of the prototxt"
    )
    output.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return options().parse_args(command)


def main() -> None:
    arguments = arguments_of()
    wanted = files()
    if not arguments.check:
        check_outputs(folders=[arguments.output])
    contents = {arguments.output / name: content.encode() for name, content in wanted.items()}
    stale = [path for path, content in contents.items() if not _holds(path, content)]
    if not arguments.check:
        check_outputs(stale)
        for path in stale:
            with replacing(path) as partial:
                partial.write_bytes(contents[path])
    found = {path.relative_to(arguments.output).as_posix() for path in arguments.output.rglob("*.prototxt")}
    foreign = sorted(str(arguments.output / name) for name in found - set(wanted))
    if arguments.check and foreign:
        raise FaceAlignError(f"{', '.join(foreign)}: made by no recipe; remove it")
    if arguments.check and stale:
        raise FaceAlignError(f"{', '.join(map(str, stale))}: not what the recipes give; run `make prototxt`")
    written = f"{number_of(len(stale), 'file')} written" if stale else "up to date"
    result(f"{arguments.output}: {written}")


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
