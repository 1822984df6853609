"""ConvolutionDepthwise as others know it: OpenCV 4's reader of Caffe files gives the same for the same files.

Run by `make test-opencv4`: OpenCV 5 has no such reader, and nothing but this test uses it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from facealign.caffe_files.proto import caffe_pb2
from tests import original_files
from tests.original_files import layer
from tests.random_weights import caffe_outputs, fill, in_caffe

pytestmark = pytest.mark.opencv4

CHANNELS = 24


def normalised(number: int, blob: str) -> str:
    """BatchNorm, Scale and ReLU on a blob, in place."""
    return (
        layer(f"bn{number}", "BatchNorm", blob, blob, "batch_norm_param { use_global_stats: true }")
        + layer(f"scale{number}", "Scale", blob, blob, "scale_param { bias_term: true }")
        + layer(f"relu{number}", "ReLU", blob, blob, "relu_param { negative_slope: 0.01 }")
    )


def small_net(*depthwise: str) -> str:
    """A small MobileNet: for each convolution_param a depthwise and a pointwise convolution."""
    text = 'name: "small"\n' + layer(
        "data", "Input", "", "data", "input_param { shape { dim: 1 dim: 3 dim: 41 dim: 36 } }"
    )
    first = f"convolution_param {{ num_output: {CHANNELS} kernel_size: 3 stride: 2 pad: 1 bias_term: false }}"
    text += layer("conv", "Convolution", "data", "conv", first) + normalised(0, "conv")
    bottom = "conv"
    for i, param in enumerate(depthwise, start=1):
        param = f"convolution_param {{ num_output: {CHANNELS} {param} }}"
        text += layer(f"dw{i}", "ConvolutionDepthwise", bottom, f"dw{i}", param)
        text += normalised(2 * i - 1, f"dw{i}")
        point = f"convolution_param {{ num_output: {CHANNELS} kernel_size: 1 bias_term: false }}"
        text += layer(f"pw{i}", "Convolution", f"dw{i}", f"pw{i}", point) + normalised(2 * i, f"pw{i}")
        bottom = f"pw{i}"
    return text + layer("fc", "InnerProduct", bottom, "fc", "inner_product_param { num_output: 136 }")


PLAIN = "kernel_size: 3 pad: 1 bias_term: false"
NETS = {
    "3x3": small_net(PLAIN),
    "stride 2": small_net("kernel_size: 3 stride: 2 pad: 1 bias_term: false"),
    "stride 2, bias": small_net("kernel_size: 3 stride: 2 pad: 1"),
    "stride 3, no pad, bias": small_net("kernel_size: 3 stride: 3"),
    "no pad": small_net("kernel_size: 3 bias_term: false"),
    "wide pad, bias": small_net("kernel_size: 3 pad: 3"),
    "dilation 2": small_net("kernel_size: 3 pad: 2 dilation: 2 bias_term: false"),
    "dilation 3, stride 2, bias": small_net("kernel_size: 3 stride: 2 pad: 3 dilation: 3"),
    "5x5, stride 2": small_net("kernel_size: 5 stride: 2 pad: 2 bias_term: false"),
    "2x2, stride 2, bias": small_net("kernel_size: 2 stride: 2"),
    "1x1, bias": small_net("kernel_size: 1"),
    "a group for each channel": small_net(f"{PLAIN} group: {CHANNELS}"),
    "five in a row": small_net(
        PLAIN,
        "kernel_size: 3 stride: 2 pad: 1",
        "kernel_size: 3 pad: 2 dilation: 2 bias_term: false",
        "kernel_size: 5 stride: 2 pad: 2",
        PLAIN,
    ),
    "the original's": original_files.mobilenet_deploy(),
}


def in_opencv(folder: Path, data: NDArray[np.float32]) -> NDArray[np.float32]:
    """The output of the net.prototxt and net.caffemodel that in_caffe has written."""
    net = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    net.setInput(data)
    output: NDArray[np.float32] = net.forward()
    return output


@pytest.mark.parametrize("name", NETS)
def test_the_same_files_give_the_same_in_opencv_4(name: str, tmp_path: Path) -> None:
    deploy = text_format.Parse(NETS[name], caffe_pb2.NetParameter())
    net = in_caffe(tmp_path, deploy, fill(deploy, np.random.default_rng(1)))
    shape = net.blobs["data"].data.shape
    data = np.random.default_rng(2).uniform(-1, 1, (3, *shape[1:])).astype(np.float32)
    (expected,) = caffe_outputs(net, data).values()
    found = in_opencv(tmp_path, data)
    assert found.shape == expected.shape == (3, 136)
    # The pictures' answers must differ by much more than the allowed error.
    assert np.ptp(expected, axis=0).max() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)
