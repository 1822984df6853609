"""Write ncnn's form of an ONNX file, for phones and other small machines: NAME.param and NAME.bin.

NAME.json beside them says how to crop for the network and how to read its output, as beside a caffemodel.
"""

import argparse
from functools import partial
from pathlib import Path

import onnx

from facealign.commands import program
from facealign.commands.messages import result
from facealign.crops.model_spec import ModelSpec
from facealign.engines.ncnn_export import export_ncnn
from facealign.engines.opening import open_engine, resolve
from facealign.errors import FaceAlignError
from facealign.io.atomic import write_together
from facealign.io.outputs import check_outputs
from facealign.io.reading import read_text

EXAMPLES = (
    "export-ncnn --weights models/mobilenet_v2_stage3.onnx --output out/stage3.param",
    "export-ncnn --weights models/mobilenet_v2_stage3.onnx --output out/stage3_half.param --half",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES)
    parser.add_argument_group("input").add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="an .onnx file, float32 or int8, or a caffemodel",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output", type=Path, required=True, metavar="FILE", help="NAME.param")
    output.add_argument("--half", action="store_true", help="store weights in 16 bits: half the size")
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if arguments.output.suffix != ".param":
        parser.error("--output: expected NAME.param")
    return arguments


def main() -> None:
    arguments = arguments_of()
    _, weights = resolve("onnx", arguments.weights)
    param, stored, description = (arguments.output.with_suffix(end) for end in (".param", ".bin", ".json"))
    check_outputs([param, stored, description])
    _, spec = open_engine("onnx", weights)
    text, numbers = export_ncnn(onnx.load(str(weights)), str(weights), arguments.half)
    contents = {param: text.encode(), stored: numbers}
    if not is_described(description, spec):
        contents[description] = spec.to_json().encode()
    write_together({file: partial(_write, content) for file, content in contents.items()})
    for file in contents:
        result(f"{file}: {file.stat().st_size} bytes")


def is_described(path: Path, spec: ModelSpec) -> bool:
    """Whether the description of this network is there already, beside its caffemodel.

    Raises FaceAlignError when that of another caffemodel is, or a JSON file of something else.
    """
    if not path.exists():
        return False
    there = ModelSpec.from_json(read_text(path, "expected a model description"), str(path))
    if there.deploy and there.portable() != spec.portable():
        raise FaceAlignError(f"{path}: describes the caffemodel of another network; give another --output")
    return bool(there.deploy)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
