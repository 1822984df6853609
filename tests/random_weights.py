"""Landmark weights drawn at random, written as a release is: `.caffemodel`, `.json` and `.onnx`."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx

from facealign.export import export_onnx
from facealign.networks import mobilenet_v2
from facealign.proto import caffe_pb2
from facealign.spec import ModelSpec


def first(values, default):
    return values[0] if len(values) else default


def fill(deploy, rng, side=64):
    """A copy of a deploy net with blobs in every layer that learns, of the shapes that Caffe expects."""
    net = caffe_pb2.NetParameter()
    net.CopyFrom(deploy)
    shapes = {"data": (3, side, side)}
    for layer in net.layer:
        if layer.type == "Input":
            continue
        channels, height, width = shapes[layer.bottom[0]]
        blobs = []
        if layer.type in ("Convolution", "ConvolutionDepthwise"):
            conv = layer.convolution_param
            kernel, stride, pad = first(conv.kernel_size, 1), first(conv.stride, 1), first(conv.pad, 0)
            group = channels if layer.type == "ConvolutionDepthwise" else conv.group
            fan_in = channels // group * kernel * kernel
            blobs.append(
                rng.normal(0, math.sqrt(2 / fan_in), (conv.num_output, channels // group, kernel, kernel))
            )
            if conv.bias_term:
                blobs.append(rng.normal(0, 0.1, conv.num_output))
            channels = conv.num_output
            height, width = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
        elif layer.type == "BatchNorm":
            blobs += [rng.normal(0, 0.2, channels), rng.uniform(0.5, 2.0, channels), np.ones(1)]
        elif layer.type == "Scale":
            blobs += [rng.uniform(0.5, 1.5, channels), rng.normal(0, 0.1, channels)]
        elif layer.type == "InnerProduct":
            outputs = layer.inner_product_param.num_output
            fan_in = channels * height * width
            last = outputs == 136
            blobs.append(rng.normal(0, 0.02 if last else math.sqrt(1 / fan_in), (outputs, fan_in)))
            blobs.append(rng.uniform(0.2, 0.8, outputs) if last else rng.normal(0, 0.1, outputs))
            channels, height, width = outputs, 1, 1
        shapes[layer.top[0]] = (channels, height, width)
        for values in blobs:
            blob = layer.blobs.add()
            blob.shape.dim.extend(values.shape)
            blob.data.extend(values.astype(np.float32).ravel().tolist())
    return net


def write_model(folder: Path, name="weights", seed=0, **changes) -> Path:
    """Write NAME.caffemodel, NAME.json, NAME.onnx and NAME.prototxt; `changes` are fields of the ModelSpec.

    Returns the path of the caffemodel.
    """
    from google.protobuf import text_format

    folder.mkdir(parents=True, exist_ok=True)
    deploy = mobilenet_v2.deploy()
    (folder / f"{name}.prototxt").write_text(text_format.MessageToString(deploy))
    weights = fill(deploy, np.random.default_rng(seed))
    (folder / f"{name}.caffemodel").write_bytes(weights.SerializeToString())
    spec = dataclasses.replace(ModelSpec(deploy=f"{name}.prototxt"), **changes)
    (folder / f"{name}.json").write_text(spec.to_json())
    onnx.save(export_onnx(deploy, weights, spec), str(folder / f"{name}.onnx"))
    return folder / f"{name}.caffemodel"
