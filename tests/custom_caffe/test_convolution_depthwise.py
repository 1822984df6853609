"""ConvolutionDepthwise against Convolution with a group for each channel, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.custom_caffe.conftest import WIDEST_ISA
from tests.custom_caffe.layer_checks import SPARED, check_linear_layer, check_spared, check_threads, sizes

pytestmark = pytest.mark.usefixtures("every_isa")
Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A convolution; pairs are (height, width)."""

    samples: int
    channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]
    bias: bool

    def layer(self, kind: str, name: str, more: str = "") -> str:
        """The layer as prototxt, from `<name>_in` to `<name>`."""
        pairs = sizes(kernel_size=self.kernel, stride=self.stride, pad=self.pad, dilation=self.dilation)
        group = f"group: {self.channels}" if kind == "Convolution" else ""
        return (
            f'layer {{ name: "{name}" type: "{kind}" bottom: "{name}_in" top: "{name}" {more}'
            f" convolution_param {{ num_output: {self.channels} {pairs} {group} bias_term: {int(self.bias)}"
            ' weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 } } }'
        )

    def input(self, name: str) -> str:
        """The layer's input as prototxt."""
        shape = " ".join(f"dim: {n}" for n in (self.samples, self.channels, *self.size))
        return (
            f'layer {{ name: "{name}_in" type: "Input" top: "{name}_in"'
            f" input_param {{ shape {{ {shape} }} }} }} "
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    case = Case(
        samples=draw(st.integers(1, 5)),
        channels=draw(st.integers(1, 4)),
        size=pair(1, 13),
        kernel=pair(1, 4),
        stride=pair(1, 3),
        pad=pair(0, 3),
        dilation=pair(1, 2),
        bias=draw(st.booleans()),
    )
    for axis in range(2):
        assume(case.size[axis] + 2 * case.pad[axis] > case.dilation[axis] * (case.kernel[axis] - 1))
    return case


SQUARE = {
    "3x3, stride 1": Case(2, 3, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1), True),
    "3x3, stride 2": Case(3, 2, (8, 8), (3, 3), (2, 2), (1, 1), (1, 1), True),
    "3x3, stride 2, odd size": Case(2, 2, (7, 9), (3, 3), (2, 2), (1, 1), (1, 1), False),
    "5x5": Case(1, 2, (7, 7), (5, 5), (1, 1), (2, 2), (1, 1), True),
    "dilated": Case(2, 2, (9, 8), (3, 3), (1, 1), (2, 2), (2, 2), True),
    "dilated, stride 2": Case(2, 2, (9, 8), (3, 3), (2, 2), (0, 1), (2, 2), True),
    "1x1, stride 3": Case(2, 2, (7, 8), (1, 1), (3, 3), (0, 0), (1, 1), True),
    "unlike axes": Case(2, 2, (6, 11), (2, 4), (1, 3), (0, 2), (2, 1), True),
    "many samples": Case(70, 2, (9, 7), (3, 3), (1, 1), (1, 1), (1, 1), True),
    "a large plane": Case(2, 2, (80, 90), (3, 3), (2, 2), (1, 1), (1, 1), True),
}


def both_ways(case: Case, directory: Path) -> Any:
    """A net with both layers side by side, with the same inputs and parameters, run forward and backward."""
    path = directory / "pair.prototxt"
    text = "force_backward: true "
    for kind, name in [("Convolution", "ours_not"), ("ConvolutionDepthwise", "ours")]:
        text += case.input(name) + case.layer(kind, name)
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TRAIN)
    random = np.random.default_rng(1)
    data = random.standard_normal(net.blobs["ours_in"].data.shape)
    top_diff = random.standard_normal(net.blobs["ours"].data.shape)
    for ours, other in zip(net.params["ours"], net.params["ours_not"], strict=True):
        assert ours.data.shape == other.data.shape
        ours.data[...] = other.data
    for name in ("ours", "ours_not"):
        net.blobs[f"{name}_in"].data[...] = data
    net.forward()
    for name in ("ours", "ours_not"):
        net.blobs[name].diff[...] = top_diff
    net.backward()
    return net


