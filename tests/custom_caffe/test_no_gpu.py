"""A Caffe asked for a GPU where there is none, or built without CUDA: it says so once and runs on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(caffe.device_count() > 0, reason="this machine has a GPU")

NET = """
layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { type: "gaussian" } } }
layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "i" bottom: "t" top: "loss" }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3 display: 1 solver_mode: GPU'


def test_pycaffe_says_so_once_and_goes_on(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    done = run_python(
        "import caffe\ncaffe.set_device(0)\ncaffe.set_mode_gpu()\ncaffe.set_mode_gpu()\n"
        "net = caffe.Net('net.prototxt', caffe.TRAIN)\nnet.forward()\nnet.backward()\n"
        "caffe.set_random_seed(1)\nprint(caffe.device_count())",
        GLOG_minloglevel="2",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"
    messages = done.stderr.splitlines()
    assert len(messages) == 1
    assert "No GPU: " in messages[0]
    assert messages[0].endswith("Running on the CPU.")


@pytest.mark.parametrize("flags", [[], ["-gpu", "0"], ["-gpu", "all"]], ids=["solver_mode", "0", "all"])
def test_the_command_trains_all_the_same(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    done = subprocess.run(
        [Path(sys.executable).with_name("caffe"), "train", "-solver", "solver.prototxt", *flags],
        cwd=tmp_path,
        env={**os.environ, "GLOG_minloglevel": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("No GPU: ") == 1
    assert "Use CPU." in done.stderr
    assert "Iteration 2" in done.stderr
    assert "Optimization Done." in done.stderr


LAYERS = {
    "Convolution": "convolution_param { num_output: 2 kernel_size: 3 engine: CUDNN }",
    "Deconvolution": "convolution_param { num_output: 2 kernel_size: 3 engine: CUDNN }",
    "Pooling": "pooling_param { kernel_size: 2 engine: CUDNN }",
    "LRN": "lrn_param { engine: CUDNN }",
    "ReLU": "relu_param { engine: CUDNN }",
    "Sigmoid": "sigmoid_param { engine: CUDNN }",
    "Softmax": "softmax_param { engine: CUDNN }",
    "TanH": "tanh_param { engine: CUDNN }",
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_asked_of_cudnn_are_caffe_s_own(kind: str, make_net: Callable[..., Any]) -> None:
    nets = []
    for parameters in (LAYERS[kind], LAYERS[kind].replace("CUDNN", "CAFFE")):
        net = make_net(
            'layer { name: "x" type: "Input" top: "x" '
            "input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } } } "
            f'layer {{ name: "y" type: "{kind}" bottom: "x" top: "y" {parameters} }}'
        )
        net.blobs["x"].data[...] = np.random.default_rng(1).standard_normal((2, 3, 6, 6))
        for blob in net.params.get("y", []):
            blob.data[...] = np.random.default_rng(2).standard_normal(blob.data.shape)
        net.forward()
        nets.append(net)
    assert np.abs(nets[0].blobs["y"].data).max() > 0
    np.testing.assert_array_equal(nets[0].blobs["y"].data, nets[1].blobs["y"].data)
