"""Export a caffemodel to ONNX, with the description of its crops and outputs in the metadata."""

import argparse
from pathlib import Path

from facealign.caffe_files.caffemodel import matching_weights, read_weights
from facealign.caffe_files.prototxt import read_deploy
from facealign.commands import program
from facealign.commands.messages import result
from facealign.crops.model_spec import has_spec, spec_path
from facealign.engines.onnx_export import check_described, export_onnx
from facealign.engines.opening import files_of, spec_for
from facealign.io.atomic import replacing
from facealign.io.outputs import check_outputs

EXAMPLES = ("export-onnx --weights models/mobilenet_v2_stage2.caffemodel --output out/stage2.onnx",)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES)
    source = parser.add_argument_group("input")
    source.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a .caffemodel")
    source.add_argument(
        "--published", action="store_true", help="weights of the reference's author, cropped as its demo does"
    )
    parser.add_argument_group("output").add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="file for the network (default: beside the weights, .onnx)",
    )
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return options().parse_args(command)


def main() -> None:
    arguments = arguments_of()
    output = arguments.output or arguments.weights.with_suffix(".onnx")
    read = [path for path in files_of(arguments.weights) if path.suffix != ".onnx"]
    check_outputs([output], inputs=read)
    blobs = read_weights(arguments.weights)
    spec = spec_for(arguments.weights, arguments.published)
    deploy = read_deploy(Path(spec.deploy))
    blobs = matching_weights(deploy, blobs, spec.deploy, str(arguments.weights))
    description = spec_path(arguments.weights) if has_spec(arguments.weights) else arguments.weights
    check_described(deploy, spec, str(description))
    # `portable`: the ONNX file is used without the deploy net, so it must hold no path of this machine.
    model = export_onnx(deploy, blobs, spec.portable(), where=str(arguments.weights))
    with replacing(output) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
    result(f"{output}: {output.stat().st_size} bytes")
