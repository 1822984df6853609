"""Shapes of a deploy net's blobs and of its layers' weights.

Caffe ends the whole process on a net or an input that does not fit; both are checked here first.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from facealign.caffe_files.proto import caffe_pb2
from facealign.errors import FaceAlignError

Shape = tuple[int, ...]


class LayerError(FaceAlignError):
    """Raised for an invalid layer; `index` is its place among the net's layers."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Window:
    """Window of a convolution or pooling layer, the same along both axes."""

    kernel: int
    stride: int
    pad: int
    dilation: int = 1

    def outputs(self, side: int, ceil: bool) -> int:
        """Number of positions along an axis of `side` pixels, rounded up if `ceil`; 0 if it does not fit."""
        span = side + 2 * self.pad - (self.dilation * (self.kernel - 1) + 1)
        if span < 0:
            return 0
        places = (-(-span // self.stride) if ceil else span // self.stride) + 1
        # Caffe drops a last position that lies in the padding alone.
        return places - int(ceil and self.pad > 0 and (places - 1) * self.stride >= side + self.pad)


def window(layer: caffe_pb2.LayerParameter, where: str) -> Window:
    """The window of a Convolution, ConvolutionDepthwise or Pooling layer; `where` names the layer in errors.

    Raises FaceAlignError when it is not square, not given, or pools the whole image.
    """
    pooling = layer.type == "Pooling"
    param = layer.pooling_param if pooling else layer.convolution_param
    oblong = [f"{kind}_{axis}" for kind in ("kernel", "stride", "pad") for axis in "hw"]
    if any(param.HasField(name) for name in oblong) or (pooling and layer.pooling_param.global_pooling):
        raise FaceAlignError(f"{where}: only square windows (kernel_size, stride, pad) are supported")
    if pooling:
        pool = layer.pooling_param
        result = Window(pool.kernel_size, pool.stride, pool.pad)
    else:
        conv = layer.convolution_param
        result = Window(
            _one(conv.kernel_size, 0, where),
            _one(conv.stride, 1, where),
            _one(conv.pad, 0, where),
            _one(conv.dilation, 1, where),
        )
    if min(result.kernel, result.stride, result.dilation) < 1 or (pooling and result.pad >= result.kernel):
        raise FaceAlignError(f"{where}: {result} is not a valid window")
    return result


def _one(values: Iterable[int], default: int, where: str) -> int:
    different = set(values)
    if len(different) > 1:
        raise FaceAlignError(f"{where}: only square windows (kernel_size, stride, pad) are supported")
    return different.pop() if different else default


def declared_inputs(deploy: caffe_pb2.NetParameter, where: str) -> dict[str, Shape]:
    """Declared shape (n, channels, height, width) of each input blob of a deploy net.

    Reads Input layers and the older `input` with `input_dim` or `input_shape`.
    Raises FaceAlignError when there is no input, or one without such a shape.
    """
    shapes = [tuple(shape.dim) for shape in deploy.input_shape]
    if not shapes:
        dims = deploy.input_dim
        shapes = [tuple(dims[start : start + 4]) for start in range(0, len(dims), 4)]
    pairs = [(name, shapes[index : index + 1]) for index, name in enumerate(deploy.input)]
    for layer in deploy.layer:
        if layer.type == "Input":
            own = [tuple(shape.dim) for shape in layer.input_param.shape]
            pairs += [(top, own[index : index + 1] or own[:1]) for index, top in enumerate(layer.top)]
    result: dict[str, Shape] = {}
    for name, given in pairs:
        if not given or len(given[0]) != 4 or min(given[0]) < 1:
            raise FaceAlignError(f"{where}: input {name!r} has no shape of four positive numbers")
        result[name] = given[0]
    if not result:
        raise FaceAlignError(f"{where}: has no input: not a deploy net")
    return result


@dataclass(frozen=True)
class Trace:
    """Shapes in a deploy net.

    weights: layer name -> shapes of its weights, for the layers that have any; blobs: blob -> its shape,
    without the number of images.
    """

    weights: dict[str, list[Shape]]
    blobs: dict[str, Shape]


LAYER_TYPES = (
    *("Convolution", "ConvolutionDepthwise", "InnerProduct", "BatchNorm", "Scale", "ReLU", "PReLU"),
    *("Pooling", "Eltwise", "Dropout", "Softmax", "Flatten"),
)
NEVER_IN_PLACE = ("Convolution", "ConvolutionDepthwise", "InnerProduct", "Pooling", "Flatten")


def trace(deploy: caffe_pb2.NetParameter, where: str, inputs: Mapping[str, Shape] | None = None) -> Trace:
    """Shapes of all blobs and weights of a deploy net.

    inputs: input blob -> shape (n, channels, height, width), by default as declared; where: name of the net
    in errors. Raises LayerError on what Caffe would refuse: layers and settings that are not
    supported here, a bottom that no layer makes, an image smaller than a window, shapes that do not match.
    """
    given = declared_inputs(deploy, where) if inputs is None else inputs
    result = Trace({}, {name: tuple(shape[1:]) for name, shape in given.items()})
    taken: set[str] = set()
    for index, layer in enumerate(deploy.layer):
        if layer.type != "Input":
            try:
                _follow(layer, result, taken, f"{where}: layer {layer.name!r}")
            except FaceAlignError as error:
                raise LayerError(str(error), index) from error
    return result


def _follow(layer: caffe_pb2.LayerParameter, result: Trace, taken: set[str], here: str) -> None:
    """Add a layer's weights and top to `result`, and its bottoms to `taken`."""
    if layer.type not in LAYER_TYPES:
        raise FaceAlignError(f"{here}: type {layer.type!r} is not supported")
    for bottom in layer.bottom:
        if bottom not in result.blobs:
            raise FaceAlignError(f"{here}: no layer makes its bottom {bottom!r}")
    several = layer.type == "Eltwise"
    if len(layer.top) != 1 or not layer.bottom or (len(layer.bottom) > 1) != several:
        raise FaceAlignError(
            f"{here}: expected {'two or more bottoms' if several else 'one bottom'} and one top"
        )
    top = layer.top[0]
    if top in result.blobs and (top not in layer.bottom or layer.type in NEVER_IN_PLACE):
        raise FaceAlignError(f"{here}: makes the blob {top!r} a second time")
    if top in taken or list(layer.bottom).count(top) > 1:
        raise FaceAlignError(f"{here}: changes the blob {top!r} in place, which another layer reads")
    taken.update(bottom for bottom in layer.bottom if bottom != top)
    shapes = [result.blobs[bottom] for bottom in layer.bottom]
    if any(shape != shapes[0] for shape in shapes):
        raise FaceAlignError(f"{here}: its bottoms have different shapes: {shapes}")
    weights, result.blobs[top] = _layer_shapes(layer, shapes[0], here)
    if weights:
        if layer.name in result.weights:
            raise FaceAlignError(f"{here}: the net has two layers of this name with weights")
        result.weights[layer.name] = weights


def _layer_shapes(layer: caffe_pb2.LayerParameter, shape: Shape, here: str) -> tuple[list[Shape], Shape]:
    """Shapes of a layer's weights, and of its top."""
    weights: list[Shape] = []
    if layer.type in ("Convolution", "ConvolutionDepthwise", "Pooling"):
        slide = window(layer, here)
        ceil = layer.type == "Pooling" and layer.pooling_param.round_mode == caffe_pb2.PoolingParameter.CEIL
        sides = tuple(slide.outputs(side, ceil) for side in shape[1:])
        if len(sides) != 2 or min(sides) < 1:
            raise FaceAlignError(f"{here}: its bottom of shape {shape} is smaller than its window")
        outputs = shape[0]
        if layer.type != "Pooling":
            conv, outputs = layer.convolution_param, layer.convolution_param.num_output
            group = outputs if layer.type == "ConvolutionDepthwise" else conv.group
            if outputs < 1 or group < 1 or shape[0] % group or outputs % group or conv.axis != 1:
                raise FaceAlignError(
                    f"{here}: {outputs} outputs in {group} groups do not fit {shape[0]} channels"
                )
            weights = [(outputs, shape[0] // group, slide.kernel, slide.kernel)]
            if conv.bias_term:
                weights.append((outputs,))
        shape = (outputs, *sides)
    elif layer.type == "InnerProduct":
        inner = layer.inner_product_param
        if inner.num_output < 1 or inner.axis != 1 or inner.transpose:
            raise FaceAlignError(f"{here}: only num_output > 0, axis 1 and no transpose are supported")
        weights = [(inner.num_output, math.prod(shape))]
        if inner.bias_term:
            weights.append((inner.num_output,))
        shape = (inner.num_output,)
    elif layer.type == "BatchNorm":
        weights = [shape[:1], shape[:1], (1,)]
    elif layer.type == "Scale":
        if layer.scale_param.axis != 1 or layer.scale_param.num_axes != 1:
            raise FaceAlignError(f"{here}: only a Scale of axis 1 is supported")
        weights = [shape[:1]] * (2 if layer.scale_param.bias_term else 1)
    elif layer.type == "PReLU":
        weights = [() if layer.prelu_param.channel_shared else shape[:1]]
    elif layer.type == "Flatten":
        if layer.flatten_param.axis != 1 or layer.flatten_param.end_axis != -1:
            raise FaceAlignError(f"{here}: only a Flatten from axis 1 to the last is supported")
        shape = (math.prod(shape),)
    elif layer.type == "Softmax" and layer.softmax_param.axis != 1:
        raise FaceAlignError(f"{here}: only a Softmax over axis 1 is supported")
    return weights, shape


def any_size(deploy: caffe_pb2.NetParameter) -> bool:
    """Whether images may have any height and width: no layer is fully connected."""
    return all(layer.type != "InnerProduct" for layer in deploy.layer)


def check_inputs(deploy: caffe_pb2.NetParameter, where: str, shapes: Mapping[str, Shape]) -> None:
    """Raise FaceAlignError unless a net can be run on inputs of these shapes (n, channels, height, width)."""
    declared = declared_inputs(deploy, where)
    if set(shapes) != set(declared):
        raise FaceAlignError(f"{where}: got inputs {sorted(shapes)}, expected {sorted(declared)}")
    fixed = 2 if any_size(deploy) else 4
    for name, shape in shapes.items():
        if len(shape) != 4 or min(shape) < 1 or shape[1:fixed] != declared[name][1:fixed]:
            sides = ("n", *declared[name][1:fixed], *("height", "width")[fixed - 2 :])
            wanted = ", ".join(map(str, sides))
            raise FaceAlignError(f"{where}: input {name!r} has shape {shape}, expected ({wanted})")
    trace(deploy, where, shapes)
