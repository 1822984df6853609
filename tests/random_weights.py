"""Weights and training data drawn at random: nets with weights, releases, small LMDBs; and nets in Caffe."""

import dataclasses
import math
from pathlib import Path

import lmdb
import numpy as np
import onnx
from google.protobuf import text_format

from facealign.caffe_files.caffemodel import expected_shapes, with_weights
from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.model_spec import ModelSpec
from facealign.engines.onnx_export import export_onnx
from facealign.engines.pycaffe import import_caffe
from facealign.networks import mobilenet_v2
from tests.upright_face import upright_face


def fill(deploy, rng):
    """A copy of a deploy net with blobs in every layer that learns."""
    blobs = {}
    kinds = {layer.name: layer.type for layer in deploy.layer}
    for name, shapes in expected_shapes(deploy, "net").items():
        kind, first = kinds[name], shapes[0]
        if kind == "BatchNorm":
            arrays = [rng.normal(0, 0.2, first), rng.uniform(0.5, 2.0, first), np.ones(1)]
        elif kind == "Scale":
            arrays = [rng.uniform(0.5, 1.5, first), *(rng.normal(0, 0.1, shape) for shape in shapes[1:])]
        elif kind == "PReLU":
            arrays = [rng.uniform(-0.2, 0.4, first)]
        elif first[0] == 136:
            # As of trained weights: landmarks about those of an upright face in the crop's middle.
            face = upright_face((0.5, 0.5), 0.6).T.ravel() + rng.normal(0, 0.01, shapes[1])
            arrays = [rng.normal(0, 0.004, first), face]
        else:
            gain = 1 if kind == "InnerProduct" else 2
            arrays = [rng.normal(0, math.sqrt(gain / math.prod(first[1:])), first)]
            arrays += [rng.normal(0, 0.1, shape) for shape in shapes[1:]]
        blobs[name] = arrays
    return with_weights(deploy, blobs)


def write_model(folder: Path, name="weights", seed=0, **changes) -> Path:
    """Write NAME.caffemodel, NAME.json, NAME.onnx and NAME.prototxt; `changes` are fields of the ModelSpec.

    Returns the path of the caffemodel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deploy = mobilenet_v2.deploy()
    (folder / f"{name}.prototxt").write_text(text_format.MessageToString(deploy))
    weights = fill(deploy, np.random.default_rng(seed))
    (folder / f"{name}.caffemodel").write_bytes(weights.SerializeToString())
    spec = dataclasses.replace(ModelSpec(deploy=f"{name}.prototxt"), **changes)
    (folder / f"{name}.json").write_text(spec.to_json())
    onnx.save(export_onnx(deploy, weights, spec), str(folder / f"{name}.onnx"))
    return folder / f"{name}.caffemodel"


def in_caffe(folder: Path, deploy, weights=None):
    """A deploy net in the real Caffe; the weights of the message `weights`, if given, are loaded by Caffe."""
    caffe = import_caffe()
    folder.mkdir(parents=True, exist_ok=True)
    net = folder / "net.prototxt"
    net.write_text(text_format.MessageToString(deploy))
    if weights is None:
        return caffe.Net(str(net), caffe.TEST)
    model = folder / "net.caffemodel"
    model.write_bytes(weights.SerializeToString())
    return caffe.Net(str(net), caffe.TEST, weights=str(model))


def caffe_outputs(net, data):
    """All outputs of a net in Caffe for the input blob `data`."""
    net.blobs["data"].reshape(*data.shape)
    net.reshape()
    net.blobs["data"].data[...] = data
    return {name: values.copy() for name, values in net.forward().items()}


def random_landmarks(rng, n):
    """(n, 136): 68 x values, then 68 y values, within the crop; the eyes are apart."""
    values = rng.uniform(0.1, 0.9, (n, 136))
    values[:, 36], values[:, 42] = 0.3, 0.7
    return values.astype(np.float32)


def write_lmdbs(directory: Path, size, n=6, seed=0):
    """Write {train,val}_{images,landmarks}, n random samples of height and width `size` each.

    Returns part -> (images (n, 3, height, width) uint8, landmarks (n, 136)).
    """
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    result = {}
    for part in ("train", "val"):
        images = rng.integers(0, 256, (n, 3, *size), dtype=np.uint8)
        landmarks = random_landmarks(rng, n)
        pictures = [
            caffe_pb2.Datum(channels=3, height=size[0], width=size[1], data=image.tobytes())
            for image in images
        ]
        points = [
            caffe_pb2.Datum(channels=136, height=1, width=1, float_data=row.tolist()) for row in landmarks
        ]
        for kind, data in (("images", pictures), ("landmarks", points)):
            with (
                lmdb.open(str(directory / f"{part}_{kind}"), map_size=1 << 24) as database,
                database.begin(write=True) as transaction,
            ):
                for index, datum in enumerate(data):
                    transaction.put(b"%08d" % index, datum.SerializeToString())
        result[part] = images, landmarks
    return result
