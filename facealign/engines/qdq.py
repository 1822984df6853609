"""What a quantised ONNX model stands for: its nodes without those that quantise, and its int8 numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from facealign.arrays import AnyArray


@dataclass
class Unquantised:
    """A model's nodes in order, and its constants in float32.

    int8: constant -> its int8 values, and the size of a step for each of their first axis; largest: tensor
    that is quantised -> the largest magnitude that its steps reach. Both are empty for a float32 model.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, AnyArray] = field(default_factory=dict)
    int8: dict[str, tuple[AnyArray, AnyArray]] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)


def unquantised(model: onnx.ModelProto) -> Unquantised:
    """The model that a quantised one stands for, and how it is quantised; of a float32 model, itself.

    Raises KeyError when the steps of an activation are no constants.
    """
    result = Unquantised()
    stored = {one.name: np.asarray(numpy_helper.to_array(one)) for one in model.graph.initializer}
    same: dict[str, str] = {}
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            values, steps, zero = (stored[name] for name in node.input)
            result.constants[node.output[0]] = _numbers(values, steps, zero)
            if values.dtype == np.int8 and not zero.any():
                result.int8[node.output[0]] = values, np.broadcast_to(steps, len(values))
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            same[node.output[0]] = inputs[0]
            at_zero = stored[node.input[2]]
            limits, middle = np.iinfo(at_zero.dtype), int(at_zero)
            reach = max(limits.max - middle, middle - limits.min)
            result.largest[inputs[0]] = reach * float(stored[node.input[1]])
        else:
            plain = onnx.NodeProto()
            plain.CopyFrom(node)
            plain.input[:] = inputs
            kept.append(plain)
    result.nodes = _named_as_outputs(kept, same, [output.name for output in model.graph.output])
    read = {name for node in kept for name in node.input}
    result.constants |= {name: values for name, values in stored.items() if name in read}
    return result


def _numbers(values: AnyArray, steps: AnyArray, zero: AnyArray) -> AnyArray:
    """What quantised values stand for; steps, zero: one number, or one for each of the first axis."""
    shape = (-1, *[1] * (values.ndim - 1)) if steps.ndim else ()
    plain: AnyArray = (values.astype(np.float64) - zero.reshape(shape)) * steps.reshape(shape)
    return plain.astype(np.float32)


def _named_as_outputs(
    nodes: list[onnx.NodeProto], same: dict[str, str], outputs: Sequence[str]
) -> list[onnx.NodeProto]:
    """The nodes, where those that compute the model's outputs have these names."""
    names = {same[output]: output for output in outputs if output in same}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return nodes
