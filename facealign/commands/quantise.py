"""Quantise a landmark network to int8: a smaller file, and faster on processors with int8 instructions.

The ranges of its activations are measured on training faces, drawn from annotated photos: never on
300-W's validation or held-out part, nor on its test sets. How far the landmarks move is measured on other
training faces. The result is an ONNX file for --engine onnxruntime, openvino, ncnn or, slowly, onnx.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.commands import add_data, add_strict, program
from facealign.commands.evaluate import finder
from facealign.commands.messages import json_files, number_of, progress, result, skipped, write_json
from facealign.datasets.scan import faces_in
from facealign.datasets.split import split
from facealign.engines.engine import Engine
from facealign.engines.opening import files_of, onnx_engine, open_engine, resolve
from facealign.engines.quantisation import check_quantisable, quantise
from facealign.engines.runtime import import_runtime
from facealign.errors import FaceAlignError
from facealign.evaluation.measure import measure
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import LandmarkNetwork
from facealign.inference.model_zoo import default_weights
from facealign.io.atomic import replacing
from facealign.io.outputs import check_outputs

EXAMPLES = (
    "quantise --weights models/mobilenet_v2_stage3.onnx --data data/300w --output out/stage3_int8.onnx",
    "quantise --weights models/mobilenet_v2_cascade.onnx --data data/300w --output out/cascade_int8.onnx",
)
"""Command lines that its help shows."""
CHECKED = 64
"""Faces on which the result is compared with the original."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the figures that it prints")
    source = parser.add_argument_group("input")
    source.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="an .onnx file in float32, or its caffemodel",
    )
    add_data(source, several=True)
    source.add_argument(
        "--boxes",
        default="landmarks",
        metavar="landmarks|mtcnn|FILE",
        help="derived from the annotation (default), detected, or from a file of facealign detect-faces",
    )
    add_strict(source)
    parser.add_argument_group("output").add_argument(
        "--output", type=Path, metavar="FILE", help="file for the int8 network (default: NAME_int8.onnx)"
    )
    faces = parser.add_argument_group("faces")
    faces.add_argument("--faces", type=int, default=256, metavar="N", help="to measure the ranges on")
    faces.add_argument("--seed", type=int, default=0, help="of the choice of faces")
    parser.add_argument_group("second cascade stage").add_argument(
        "--first", type=Path, metavar="FILE", help="its first stage (default: the released one)"
    )
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if arguments.faces < 1:
        parser.error("--faces: expected 1 or more")
    if arguments.seed < 0:
        parser.error("--seed: expected 0 or more")
    if arguments.output is not None and arguments.output.suffix != ".onnx":
        parser.error("--output: expected NAME.onnx")
    return arguments


def main() -> None:
    arguments = arguments_of()
    import_runtime("onnxruntime")
    _, weights = resolve("onnx", arguments.weights)
    output = arguments.output or weights.with_name(f"{weights.stem}_int8.onnx")
    read = [*arguments.data, Path(arguments.boxes), *files_of(arguments.weights), *files_of(arguments.first)]
    check_outputs([output, *json_files()], inputs=read)
    engine, spec = open_engine("onnx", weights)
    float32 = onnx.load(str(weights))
    check_quantisable(float32, str(weights))
    seen = Seen(engine)
    aligner = FaceAligner.open(
        (arguments.first or default_weights("onnx")) if spec.is_second_stage else weights,
        "onnx",
        detector=arguments.boxes == "mtcnn",
        cascade=weights if spec.is_second_stage else None,
    )
    network: LandmarkNetwork = aligner.net if aligner.second is None else aligner.second
    network.engine = seen

    found = faces_in(*arguments.data, strict=arguments.strict)
    for file, reason in found.skipped:
        skipped(file, reason)
    training, _ = split(found.samples, 0, arguments.seed)
    order = np.random.default_rng(arguments.seed).permutation(len(training))
    checked = min(CHECKED, len(training) // 5)
    chosen = [training[index] for index in order[: arguments.faces + checked]]
    find = finder(arguments.boxes, aligner)
    parts = []
    for part, what in ((chosen[checked:], "ranges"), (chosen[:checked], "check")):
        with progress(part, total=len(part), unit="images", what=what) as bar:
            measured = measure(bar, find, aligner.landmarks_in, strict=arguments.strict, on_skip=skipped)
        parts.append((seen.taken(), sum(error is not None for error in measured.errors.values())))
    (inputs, faces), (others, compared) = parts
    if not faces:
        raise FaceAlignError(f"{arguments.data[0]}: none of the {len(chosen)} faces drawn could be used")

    model = quantise(float32, np.concatenate(inputs), str(weights))
    with replacing(output) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
        if compared:
            small = onnx_engine("onnxruntime")(partial, tried=True)  # made by us
            moved = apart(network, small, np.concatenate(others))
    size = output.stat().st_size
    result(f"{output}: {size} bytes (float32: {weights.stat().st_size}), by {number_of(faces, 'face')}")
    if compared:
        result(
            f"on {compared} others landmarks are {moved:.2f} pixels of the crop from the float32 network's"
        )
    figures = {"output": str(output), "bytes": size, "faces": faces, "compared": compared}
    write_json(figures | ({"pixels": round(moved, 4)} if compared else {}))


class Seen:
    """An engine that keeps the inputs it is given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inputs: list[Float32Array] = []

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the network; see Engine.forward."""
        self._inputs += [np.asarray(values, np.float32) for values in inputs.values()]
        return self._engine.forward(inputs)

    def taken(self) -> list[Float32Array]:
        """The inputs since this was last called."""
        taken, self._inputs = self._inputs, []
        return taken


def apart(network: LandmarkNetwork, other: Engine, inputs: Float32Array) -> float:
    """Mean distance, in pixels of the crop, of the landmarks that two engines of a network predict."""
    points = [
        network.points(engine.forward({network.spec.input_name: inputs})[network.spec.output_name])
        for engine in (network.engine, other)
    ]
    return float(np.linalg.norm(points[0] - points[1], axis=-1).mean())
