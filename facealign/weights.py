"""Nets and weights as files: read with our own schema, and checked against each other before Caffe sees them.

Caffe ends the whole process on a bad file; everything it would die of is looked at here first.
"""

from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from facealign.arrays import Float32Array
from facealign.errors import FaceAlignError
from facealign.proto import caffe_pb2

Blobs = dict[str, list[Float32Array]]
"""Layer name -> its weight arrays, in Caffe's order."""


def read_net(path: Path) -> caffe_pb2.NetParameter:
    """Read a prototxt. Raises FaceAlignError, with the line where it is malformed."""
    net = caffe_pb2.NetParameter()
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), net, allow_unknown_field=True)
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; expected a deploy prototxt") from error
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise FaceAlignError(f"{path}: not a Caffe net: {error}") from error
    if not net.layer:
        raise FaceAlignError(f"{path}: not a Caffe net: it has no layer")
    return net


def read_weights(path: Path) -> Blobs:
    """Read a caffemodel; only layers that have weights are returned.

    Raises FaceAlignError on a missing, truncated or empty file, and on weights that are not finite.
    """
    net = caffe_pb2.NetParameter()
    try:
        net.ParseFromString(path.read_bytes())
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; expected weights (.caffemodel)") from error
    except IsADirectoryError as error:
        raise FaceAlignError(f"{path}: a folder; expected weights (.caffemodel)") from error
    except DecodeError as error:
        raise FaceAlignError(f"{path}: truncated, or not a caffemodel; fetch or train it again") from error
    return blobs_of(net, str(path))


def blobs_of(net: caffe_pb2.NetParameter, where: str) -> Blobs:
    """Weight arrays of a net message; `where` names it in errors."""
    result: Blobs = {}
    for layer in [*net.layer, *net.layers]:
        if layer.blobs:
            result[layer.name] = [_array(blob, f"{where}: layer {layer.name}") for blob in layer.blobs]
    if not result:
        raise FaceAlignError(f"{where}: no layer has weights: not a caffemodel")
    return result


def _array(blob: caffe_pb2.BlobProto, where: str) -> Float32Array:
    values = np.array(blob.data if blob.data else blob.double_data, dtype=np.float32)
    if blob.HasField("shape"):
        shape = list(blob.shape.dim)
    else:
        shape = [blob.num, blob.channels, blob.height, blob.width]
    if int(np.prod(shape)) != values.size:
        raise FaceAlignError(f"{where}: {values.size} numbers do not fill the shape {shape}")
    if not np.isfinite(values).all():
        raise FaceAlignError(f"{where}: has weights that are not finite numbers")
    return values.reshape(shape)


def _first(values: object, default: int) -> int:
    items = list(values)  # type: ignore[call-overload]
    return int(items[0]) if items else default


def _pooled(size: int, pool: caffe_pb2.PoolingParameter) -> int:
    ceil = pool.round_mode == caffe_pb2.PoolingParameter.CEIL
    span = size + 2 * pool.pad - pool.kernel_size
    return (-(-span // pool.stride) if ceil else span // pool.stride) + 1


def expected_shapes(deploy: caffe_pb2.NetParameter, where: str) -> dict[str, list[tuple[int, ...]]]:
    """Layer name -> the shapes of its weights, for a deploy net of the layer types this project uses.

    Raises FaceAlignError on another layer type and on a bottom that no layer makes.
    """
    tops: dict[str, tuple[int, ...]] = {}
    if deploy.input:
        dims = list(deploy.input_shape[0].dim) if deploy.input_shape else list(deploy.input_dim)
        tops[deploy.input[0]] = tuple(dims[1:])
    result: dict[str, list[tuple[int, ...]]] = {}
    for layer in deploy.layer:
        if layer.type == "Input":
            tops[layer.top[0]] = tuple(layer.input_param.shape[0].dim)[1:]
            continue
        for bottom in layer.bottom:
            if bottom not in tops:
                raise FaceAlignError(f"{where}: layer {layer.name}: no layer makes its bottom {bottom!r}")
        shape = tops[layer.bottom[0]]
        if layer.type in ("Convolution", "ConvolutionDepthwise"):
            conv = layer.convolution_param
            kernel, pad = _first(conv.kernel_size, 1), _first(conv.pad, 0)
            stride, dilation = _first(conv.stride, 1), _first(conv.dilation, 1)
            group = shape[0] if layer.type == "ConvolutionDepthwise" else conv.group
            weights: list[tuple[int, ...]] = [(conv.num_output, shape[0] // group, kernel, kernel)]
            if conv.bias_term:
                weights.append((conv.num_output,))
            reach = dilation * (kernel - 1) + 1
            sides = [(side + 2 * pad - reach) // stride + 1 for side in shape[1:]]
            result[layer.name], shape = weights, (conv.num_output, *sides)
        elif layer.type == "InnerProduct":
            inner = layer.inner_product_param
            weights = [(inner.num_output, int(np.prod(shape)))]
            if inner.bias_term:
                weights.append((inner.num_output,))
            result[layer.name], shape = weights, (inner.num_output,)
        elif layer.type == "BatchNorm":
            result[layer.name] = [(shape[0],), (shape[0],), (1,)]
        elif layer.type == "Scale":
            result[layer.name] = [(shape[0],)] * (2 if layer.scale_param.bias_term else 1)
        elif layer.type == "PReLU":
            result[layer.name] = [() if layer.prelu_param.channel_shared else (shape[0],)]
        elif layer.type == "Pooling":
            pool = layer.pooling_param
            shape = (shape[0], *(_pooled(side, pool) for side in shape[1:]))
        elif layer.type == "Flatten":
            shape = (int(np.prod(shape)),)
        elif layer.type not in ("ReLU", "Eltwise", "Dropout", "Softmax"):
            raise FaceAlignError(f"{where}: layer {layer.name}: type {layer.type} is not known here")
        for top in layer.top:
            tops[top] = shape
    return result


def matching_weights(deploy: caffe_pb2.NetParameter, weights: Blobs, net: str, where: str) -> Blobs:
    """The weights of a deploy net's layers, matched by name and brought to the net's shapes.

    net, where: names of both files in errors. Old four-dimensional shapes such as (1, 1, 1, n) are accepted.
    Raises FaceAlignError that names the layer when one is missing or has other shapes.
    """
    result: Blobs = {}
    for name, shapes in expected_shapes(deploy, net).items():
        if name not in weights:
            raise FaceAlignError(f"{where}: no weights for layer {name} of {net}: made for another net?")
        blobs = weights[name]
        fits = len(blobs) == len(shapes) and all(
            _squeezed(blob.shape) == _squeezed(shape) for blob, shape in zip(blobs, shapes, strict=True)
        )
        if not fits:
            found = [blob.shape for blob in blobs]
            raise FaceAlignError(
                f"{where}: layer {name} has weights {found}, {net} wants {shapes}: made for another net?"
            )
        result[name] = [blob.reshape(shape) for blob, shape in zip(blobs, shapes, strict=True)]
    return result


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)
