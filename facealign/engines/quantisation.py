"""Static quantisation of an ONNX model to int8, calibrated on inputs, in the form that most runtimes read.

Convolutions have int8 weights, with a scale for each output channel, and uint8 activations. So has the first
fully connected layer, which holds most weights; its output and all after it stay float32: a few large values
there leave too few steps for the many small ones that the landmarks depend on.
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator

import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.engines.runtime import import_runtime
from facealign.errors import FaceAlignError
from facealign.io.unfinished import temporary_folder

TAIL = 1e-4
"""Fraction of an activation's values, at either end, that the range of its 256 steps leaves out."""
BATCH = 16
"""Inputs run at a time."""
QUANTISED = ("Conv", "Gemm", "Add", "MaxPool", "LeakyRelu", "Relu", "Flatten")
"""Operators with int8 inputs; PRelu has no such form."""


def quantise(model: onnx.ModelProto, inputs: Float32Array, where: str, tail: float = TAIL) -> onnx.ModelProto:
    """The int8 form of an exported model; its metadata are kept. The same inputs give the same bytes.

    inputs: (n, channels, height, width), by which activations get their ranges; tail: see TAIL; where: names
    the model in errors. Raises FaceAlignError when the model is quantised already or has several inputs, and
    when onnxruntime is not installed.
    """
    import_runtime("onnxruntime")
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    check_quantisable(model, where)
    nodes = list(model.graph.node)
    last = next((index for index, node in enumerate(nodes) if node.op_type == "Gemm"), len(nodes))
    ranges = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in activation_ranges(model, inputs, len(nodes[:last]), tail).items()
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with _temporary_files():
        quantizer = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=[node.name for node in nodes[last + 1 :]],
            op_types_to_quantize=list(QUANTISED),
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    onnx.checker.check_model(result, full_check=True)
    return result


def check_quantisable(model: onnx.ModelProto, where: str) -> None:
    """Raise FaceAlignError when a model is quantised already or has several inputs; where: its name."""
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise FaceAlignError(f"{where}: is quantised already; give the float32 model")
    if len(model.graph.input) != 1:
        raise FaceAlignError(f"{where}: has {len(model.graph.input)} inputs, expected one")


@contextlib.contextmanager
def _temporary_files() -> Iterator[None]:
    """Within, Python's temporary files are in a folder of ours, which outlives no kill for long."""
    before = tempfile.tempdir
    with temporary_folder() as folder:
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def activation_ranges(
    model: onnx.ModelProto, inputs: Float32Array, nodes: int, tail: float
) -> dict[str, tuple[float, float]]:
    """The range of the values of the input, and of the outputs of the first `nodes` nodes, without the tails.

    inputs: (n, channels, height, width); tail: fraction of the values left out at either end. Run in one
    thread, so that rounding does not depend on the machine's number of processors.
    """
    runtime = import_runtime("onnxruntime")
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    names = [output for node in model.graph.node[:nodes] for output in node.output]
    for name in names:
        if name not in known:
            whole.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = model.graph.input[0].name
    lowest: dict[str, AnyArray] = {}
    highest: dict[str, AnyArray] = {}
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        values = dict(zip(names, session.run(names, {source: batch}), strict=True)) | {source: batch}
        for name, some in values.items():
            count = max(1, math.floor(tail * some[0].size * len(inputs)))
            lowest[name] = least(some, lowest.get(name), count)
            highest[name] = -least(-some, -highest[name] if name in highest else None, count)
    return {name: (float(lowest[name].max()), float(highest[name].min())) for name in lowest}


def least(values: AnyArray, others: AnyArray | None, count: int) -> AnyArray:
    """The `count` least of the values and the others, unordered; all, if they are fewer.

    >>> sorted(least(np.array([5, 1, 4]), np.array([2, 9]), 2).tolist())
    [1, 2]
    """
    joined = values.ravel() if others is None else np.concatenate([values.ravel(), others])
    return joined if joined.size <= count else np.partition(joined, count - 1)[:count]
