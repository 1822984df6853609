"""Weights files, read with our own schema and checked against a net before Caffe loads them.

Caffe ends the whole process on a bad file; every cause known is checked here first.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from facealign.arrays import Float32Array
from facealign.caffe_files.net_shapes import Shape, trace
from facealign.caffe_files.proto import caffe_pb2
from facealign.errors import FaceAlignError
from facealign.io.reading import read_bytes

Blobs = dict[str, list[Float32Array]]
"""Layer name -> its weight arrays, in Caffe's order."""


def named(path: Path) -> dict[str, str]:
    """Name and SHA-256 of a weights file."""
    return {"weights": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def read_weights(path: Path) -> Blobs:
    """Weights of a caffemodel, for the layers that have any.

    Raises FaceAlignError on a missing, truncated or empty file, and on weights that are not finite.
    """
    net = caffe_pb2.NetParameter()
    data = read_bytes(path, "expected weights (.caffemodel)")
    try:
        net.ParseFromString(data)
    except DecodeError as error:
        if path.suffix.lower() == ".onnx":
            raise FaceAlignError(f"{path}: by its name an ONNX file; expected a .caffemodel") from error
        raise FaceAlignError(f"{path}: truncated, or not a caffemodel; fetch or train it again") from error
    return blobs_of(net, str(path))


def blobs_of(net: caffe_pb2.NetParameter, where: str) -> Blobs:
    """Weight arrays of a net message; `where` names it in errors.

    Raises FaceAlignError when no layer has weights, or some are not finite or do not fill their shape.
    """
    result: Blobs = {}
    layers: list[caffe_pb2.LayerParameter | caffe_pb2.LegacyLayerParameter] = [*net.layer, *net.layers]
    for layer in layers:
        if layer.blobs:
            result[layer.name] = [_array(blob, f"{where}: layer {layer.name!r}") for blob in layer.blobs]
    if not result:
        raise FaceAlignError(f"{where}: no layer has weights: not a caffemodel")
    return result


def _array(blob: caffe_pb2.BlobProto, where: str) -> Float32Array:
    with np.errstate(over="ignore"):
        values = np.array(blob.data if blob.data else blob.double_data, dtype=np.float32)
    if blob.HasField("shape"):
        shape = list(blob.shape.dim)
    else:
        shape = [blob.num, blob.channels, blob.height, blob.width]
    if any(side < 0 for side in shape) or math.prod(shape) != values.size:
        raise FaceAlignError(f"{where}: {values.size} numbers do not fill the shape {shape}")
    if not np.isfinite(values).all():
        raise FaceAlignError(f"{where}: has weights that are not finite numbers")
    return values.reshape(shape)


def expected_shapes(deploy: caffe_pb2.NetParameter, where: str) -> dict[str, list[Shape]]:
    """Layer name -> the shapes of its weights, for a deploy net of the layer types this project uses.

    Raises FaceAlignError on any other layer type and on a bottom that no layer makes; see `trace`.
    """
    return trace(deploy, where).weights


def matching_weights(deploy: caffe_pb2.NetParameter, weights: Blobs, net: str, where: str) -> Blobs:
    """The weights of a deploy net's layers, matched by name and reshaped to the net's shapes.

    net, where: names of both files in errors. Old four-dimensional shapes such as (1, 1, 1, n) are accepted.
    Raises FaceAlignError, naming the layer, when its weights are missing or have other shapes.
    """
    result: Blobs = {}
    for name, shapes in expected_shapes(deploy, net).items():
        if name not in weights:
            raise FaceAlignError(f"{where}: no weights for layer {name!r} of {net}: made for another net?")
        blobs = weights[name]
        fits = len(blobs) == len(shapes) and all(
            _squeezed(blob.shape) == _squeezed(shape) for blob, shape in zip(blobs, shapes, strict=True)
        )
        if not fits:
            found = [blob.shape for blob in blobs]
            raise FaceAlignError(
                f"{where}: layer {name!r} has weights {found}, {net} wants {shapes}: made for another net?"
            )
        result[name] = [blob.reshape(shape) for blob, shape in zip(blobs, shapes, strict=True)]
    return result


def _squeezed(shape: Shape) -> Shape:
    return tuple(side for side in shape if side != 1)


def with_weights(deploy: caffe_pb2.NetParameter, blobs: Blobs) -> caffe_pb2.NetParameter:
    """The message of a caffemodel: the layers of `deploy`, with the arrays of `blobs` added by layer name."""
    net = caffe_pb2.NetParameter()
    net.CopyFrom(deploy)
    for layer in net.layer:
        for values in blobs.get(layer.name, []):
            blob = layer.blobs.add()
            blob.shape.dim.extend(values.shape)
            blob.data.extend(values.astype(np.float32).ravel().tolist())
    return net
