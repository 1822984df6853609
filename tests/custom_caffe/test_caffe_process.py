"""The wheel as a whole: beside the other libraries in a process, its messages, NetSpec, and the command."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import cv2
import numpy as np
import pytest
from caffe import layers, net_spec
from caffe.proto import caffe_pb2

# Real work on every side: pictures written, read and resized by both OpenCVs, both protobufs at work.
WORK = """
import os, tempfile
import numpy
picture = numpy.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=numpy.uint8)
def work_cv2(cv2):
    cv2.setNumThreads(2)
    ok, code = cv2.imencode(".png", cv2.GaussianBlur(cv2.resize(picture, (32, 32)), (3, 3), 0))
    assert ok and cv2.imdecode(code, cv2.IMREAD_COLOR).shape == (32, 32, 3)
    cv2.imwrite("x.png", picture)
def work_caffe(caffe):
    open("list", "w").write("x.png 1 2\\n")
    open("net", "w").write('''
layer { name: "d" type: "ImageFloatData" top: "d" top: "l" image_float_data_param { label_dim: 2 }
  image_data_param { source: "list" batch_size: 2 new_height: 16 new_width: 16 } }
layer { name: "c" type: "ConvolutionDepthwise" bottom: "d" top: "c"
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "i" type: "InnerProduct" bottom: "c" top: "i"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }''')
    caffe.set_random_seed(1)
    net = caffe.Net("net", caffe.TRAIN)
    net.forward()
    net.save("w.caffemodel")
    message = caffe.proto.caffe_pb2.NetParameter()
    message.ParseFromString(open("w.caffemodel", "rb").read())
    assert len(message.layer) == 3
    return net.blobs["i"].data.tobytes()
def work_onnx(onnx):
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["a"], ["b"])], "g",
        [onnx.helper.make_tensor_value_info("a", 1, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("b", 1, [1, 3, 8, 8])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, "m.onnx")
    import cv2
    net = cv2.dnn.readNetFromONNX("m.onnx")
    net.setInput(numpy.ones((1, 3, 8, 8), numpy.float32))
    assert net.forward().sum() == 192
"""


@pytest.mark.parametrize("order", list(itertools.permutations(["cv2", "caffe", "onnx"])), ids="-".join)
def test_works_beside_the_other_libraries_in_any_order_of_import(
    order: tuple[str, ...], run_python: Callable[..., Any]
) -> None:
    code = "".join(f"import {name}\n" for name in order) + WORK
    code += "work_cv2(cv2)\nfirst = work_caffe(caffe)\nwork_onnx(onnx)\n"
    code += "work_cv2(cv2)\nassert work_caffe(caffe) == first\n"
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_images_are_the_same_through_both_opencvs(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "x.png"), picture)
    (tmp_path / "list").write_text(f"{tmp_path}/x.png 1\n")
    net = make_net(
        'layer { name: "d" type: "ImageFloatData" top: "d" top: "l" '
        f'image_data_param {{ source: "{tmp_path}/list" }} }}'
    )
    net.forward()
    np.testing.assert_array_equal(net.blobs["d"].data[0], picture.transpose(2, 0, 1))


def test_nothing_is_said_at_log_level_2(run_python: Callable[..., Any]) -> None:
    code = (
        'import os; os.environ["GLOG_minloglevel"] = "2"; import caffe\n'
        'text = \'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 } } }\'\n'
        'open("n", "w").write(text)\n'
        'caffe.Net("n", caffe.TEST).forward()'
    )
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_field_numbers() -> None:
    numbers = {
        "LayerParameter": {
            "noise_param": 207, "weight_euclidean_loss_param": 242, "image_float_data_param": 245,
        },
        "NoiseParameter": {"gaussian_std": 1, "uniform_range": 2, "bias": 3},
        "WeightEuclideanLossParameter": {
            "contour_weight": 1, "main_weight": 2, "coarse_weight": 3, "normalized": 4, "normalized_type": 5,
        },
        "ImageFloatDataParameter": {
            "is_regression": 1, "label_dim": 2, "hard_sample": 3, "with_heatmap": 4, "heatmap_dir": 5,
        },
        "TransformationParameter": {"crop_h": 8, "crop_w": 9, "center_crop": 10, "pad_ratio": 11},
    }  # fmt: skip
    for message, fields in numbers.items():
        described = getattr(caffe_pb2, message).DESCRIPTOR.fields_by_name
        assert {name: described[name].number for name in fields} == fields
    weights = caffe_pb2.WeightEuclideanLossParameter()
    assert (weights.contour_weight, weights.main_weight, weights.coarse_weight) == (1, 1, 1)
    assert (weights.normalized, weights.normalized_type) == (0, 0)
    floats = caffe_pb2.ImageFloatDataParameter()
    assert (floats.is_regression, floats.label_dim) == (True, 1)
    assert (floats.hard_sample, floats.with_heatmap) == (False, False)


def test_netspec_knows_our_layers() -> None:
    net = net_spec.NetSpec()
    net.data, net.landmark = layers.ImageFloatData(
        image_data_param={"source": "unused", "batch_size": 64}, label_dim=136, ntop=2
    )
    net.noisy = layers.Noise(net.data, gaussian_std=0.001, in_place=True)
    net.conv = layers.ConvolutionDepthwise(
        net.noisy, convolution_param={"num_output": 3, "kernel_size": 3, "weight_filler": {"type": "msra"}}
    )
    net.loss = layers.WeightEuclideanLoss(net.conv, net.landmark, normalized=1)
    message = net.to_proto()
    assert [layer.type for layer in message.layer] == [
        "ImageFloatData", "Noise", "ConvolutionDepthwise", "WeightEuclideanLoss",
    ]  # fmt: skip
    assert message.layer[0].image_float_data_param.label_dim == 136
    assert message.layer[1].noise_param.gaussian_std == pytest.approx(0.001)
    assert message.layer[3].weight_euclidean_loss_param.normalized == 1


def test_our_layers_are_registered() -> None:
    ours = {"ConvolutionDepthwise", "Noise", "WeightEuclideanLoss", "ImageFloatData", "LandmarkLoss"}
    assert ours | {"Python", "ImageData", "Data", "HDF5Data", "BatchNorm"} <= set(caffe.layer_type_list())


def test_the_command_trains_with_our_layers_and_a_python_layer(
    tmp_path: Path, run_caffe: Callable[..., Any]
) -> None:
    (tmp_path / "doubling.py").write_text(
        "import caffe\nclass Double(caffe.Layer):\n"
        "    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = 2 * bottom[0].data\n"
        "    def backward(self, top, down, bottom): bottom[0].diff[...] = 2 * top[0].diff\n"
    )
    (tmp_path / "net.prototxt").write_text("""
layer { name: "d" type: "DummyData" top: "d" top: "t" dummy_data_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 }
  shape { dim: 4 dim: 136 } data_filler { type: "gaussian" } data_filler { type: "constant" value: 0.5 } } }