def assert_same(net: Any) -> None:
    """Both layers of the pair gave the same outputs and gradients, up to rounding."""
    pairs = [(net.blobs["ours"].data, net.blobs["ours_not"].data)]
    pairs += [(net.blobs["ours_in"].diff, net.blobs["ours_not_in"].diff)]
    pairs += [(a.diff, b.diff) for a, b in zip(net.params["ours"], net.params["ours_not"], strict=True)]
    for ours, other in pairs:
        assert ours.shape == other.shape
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(other).max())))


@pytest.mark.parametrize("case", SQUARE.values(), ids=SQUARE.keys())
def test_equals_convolution_with_a_group_a_channel(case: Case, tmp_path: Path) -> None:
    assert_same(both_ways(case, tmp_path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_equals_convolution_for_any_geometry(case: Case, tmp_path: Path) -> None:
    assert_same(both_ways(case, tmp_path))


@pytest.mark.parametrize("case", list(SQUARE.values())[:8], ids=list(SQUARE)[:8])
def test_gradients_agree_with_finite_differences(case: Case, make_net: Callable[..., Any]) -> None:
    text = "force_backward: true " + case.input("c") + case.layer("ConvolutionDepthwise", "c")
    check_linear_layer(make_net(text))


def test_parameter_gradients_add_up_and_the_data_gradient_does_not(make_net: Callable[..., Any]) -> None:
    case = SQUARE["3x3, stride 2"]
    net = make_net("force_backward: true " + case.input("c") + case.layer("ConvolutionDepthwise", "c"))
    net.blobs["c_in"].data[...] = np.random.default_rng(3).standard_normal(net.blobs["c_in"].data.shape)
    net.forward()
    net.blobs["c"].diff[...] = 1
    net.backward()
    once = [blob.diff.copy() for blob in (net.blobs["c_in"], *net.params["c"])]
    net.backward()
    np.testing.assert_array_equal(net.blobs["c_in"].diff, once[0])
    for blob, before in zip(net.params["c"], once[1:], strict=True):
        np.testing.assert_allclose(blob.diff, 2 * before, rtol=1e-6)


@pytest.mark.parametrize(("more", "spared"), SPARED)
def test_gradients_that_are_not_asked_for_stay(more: str, spared: str, make_net: Callable[..., Any]) -> None:
    case = SQUARE["3x3, stride 1"]
    check_spared(make_net, case.input("b"), case.layer("ConvolutionDepthwise", "c", more), spared)


@WIDEST_ISA
def test_results_do_not_depend_on_the_number_of_threads(run_python: Callable[..., Any]) -> None:
    case = Case(32, 24, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1), True)
    check_threads(
        run_python, "force_backward: true " + case.input("c") + case.layer("ConvolutionDepthwise", "c")
    )


def test_works_in_a_process_forked_after_it_used_threads(run_python: Callable[..., Any]) -> None:
    case = Case(32, 24, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1), True)
    text = "force_backward: true " + case.input("c") + case.layer("ConvolutionDepthwise", "c")
    code = f"""
import os, signal, caffe
open("net.prototxt", "w").write({text!r})
net = caffe.Net("net.prototxt", caffe.TRAIN)
net.forward()
net.backward()
child = os.fork()
if child == 0:
    signal.alarm(20)  # ends a child that waits for ever
    net.forward()
    net.backward()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
net.forward()
"""
    done = run_python(code, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("num_output: 4 kernel_size: 3", "num_output"),
        ("num_output: 3", "kernel_size"),
        ("num_output: 3 kernel_size: 9", "larger than the padded input"),
        ("num_output: 3 kernel_size: 3 group: 2", "group"),
    ],
)
def test_wrong_parameters_are_named(parameters: str, message: str, run_python: Callable[..., Any]) -> None:
    text = (
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 5 } } }'
        ' layer { name: "c" type: "ConvolutionDepthwise" bottom: "d" top: "c"'
        f" convolution_param {{ {parameters} }} }}"
    )
    done = run_python(f'import caffe\nopen("n", "w").write({text!r})\ncaffe.Net("n", caffe.TEST)')
    assert done.returncode != 0
    assert message in done.stderr
