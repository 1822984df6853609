"""ncnn's two files, .param and .bin, of an exported ONNX model, for phones and other small machines.

The formats: ncnn's wiki, "param and model file structure"; the numbered parameters of each layer: its page
"operation param weight table". Only the operators that `onnx_export` writes are known, and of quantised
models those of `quantisation`. In ncnn layers with int8 weights have outputs in float32, and inputs whose 255
steps lie evenly about 0.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from facealign.arrays import AnyArray
from facealign.engines.qdq import Unquantised, unquantised
from facealign.errors import FaceAlignError

MAGIC = 7767517
"""The first line of a .param file."""
RAW, HALF, INT8 = np.uint32(0), np.uint32(0x01306B47), np.uint32(0x000D4B38)
"""What precedes weights of 32, 16 and 8 bits in a .bin file."""
STEPS = 127
"""On either side of 0, in int8."""
NO_ACTIVATION, RELU, LEAKY_RELU = 0, 1, 2
"""Parameter 9 of a layer with weights: what is applied to its output."""
SUM = 0
"""Of a BinaryOp."""
MAXIMUM, FULL, VALID = 0, 0, 1
"""Of a Pooling: its kind, and whether the last, partly filled windows count or not."""


@dataclass(frozen=True)
class _Int8:
    """A layer's int8 weights, the step of each output channel, and the largest magnitude of its input."""

    values: AnyArray
    steps: AnyArray
    largest: float


class _Net:
    """The layers and weights written so far.

    half: whether weights of many are stored in 16 bits; names: tensor -> the blobs, of equal contents, that
    are not yet read: ncnn's blobs have one reader each.
    """

    def __init__(self, half: bool) -> None:
        self.half = half
        self.lines: list[str] = []
        self.weights: list[bytes] = []
        self.blobs = 0
        self.names: dict[str, list[str]] = {}

    def add(
        self, kind: str, name: str, inputs: list[str], output: str, readers: int, parameters: str
    ) -> None:
        """Add a layer whose output is read `readers` times."""
        bottoms = [self.names[tensor].pop() for tensor in inputs]
        self._write(kind, name, bottoms, [output], parameters)
        self.names[output] = [output]
        if readers > 1:
            copies = [f"{output}_{number}" for number in range(readers)]
            self._write("Split", f"{output}_split", [output], copies, "")
            self.names[output] = copies

    def _write(self, kind: str, name: str, bottoms: list[str], tops: list[str], parameters: str) -> None:
        words = [f"{kind:22} {name}", str(len(bottoms)), str(len(tops)), *bottoms, *tops, parameters]
        self.lines.append(" ".join(words).rstrip())
        self.blobs += len(tops)

    def store(self, values: AnyArray) -> None:
        """Append values in 32 bits."""
        self.weights.append(values.astype("<f4").tobytes())

    def store_weights(self, values: AnyArray, bias: AnyArray, int8: "_Int8 | None") -> str:
        """Append a layer's weights, which say in how many bits they are, and its bias.

        Returns the parameter that says that scales for int8 follow, or nothing.
        """
        if int8 is not None:
            self._padded(INT8, int8.values.tobytes())
        elif self.half:
            self._padded(HALF, values.astype("<f2").tobytes())
        else:
            self._padded(RAW, values.astype("<f4").tobytes())
        self.store(bias)
        if int8 is None:
            return ""
        self.store(1 / int8.steps)
        self.store(np.array([STEPS / int8.largest]))
        return " 8=1"

    def _padded(self, kind: np.uint32, stored: bytes) -> None:
        self.weights.append(kind.tobytes() + stored + bytes(-len(stored) % 4))

    @property
    def text(self) -> str:
        return "\n".join([str(MAGIC), f"{len(self.lines)} {self.blobs}", *self.lines]) + "\n"


def export_ncnn(model: onnx.ModelProto, where: str, half: bool = False) -> tuple[str, bytes]:
    """The text of the .param file and the contents of the .bin file of an exported model.

    half: store weights in 16 bits; where: names the model in errors. ReLUs are computed by the layer before.
    Raises FaceAlignError on an operator, or a use of one, that `onnx_export` does not write.
    """
    graph = model.graph
    try:
        plain = unquantised(model)
    except KeyError as error:
        raise FaceAlignError(f"{where}: cannot be written for ncnn: {error} is no constant") from error
    named = [
        *(value.name for value in graph.input),
        *(output for node in graph.node for output in node.output),
    ]
    unfit = [name for name in named if not re.fullmatch(r"\S{1,200}", name)]
    if unfit:
        raise FaceAlignError(
            f"{where}: {unfit[0]!r}: ncnn has no names of more than 200 letters or with spaces"
        )
    readers = Counter(name for node in plain.nodes for name in node.input)
    net = _Net(half)
    for value in graph.input:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim[1:]]
        parameters = "0={2} 1={1} 2={0}".format(*sides) if len(sides) == 3 and all(sides) else ""
        net.add("Input", value.name, [], value.name, readers[value.name], parameters)
    nodes = list(plain.nodes)
    while nodes:
        node = nodes.pop(0)
        output, activation = node.output[0], ""
        if node.op_type in ("Conv", "Gemm") and readers[output] == 1 and [*nodes[0].input] == [output]:
            activation = _activation(nodes[0])
            if activation:
                output = nodes.pop(0).output[0]
        try:
            kind, inputs, parameters = _layer(node, plain, net)
        except (KeyError, ValueError) as error:
            reason = f"{node.op_type} {node.name!r}: {error}"
            raise FaceAlignError(f"{where}: cannot be written for ncnn: {reason}") from error
        parameters = " ".join(filter(None, [parameters, activation]))
        net.add(kind, node.name or output, inputs, output, readers[output], parameters)
    return net.text, b"".join(net.weights)


