"""The CUDA kernels of our layers, their own source run on the CPU, against the CPU code in the real Caffe.

No GPU runs here: this checks what the kernels compute, not their speed, nor the lines that launch them.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.custom_caffe.test_convolution_depthwise import SQUARE, Case, cases

Array = NDArray[Any]
HERE = Path(__file__).resolve().parent
LAYERS = HERE.parents[1] / "custom_caffe" / "layers"

CALLS = {
    "conv_depthwise_layer": """
  extern "C" void forward(int n, int threads, const float* bottom, const float* weight, const float* bias,
      int channels, const Side* sides, float* top) {
    on_cpu::Launch(ForwardTop<float>, (n + threads - 1) / threads, threads, n, bottom, weight, bias, channels,
        sides[0], sides[1], top);
  }
  extern "C" void backward(int num, int count, int threads, const float* top_diff, const float* bottom,
      const float* weight, int channels, const Side* sides, float* weight_diff, float* bias_diff,
      float* bottom_diff) {
    const int taps = sides[0].kernel * sides[1].kernel;
    on_cpu::Launch(BackwardWeight<float>, channels * taps, kThreads, num, top_diff, bottom, channels,
        sides[0], sides[1], weight_diff);
    on_cpu::Launch(BackwardBias<float>, channels, kThreads, num, top_diff, channels,
        sides[0].out * sides[1].out, bias_diff);
    on_cpu::Launch(BackwardBottom<float>, (count + threads - 1) / threads, threads, count, top_diff,
        weight, channels, sides[0], sides[1], bottom_diff);
  }""",
    "image_float_data_layer": """
  extern "C" void split(int count, int threads, int columns, const float* rows, float* labels,
      float* weights) {
    on_cpu::Launch(SplitRows<float>, 2, threads, count, columns, rows, labels, weights);
  }""",
    "noise_layer": """
  extern "C" void gaussian(int n, int parts, int threads, const float* from, const float* noise,
      float* partial, float deviation, float bias, float* to) {
    on_cpu::Launch(SumSquares<float>, parts, kThreads, n, from, partial);
    on_cpu::Launch(AddScaledNoise<float>, (n + threads - 1) / threads, threads, n, from, noise, partial,
        parts, deviation, bias, to);
  }
  extern "C" void uniform(int n, int threads, const float* from, const float* noise, float low,
      float width, float* to) {
    on_cpu::Launch(AddUniformNoise<float>, 2, threads, n, from, noise, low, width, to);
  }
  extern "C" void bias(int n, int threads, const float* from, float bias, float* to) {
    on_cpu::Launch(AddBias<float>, 2, threads, n, from, bias, to);
  }""",
    "weight_euclidean_loss_layer": """
  extern "C" void loss(int num, const float* prediction, const float* target, const float* factor,
      bool by_sample, const float* weights, int distance, float* gradient, float* losses, float* total) {
    on_cpu::Launch(SampleLoss<float>, num, kThreads, num, prediction, target, factor, by_sample, weights,
        distance, gradient, losses);
    on_cpu::Launch(Sum<float>, 1, kThreads, num, losses, 0.5f, total);
  }
  extern "C" void scale(int n, int threads, const float* scale, float sign, const float* from, float* to) {
    on_cpu::Launch(ScaleBy<float>, (n + threads - 1) / threads, threads, n, scale, sign, from, to);
  }""",
}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ctypes.CDLL]:
    """A function that compiles the kernels of a layer for the CPU."""
    directory = tmp_path_factory.mktemp("kernels")
    libraries: dict[str, ctypes.CDLL] = {}

    def library(name: str) -> ctypes.CDLL:
        if name not in libraries:
            text = (LAYERS / f"{name}.cu").read_text()
            inside = re.search(r"^namespace \{$(.*?)^\}  // namespace$", text, re.MULTILINE | re.DOTALL)
            assert inside is not None
            source = directory / f"{name}.cpp"
            source.write_text(f'#include "kernels_on_cpu.hpp"\n{inside[1]}\n{CALLS[name]}\n')
            built = directory / f"{name}.so"
            command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{HERE}", source, "-o", built]
            subprocess.run(command, check=True)
            libraries[name] = ctypes.CDLL(str(built))
        return libraries[name]

    return library


def pointer(array: Array | None) -> ctypes.c_void_p:
    """The address of a contiguous float32 array, or NULL."""
    if array is None:
        return ctypes.c_void_p(None)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def check_convolution(case: Case, library: ctypes.CDLL, directory: Path, threads: int) -> None:
    path = directory / "net.prototxt"
    path.write_text("force_backward: true " + case.input("a") + case.layer("ConvolutionDepthwise", "a"))
    net = caffe.Net(str(path), caffe.TRAIN)
    random = np.random.default_rng(2)
    bottom, top = net.blobs["a_in"], net.blobs["a"]
    bottom.data[...] = random.standard_normal(bottom.data.shape)
    net.forward()
    top.diff[...] = random.standard_normal(top.data.shape)
    # Both add to what is there, as the gradients of a weight that layers share do.
    before = [random.standard_normal(blob.data.shape).astype(np.float32) for blob in net.params["a"]]
    for blob, values in zip(net.params["a"], before, strict=True):
        blob.diff[...] = values
    net.backward()

    sides = np.array(
        [
            [
                case.size[axis],
                top.data.shape[2 + axis],
                case.kernel[axis],
                case.stride[axis],
                case.pad[axis],
                case.dilation[axis],
            ]
            for axis in range(2)
        ],
        np.int32,
    )
    weight = net.params["a"][0].data.copy()
    bias = net.params["a"][1].data.copy() if case.bias else None
    data, diff = bottom.data.copy(), top.diff.copy()
    found = np.full_like(top.data, np.nan)
    side_pointer = ctypes.c_void_p(sides.ctypes.data)
    library.forward(
        found.size, threads, pointer(data), pointer(weight), pointer(bias), case.channels, side_pointer,
        pointer(found),
    )  # fmt: skip
    np.testing.assert_allclose(found, top.data, rtol=1e-5, atol=1e-5)

    weight_diff = before[0].copy()
    bias_diff = before[1].copy() if case.bias else np.zeros(case.channels, np.float32)
    bottom_diff = np.full_like(data, np.nan)
    library.backward(
        case.samples, bottom_diff.size, threads, pointer(diff), pointer(data), pointer(weight), case.channels,
        side_pointer, pointer(weight_diff), pointer(bias_diff), pointer(bottom_diff),
    )  # fmt: skip
    np.testing.assert_allclose(bottom_diff, bottom.diff, rtol=1e-5, atol=1e-5)
    scale = float(np.abs(net.params["a"][0].diff).max())
    np.testing.assert_allclose(weight_diff, net.params["a"][0].diff, rtol=1e-5, atol=1e-5 * scale)
    if case.bias:
        np.testing.assert_allclose(bias_diff, net.params["a"][1].diff, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("case", list(SQUARE.values())[:8], ids=list(SQUARE)[:8])
def test_convolution_kernels_are_the_cpu_s(
    case: Case, kernels: Callable[[str], ctypes.CDLL], tmp_path: Path
) -> None:
    check_convolution(case, kernels("conv_depthwise_layer"), tmp_path, threads=64)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), threads=st.sampled_from([1, 7, 32]))
def test_convolution_kernels_for_any_geometry(
    case: Case, threads: int, kernels: Callable[[str], ctypes.CDLL], tmp_path: Path
) -> None:
    check_convolution(case, kernels("conv_depthwise_layer"), tmp_path, threads)


@pytest.mark.parametrize("count", [1, 63, 5000])
@pytest.mark.parametrize("in_place", [False, True])
def test_gaussian_noise_kernel_scales_by_the_root_mean_square(
    count: int, in_place: bool, kernels: Callable[[str], ctypes.CDLL]
) -> None:
    random = np.random.default_rng(3)
    data = (5 * random.standard_normal(count)).astype(np.float32)
    noise = random.standard_normal(count).astype(np.float32)
    expected = data + 0.25 + 0.01 * np.sqrt(np.mean(data.astype(float) ** 2)) * noise
    partial = np.full(64, np.nan, np.float32)
    to = data if in_place else np.full_like(data, np.nan)
    kernels("noise_layer").gaussian(
        count, 64, 32, pointer(data), pointer(noise), pointer(partial), ctypes.c_float(0.01),
        ctypes.c_float(0.25), pointer(to),
    )  # fmt: skip
    np.testing.assert_allclose(to, expected, rtol=2e-6, atol=1e-6)


def test_uniform_noise_and_bias_kernels(kernels: Callable[[str], ctypes.CDLL]) -> None:
    random = np.random.default_rng(4)
    data = random.standard_normal(1000).astype(np.float32)
    noise = random.uniform(size=1000).astype(np.float32)
    to = np.full_like(data, np.nan)
    # Bias 0.5, range 2: from -1.5 to 2.5.
    kernels("noise_layer").uniform(
        1000, 32, pointer(data), pointer(noise), ctypes.c_float(-1.5), ctypes.c_float(4), pointer(to)
    )
    np.testing.assert_allclose(to, data - 1.5 + 4 * noise, rtol=1e-6, atol=1e-6)
    kernels("noise_layer").bias(1000, 32, pointer(data), ctypes.c_float(0.5), pointer(to))
    np.testing.assert_allclose(to, data + 0.5, rtol=1e-6)


@pytest.mark.parametrize("factors", [0, 1, 136], ids=["no factors", "one a sample", "one a value"])
@pytest.mark.parametrize("distance", [0, 1, 2], ids=["undivided", "inter-pupil", "bounding box"])
@pytest.mark.parametrize("num", [1, 5, 300])
def test_loss_kernels_are_the_cpu_s(
    num: int,
    distance: int,
    factors: int,
    kernels: Callable[[str], ctypes.CDLL],
    make_net: Callable[..., Any],
) -> None:
    shapes = [("p", 136), ("t", 136)] + ([("f", factors)] if factors else [])
    text = "force_backward: true "
    for name, size in shapes:
        shape = f"shape {{ dim: {num} dim: {size} }}"
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ {shape} }} }} '
    bottoms = " ".join(f'bottom: "{name}"' for name, _ in shapes)
    text += (
        f'layer {{ name: "loss" type: "WeightEuclideanLoss" {bottoms} top: "loss" loss_weight: 3'
        " weight_euclidean_loss_param { contour_weight: 0.5 main_weight: 2 coarse_weight: 7"
        f" normalized: {int(distance > 0)} normalized_type: {max(0, distance - 1)} }} }}"
    )
    net = make_net(text)
    random = np.random.default_rng(5)
    for name, _ in shapes:
        net.blobs[name].data[...] = random.uniform(0.1, 1, net.blobs[name].data.shape)
    net.forward()
    net.backward()

    prediction, target = net.blobs["p"].data.copy(), net.blobs["t"].data.copy()
    factor = net.blobs["f"].data.copy() if factors else None
    weights = np.full(68, 2, np.float32)
    weights[:17] = 0.5
    weights[np.array([18, 22, 23, 27, 37, 40, 43, 46, 28, 32, 36, 49, 55]) - 1] = 7
    gradient, scaled = np.full_like(prediction, np.nan), np.full_like(prediction, np.nan)
    losses, total = np.full(num, np.nan, np.float32), np.full(1, np.nan, np.float32)
    library = kernels("weight_euclidean_loss_layer")
    library.loss(
        num, pointer(prediction), pointer(target), pointer(factor), factors == 1, pointer(weights), distance,
        pointer(gradient), pointer(losses), pointer(total),
    )  # fmt: skip
    np.testing.assert_allclose(total[0], net.blobs["loss"].data, rtol=5e-5)
    library.scale(
        gradient.size, 32, pointer(np.array([3], np.float32)), ctypes.c_float(1), pointer(gradient),
        pointer(scaled),
    )  # fmt: skip
    np.testing.assert_allclose(scaled, net.blobs["p"].diff, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("num", "label_dim"), [(1, 1), (64, 136), (7, 4)])
def test_rows_are_split_into_labels_and_weights(
    num: int, label_dim: int, kernels: Callable[[str], ctypes.CDLL]
) -> None:
    rows = np.random.default_rng(6).standard_normal((num, label_dim + 1)).astype(np.float32)
    labels, weights = np.full((num, label_dim), np.nan, np.float32), np.full((num, 1), np.nan, np.float32)
    library = kernels("image_float_data_layer")
    library.split(rows.size, 32, label_dim + 1, pointer(rows), pointer(labels), pointer(weights))
    np.testing.assert_array_equal(labels, rows[:, :-1])
    np.testing.assert_array_equal(weights, rows[:, -1:])
