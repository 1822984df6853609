"""Turn training faces farther away from the viewer by their own shape in depth, and write them as new ones.

Photos of near frontal faces become images of half profiles, each with its landmarks: a folder for make-lmdb,
beside the data. Test, validation and held-out photos are left out. What is there already is kept: an
interrupted run goes on where it was.
"""

import argparse
from collections import Counter
from contextlib import closing
from pathlib import Path

from facealign.annotation.depth_mesh import DepthMesh
from facealign.annotation.turned_faces import TurnedFace, TurnSettings
from facealign.annotation.turned_folder import (
    DESCRIPTION,
    Turn,
    check_description,
    described,
    still_to_do,
    trainable,
    turned_faces,
    write_description,
    write_turned,
)
from facealign.commands import MESH, add_data, add_strict, add_workers, name_options, program
from facealign.commands.messages import (
    json_files,
    note,
    number_of,
    problem,
    progress,
    result,
    resumable,
    write_json,
)
from facealign.datasets.scan import faces_in
from facealign.errors import FaceAlignError
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs, check_own

EXAMPLES = (
    "turn-faces --data data",
    "turn-faces --data data/300w --copies 2 --yaw 15 30 --output data/turned_300w",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the numbers of faces turned and not turned")
    source = parser.add_argument_group("input")
    add_data(source)
    add_strict(source)
    parser.add_argument_group("output").add_argument(
        "--output", type=Path, default=Path("data/turned"), metavar="DIR", help="folder of the turned faces"
    )
    turns = parser.add_argument_group("augmentation")
    turns.add_argument("--copies", type=int, default=1, metavar="N", help="turns of a face")
    turns.add_argument(
        "--yaw",
        type=float,
        nargs=2,
        default=TurnSettings.yaw,
        metavar=("MIN", "MAX"),
        help="of turned faces, degrees, to either side",
    )
    turns.add_argument(
        "--turn",
        type=float,
        nargs=2,
        default=TurnSettings.turn,
        metavar=("MIN", "MAX"),
        help="how far a face is turned, degrees",
    )
    turns.add_argument("--seed", type=int, default=0, metavar="N", help="of the turns")
    parser.add_argument_group("network").add_argument(
        "--mesh",
        type=Path,
        default=MESH,
        metavar="PYTHON",
        help="an interpreter that has mediapipe, which `make mesh` makes",
    )
    add_workers(parser)
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if arguments.copies < 1:
        parser.error("--copies: expected 1 or more")
    if arguments.seed < 0:
        parser.error("--seed: expected 0 or more")
    try:
        arguments.settings = TurnSettings(tuple(arguments.yaw), tuple(arguments.turn))
    except ValueError as error:
        parser.error(name_options(error))
    return arguments


def main() -> None:
    arguments = arguments_of()
    check_outputs([arguments.output / DESCRIPTION, *json_files()], [arguments.output], [arguments.data])
    check_own(arguments.output, [DESCRIPTION], "--output")
    with resumable(arguments.output), exclusive(arguments.output, "a turning of faces"):
        turn_all(arguments)


def turn_all(arguments: argparse.Namespace) -> None:
    """Turn the faces and write them."""
    opened = DepthMesh(arguments.mesh)  # its error comes before the work
    with closing(opened):
        settings = described(arguments.settings, arguments.seed, opened.describe())
    check_description(arguments.output, settings)
    found = faces_in(arguments.data, strict=arguments.strict)
    for _, reason in found.skipped:
        problem("skipped", reason)
    turns = [
        Turn(sample, number, arguments.settings, arguments.seed)
        for sample in trainable(found.samples, arguments.workers)
        for number in range(1, arguments.copies + 1)
    ]
    todo = still_to_do(arguments.output, turns)
    counts = Counter(turned=len(turns) - len(todo))
    if counts["turned"]:
        note(f"{arguments.output}: has {number_of(counts['turned'], 'turned face')} already")
    write_description(arguments.output, settings, counts)
    results = turned_faces(todo, arguments.workers, DepthMesh, (arguments.mesh,))
    bar = progress(results, total=len(todo), unit="faces", what="turned")
    for turn, turned in zip(todo, bar, strict=True):
        if isinstance(turned, TurnedFace):
            write_turned(arguments.output, turn, turned)
            counts["turned"] += 1
        elif isinstance(turned, str):
            counts[turned] += 1
        elif arguments.strict:
            raise turned
        else:
            problem("skipped", str(turned))
            counts["unreadable"] += 1
    write_description(arguments.output, settings, counts)
    left_out = len(found.samples) - len(turns) // arguments.copies
    if not counts["turned"]:
        raise FaceAlignError(f"{arguments.data}: no face could be turned ({reasons(counts)})")
    made = number_of(counts["turned"], "turned face")
    result(f"{arguments.output}: {made} of {len(turns)}; not turned: {reasons(counts)}")
    if left_out:
        result(f"{arguments.output}: left out {number_of(left_out, 'face')} that must not be trained on")
    not_turned = {reason: count for reason, count in counts.items() if reason != "turned"}
    write_json(
        {
            "output": str(arguments.output),
            "turned": counts["turned"],
            "not_turned": not_turned,
            "left_out": left_out,
        }
    )


def reasons(counts: Counter[str]) -> str:
    """Why faces were not turned, and how often, most frequent first."""
    others = [f"{reason} {count}" for reason, count in counts.most_common() if reason != "turned"]
    return ", ".join(others) or "none"
