"""ONNX export of a deploy net and its weights; BatchNorm and Scale are folded into preceding convolutions."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facealign.arrays import AnyArray, Float32Array
from facealign.caffe_files.caffemodel import Blobs, blobs_of, matching_weights
from facealign.caffe_files.net_shapes import Shape, any_size, check_inputs, declared_inputs, trace, window
from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.model_spec import METADATA_KEY, ModelSpec
from facealign.errors import FaceAlignError

OPSET, IR_VERSION = 13, 8
"""Supported by OpenCV 4.8."""


class _Convolution:
    """A convolution not yet emitted, whose weights absorb the per-channel scalings that follow it."""

    def __init__(self, layer: caffe_pb2.LayerParameter, bottom: str, blobs: list[Float32Array]) -> None:
        self.layer, self.bottom = layer, bottom
        self.weight = blobs[0].astype(np.float64)
        self.bias = blobs[1].astype(np.float64) if len(blobs) > 1 else np.zeros(len(blobs[0]))

    def scale(self, factor: AnyArray, offset: AnyArray) -> None:
        self.weight *= factor[:, None, None, None]
        self.bias = self.bias * factor + offset


class _Graph:
    """The ONNX graph being built.

    shapes: blob -> shape without the number of images; current: blob -> the tensor that it is at this point,
    as layers change blobs in place; pending: blob -> its convolution, not yet emitted.
    """

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.current: dict[str, str] = {}
        self.pending: dict[str, _Convolution] = {}
        self.made: set[str] = set()

    def constant(self, name: str, values: AnyArray) -> str:
        with np.errstate(over="ignore"):
            stored = np.array(values, np.float32, order="C")
        if not np.isfinite(stored).all():
            raise FaceAlignError(
                f"{name}: not finite once BatchNorm and Scale are folded in: damaged weights?"
            )
        self.initializers.append(numpy_helper.from_array(stored, name))
        return name

    def per_channel(self, blob: str) -> Shape:
        """Shape in which one value per channel of `blob` is broadcast."""
        return (-1, *[1] * (len(self.shapes[blob]) - 1))

    def add(self, kind: str, inputs: list[str], layer: str, **attributes: object) -> str:
        output = f"{layer}:{kind}"
        while output in self.made:  # Caffe lets layers share a name
            output += "'"
        self.made.add(output)
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))  # type: ignore[arg-type]
        return output

    def tensor(self, blob: str) -> str:
        """The tensor of a blob; its pending convolution, if any, is emitted first."""
        convolution = self.pending.pop(blob, None)
        if convolution is not None:
            self.current[blob] = self._emit(convolution)
        return self.current[blob]

    def _emit(self, convolution: _Convolution) -> str:
        layer, param = convolution.layer, convolution.layer.convolution_param
        slide = window(layer, layer.name)
        depthwise = layer.type == "ConvolutionDepthwise"
        weight = self.constant(f"{layer.name}.weight", convolution.weight)
        bias = self.constant(f"{layer.name}.bias", convolution.bias)
        return self.add(
            "Conv",
            [convolution.bottom, weight, bias],
            layer.name,
            kernel_shape=[slide.kernel] * 2,
            pads=[slide.pad] * 4,
            strides=[slide.stride] * 2,
            dilations=[slide.dilation] * 2,
            group=param.num_output if depthwise else param.group,
        )


def _affine(layer: caffe_pb2.LayerParameter, blobs: list[Float32Array]) -> tuple[AnyArray, AnyArray]:
    """Factor and offset of each channel that a BatchNorm (global statistics) or Scale layer applies."""
    if layer.type == "Scale":
        factor = blobs[0].astype(np.float64)
        return factor, blobs[1].astype(np.float64) if len(blobs) > 1 else np.zeros_like(factor)
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise FaceAlignError(
            f"layer {layer.name!r}: normalises by the batch (use_global_stats: false); give a deploy net"
        )
    total = float(blobs[2].ravel()[0])
    norm = 1.0 / total if total else 0.0
    mean, variance = blobs[0].astype(np.float64) * norm, blobs[1].astype(np.float64) * norm
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = 1.0 / np.sqrt(variance + param.eps)
    return factor, -mean * factor


def _pool(graph: _Graph, layer: caffe_pb2.LayerParameter, bottom: str) -> str:
    pool, slide = layer.pooling_param, window(layer, layer.name)
    if pool.pool != caffe_pb2.PoolingParameter.MAX:
        raise FaceAlignError(f"layer {layer.name!r}: only max pooling can be exported")
    return graph.add(
        "MaxPool",
        [bottom],
        layer.name,
        kernel_shape=[slide.kernel] * 2,
        strides=[slide.stride] * 2,
        pads=[slide.pad] * 4,
        ceil_mode=int(pool.round_mode == caffe_pb2.PoolingParameter.CEIL),
    )


def _inner_product(
    graph: _Graph, layer: caffe_pb2.LayerParameter, bottom: str, blobs: list[Float32Array]
) -> str:
    flat = graph.add("Flatten", [bottom], layer.name, axis=1)
    weight = graph.constant(f"{layer.name}.weight", blobs[0])
    bias = blobs[1] if len(blobs) > 1 else np.zeros(len(blobs[0]), np.float32)
    return graph.add("Gemm", [flat, weight, graph.constant(f"{layer.name}.bias", bias)], layer.name, transB=1)


def _simple(
    graph: _Graph, layer: caffe_pb2.LayerParameter, bottoms: list[str], blobs: list[Float32Array]
) -> str:
    """The output tensor of a layer other than a convolution."""
    if layer.type in ("BatchNorm", "Scale"):
        shape = graph.per_channel(layer.bottom[0])
        factor, offset = (values.reshape(shape) for values in _affine(layer, blobs))
        scaled = graph.add("Mul", [bottoms[0], graph.constant(f"{layer.name}.factor", factor)], layer.name)
        return graph.add("Add", [scaled, graph.constant(f"{layer.name}.offset", offset)], layer.name)
    if layer.type == "ReLU":
        slope = layer.relu_param.negative_slope
        if slope:
            return graph.add("LeakyRelu", bottoms, layer.name, alpha=slope)
        return graph.add("Relu", bottoms, layer.name)
    if layer.type == "PReLU":
        slopes = blobs[0].reshape(graph.per_channel(layer.bottom[0]))
        slope_name = graph.constant(f"{layer.name}.slope", slopes)
        return graph.add("PRelu", [bottoms[0], slope_name], layer.name)
    if layer.type == "Pooling":
        return _pool(graph, layer, bottoms[0])
    if layer.type == "InnerProduct":
        return _inner_product(graph, layer, bottoms[0], blobs)
    if layer.type == "Eltwise":
        param = layer.eltwise_param
        if param.operation != caffe_pb2.EltwiseParameter.SUM or any(c != 1 for c in param.coeff):
            raise FaceAlignError(f"layer {layer.name!r}: only a plain Eltwise sum can be exported")
        total = bottoms[0]
        for other in bottoms[1:]:
            total = graph.add("Add", [total, other], layer.name)
        return total
    if layer.type == "Softmax":
        return graph.add("Softmax", bottoms, layer.name, axis=1)
    if layer.type == "Flatten":
        return graph.add("Flatten", bottoms, layer.name, axis=1)
    if layer.type == "Dropout":
        return bottoms[0]
    raise FaceAlignError(f"layer {layer.name!r}: type {layer.type} cannot be exported")


def check_described(deploy: caffe_pb2.NetParameter, spec: ModelSpec, where: str) -> None:
    """Raise FaceAlignError unless `deploy` is the net that `spec`, of the file `where`, describes."""
    shapes = {spec.input_name: (1, 3, spec.input_height, spec.input_width)}
    check_inputs(deploy, f"{where}: describes another net", shapes)
    shape = trace(deploy, where, shapes).blobs.get(spec.output_name)
    if shape is None or math.prod(shape) != 2 * spec.landmarks:
        raise FaceAlignError(
            f"{where}: describes another net: {spec.output_name!r} is {shape}, "
            f"not 2 x {spec.landmarks} numbers"
        )


def export_onnx(
    deploy: caffe_pb2.NetParameter,
    weights: caffe_pb2.NetParameter | Blobs,
    spec: ModelSpec | None,
    where: str = "weights",
) -> onnx.ModelProto:
    """The ONNX model of a deploy net and weights matched to it by layer name.

    The number of images is free; so are their height and width when no layer is fully connected. spec: is
    stored in the metadata; where: names the weights in errors. The same input gives the same bytes.
    Raises FaceAlignError on a layer without matching weights or of a type that cannot be exported.
    """
    blobs = weights if isinstance(weights, dict) else blobs_of(weights, where)
    net = deploy.name or "the net"
    blobs = matching_weights(deploy, blobs, net, where)
    graph = _Graph(trace(deploy, net).blobs)
    inputs = []
    free = any_size(deploy)
    for name, (_, channels, height, width) in declared_inputs(deploy, net).items():
        shape: list[str | int | None] = ["N", channels, "H" if free else height, "W" if free else width]
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        graph.current[name] = name
    try:
        outputs = _convert(graph, deploy, blobs)
    except FaceAlignError as error:
        raise FaceAlignError(f"{where}: {error}") from error
    model = helper.make_model(
        helper.make_graph(graph.nodes, deploy.name or "net", inputs, outputs, graph.initializers),
        producer_name="facealign",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    if spec is not None:
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _convert(graph: _Graph, deploy: caffe_pb2.NetParameter, blobs: Blobs) -> list[onnx.ValueInfoProto]:
    """Add the nodes of all layers, and return the outputs: the blobs that no other layer reads."""
    used: set[str] = set()
    for layer in deploy.layer:
        if layer.type == "Input":
            continue
        own = blobs.get(layer.name, [])
        used.update(bottom for bottom in layer.bottom if bottom not in layer.top)
        top = layer.top[0]
        if layer.type in ("Convolution", "ConvolutionDepthwise"):
            bottom = graph.tensor(layer.bottom[0])
            graph.pending[top] = _Convolution(layer, bottom, own)
        elif layer.type in ("BatchNorm", "Scale") and top == layer.bottom[0] and top in graph.pending:
            graph.pending[top].scale(*_affine(layer, own))
        else:
            graph.current[top] = _simple(graph, layer, [graph.tensor(b) for b in layer.bottom], own)
    outputs = []
    for blob in dict.fromkeys(layer.top[0] for layer in deploy.layer if layer.type != "Input"):
        if blob not in used:
            tensor = graph.tensor(blob)
            graph.nodes.append(helper.make_node("Identity", [tensor], [blob], name=f"{blob}:output"))
            output = helper.make_empty_tensor_value_info(blob)
            output.type.tensor_type.elem_type = TensorProto.FLOAT
            outputs.append(output)
    _merge_identities(graph.nodes)
    return outputs


def _merge_identities(nodes: list[onnx.NodeProto]) -> None:
    """Remove Identity nodes by giving the tensors their output names directly."""
    names = {node.input[0]: node.output[0] for node in nodes if node.op_type == "Identity"}
    nodes[:] = [node for node in nodes if node.op_type != "Identity"]
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
