"""Turn training faces farther away from the viewer by their own shape in depth, and write them as new ones.

Photos of near frontal faces become images of half profiles, each with its landmarks: a folder for make-lmdb,
beside the data. Test, validation and held-out photos are left out. What is there already is kept: an
interrupted run goes on where it was.
"""

import argparse
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from facealign.annotation.depth_mesh import DepthMesh
from facealign.annotation.turned_faces import TurnedFace, TurnSettings
from facealign.annotation.turned_folder import (
    Turn,
    check_description,
    described,
    trainable,
    turned_faces,
    write_description,
    write_turned,
)
from facealign.commands import MESH, program
from facealign.concurrency.processes import cores
from facealign.datasets.scan import faces_in
from facealign.errors import FaceAlignError
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs

EXAMPLES = (
    "turn-faces --data data",
    "turn-faces --data data/300w --copies 2 --yaw 15 30 --output data/turned_300w",
)
"""Command lines that its help shows."""


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = program(__doc__, EXAMPLES)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="300w/, lfw/, any folder")
    parser.add_argument(
        "--mesh",
        type=Path,
        default=MESH,
        metavar="PYTHON",
        help=f"an interpreter that has mediapipe (default: {MESH}, of `make mesh`)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("data/turned"), metavar="DIR", help="folder of the turned faces"
    )
    parser.add_argument("--copies", type=int, default=1, metavar="N", help="turns of a face (default: 1)")
    parser.add_argument(
        "--yaw",
        type=float,
        nargs=2,
        default=TurnSettings.yaw,
        metavar=("MIN", "MAX"),
        help="of turned faces, degrees, to either side (default: 18 42)",
    )
    parser.add_argument(
        "--turn",
        type=float,
        nargs=2,
        default=TurnSettings.turn,
        metavar=("MIN", "MAX"),
        help="how far a face is turned, degrees (default: 10 35)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the turns (default: 0)")
    parser.add_argument("--workers", type=int, default=cores(), metavar="N", help="default: one per core")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that cannot be used")
    arguments = parser.parse_args(command)
    for option in ("copies", "workers"):
        if getattr(arguments, option) < 1:
            parser.error(f"--{option}: expected 1 or more")
    if arguments.seed < 0:
        parser.error("--seed: expected 0 or more")
    try:
        arguments.settings = TurnSettings(tuple(arguments.yaw), tuple(arguments.turn))
    except ValueError as error:
        parser.error(str(error))
    return arguments


def main() -> None:
    arguments = arguments_of()
    check_outputs(folders=[arguments.output])
    with exclusive(arguments.output, "a turning of faces"):
        turn_all(arguments)


def turn_all(arguments: argparse.Namespace) -> None:
    """Turn the faces and write them."""
    opened = DepthMesh(arguments.mesh)  # its error comes before the work
    with closing(opened):
        settings = described(arguments.settings, arguments.seed, opened.describe())
    check_description(arguments.output, settings)
    found = faces_in(arguments.data, strict=arguments.strict)
    for _, reason in found.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    turns = [
        Turn(sample, number, arguments.settings, arguments.seed)
        for sample in trainable(found.samples, arguments.workers)
        for number in range(1, arguments.copies + 1)
    ]
    todo = [turn for turn in turns if not (arguments.output / turn.name).exists()]
    counts = Counter(turned=len(turns) - len(todo))
    if counts["turned"]:
        print(f"{arguments.output}: has {counts['turned']} turned faces already", file=sys.stderr)
    write_description(arguments.output, settings, counts)
    results = turned_faces(todo, arguments.workers, DepthMesh, (arguments.mesh,))
    for turn, result in zip(todo, tqdm(results, total=len(todo), unit="face", desc="turned"), strict=True):
        if isinstance(result, TurnedFace):
            write_turned(arguments.output, turn, result)
            counts["turned"] += 1
        elif isinstance(result, str):
            counts[result] += 1
        elif arguments.strict:
            raise result
        else:
            tqdm.write(f"skipped: {result}", file=sys.stderr)
            counts["unreadable"] += 1
    write_description(arguments.output, settings, counts)
    left_out = len(found.samples) - len(turns) // arguments.copies
    if not counts["turned"]:
        raise FaceAlignError(f"{arguments.data}: no face could be turned ({reasons(counts)})")
    print(
        f"{arguments.output}: {counts['turned']} turned faces of {len(turns)}; not turned: {reasons(counts)}"
    )
    if left_out:
        print(f"{arguments.output}: {left_out} faces are not for training, and were left out")


def reasons(counts: Counter[str]) -> str:
    """Why faces were not turned, and how often, most frequent first."""
    others = [f"{reason} {count}" for reason, count in counts.most_common() if reason != "turned"]
    return ", ".join(others) or "none"