def _activation(node: onnx.NodeProto) -> str:
    """The parameters by which a layer computes the activation `node` too; empty if it cannot."""
    if node.op_type == "Relu":
        return f"9={RELU}"
    if node.op_type == "LeakyRelu":
        return f"9={LEAKY_RELU} -23310=1,{_attributes(node).get('alpha', 0.01):.9g}"
    return ""


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _layer(node: onnx.NodeProto, model: Unquantised, net: _Net) -> tuple[str, list[str], str]:
    """Kind, inputs and parameters of the layer that computes `node`; its weights are stored.

    Raises ValueError or KeyError on what is not known.
    """
    given = _attributes(node)
    inputs = [name for name in node.input if name not in model.constants]
    weights = [model.constants[name] for name in node.input if name in model.constants]
    int8 = _int8(node, model)
    match node.op_type, len(inputs), weights:
        case "Conv", 1, [kernels, bias]:
            kind = _convolution(given, kernels)
            return kind, inputs, _window(given, kernels) + net.store_weights(kernels, bias, int8)
        case "Gemm", 1, [matrix, bias] if given.get("transB") == 1:
            sizes = f"0={len(matrix)} 1=1 2={matrix.size}"
            return "InnerProduct", inputs, sizes + net.store_weights(matrix, bias, int8)
        case "MaxPool", 1, []:
            mode = FULL if given.get("ceil_mode") else VALID
            slide = f"1={_same(given, 'kernel_shape')} 2={_same(given, 'strides')} 3={_same(given, 'pads')}"
            return "Pooling", inputs, f"0={MAXIMUM} {slide} 5={mode}"
        case "PRelu", 1, [slopes]:
            net.store(slopes)
            return "PReLU", inputs, f"0={slopes.size}"
        case "LeakyRelu", 1, []:
            return "ReLU", inputs, f"0={given.get('alpha', 0.01):.9g}"
        case "Relu", 1, []:
            return "ReLU", inputs, ""
        case "Add", 2, []:
            return "BinaryOp", inputs, f"0={SUM}"
        case "Mul", 1, [factor]:
            net.store(factor)
            return "Scale", inputs, f"0={factor.size}"
        case "Add", 1, [offset]:
            net.store(np.ones(offset.size))
            net.store(offset)
            return "Scale", inputs, f"0={offset.size} 1=1"
        case "Flatten", 1, []:
            return "Flatten", inputs, ""
        case "Softmax", 1, [] if given.get("axis") == 1:
            return "Softmax", inputs, "0=0 1=1"  # its axes begin after that of the images
        case _:
            raise ValueError("not an operator that facealign export-onnx writes")


def _int8(node: onnx.NodeProto, model: Unquantised) -> _Int8 | None:
    """How a layer computes in int8; None when it does not."""
    if node.op_type not in ("Conv", "Gemm") or node.input[1] not in model.int8:
        return None
    values, steps = model.int8[node.input[1]]
    return _Int8(values, steps, model.largest[node.input[0]])


def _convolution(given: dict[str, Any], kernels: AnyArray) -> str:
    """The kind of a convolution. Raises ValueError on groups of several channels."""
    groups = given.get("group", 1)
    if groups not in (1, len(kernels)):
        raise ValueError(f"{groups} groups for {len(kernels)} channels")
    return "Convolution" if groups == 1 else "ConvolutionDepthWise"


def _window(given: dict[str, Any], kernels: AnyArray) -> str:
    """Parameters of a convolution's window."""
    slide = f"2={_same(given, 'dilations')} 3={_same(given, 'strides')} 4={_same(given, 'pads')}"
    window = f"0={len(kernels)} 1={_same(given, 'kernel_shape')} {slide} 5=1 6={kernels.size}"
    groups = given.get("group", 1)
    return window if groups == 1 else f"{window} 7={groups}"


def _same(given: dict[str, Any], name: str) -> int:
    """The one number of an attribute with one for each side. Raises ValueError when they differ."""
    numbers = set(given[name])
    if len(numbers) != 1:
        raise ValueError(f"{name} is {list(given[name])}, expected the same number on all sides")
    return int(numbers.pop())