layer { name: "n" type: "Noise" bottom: "d" top: "d" noise_param { gaussian_std: 0.001 } }
layer { name: "c" type: "ConvolutionDepthwise" bottom: "d" top: "c"
  convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "y" type: "Python" bottom: "c" top: "y" python_param { module: "doubling" layer: "Double" } }
layer { name: "p" type: "InnerProduct" bottom: "y" top: "p" inner_product_param { num_output: 136 } }
layer { name: "loss" type: "WeightEuclideanLoss" bottom: "p" bottom: "t" top: "loss" }
""")
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" type: "Adam" base_lr: 0.05 lr_policy: "fixed" max_iter: 60 display: 20'
        ' snapshot: 60 snapshot_prefix: "s" solver_mode: CPU random_seed: 1'
    )
    done = run_caffe("train", "--solver=solver.prototxt")
    assert done.returncode == 0, done.stderr
    assert "Optimization Done" in done.stderr
    assert (tmp_path / "s_iter_60.caffemodel").exists()
    losses = [float(line.rsplit(" ", 1)[1]) for line in done.stderr.splitlines() if ", loss = " in line]
    assert losses[-1] < losses[0] / 3

    resumed = run_caffe("train", "--solver=solver.prototxt", "--snapshot=s_iter_60.solverstate")
    assert resumed.returncode == 0, resumed.stderr
    timed = run_caffe("time", "--model=net.prototxt", "--iterations=2")
    assert timed.returncode == 0, timed.stderr


def test_the_command_names_its_uses(run_caffe: Callable[..., Any]) -> None:
    assert "caffe version 1.0.0" in run_caffe("--version").stdout
    usage = run_caffe()
    assert usage.returncode == 0, usage.stderr
    assert "commands:" in usage.stdout + usage.stderr
    assert run_caffe("train").returncode != 0
