"""Convolution by our steps (steps/convolution_steps.hpp), by upstream's engine and by a sum in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tests.custom_caffe.conftest import WIDEST_ISA
from tests.custom_caffe.layer_checks import SPARED, check_linear_layer, check_spared, check_threads, sizes

pytestmark = pytest.mark.usefixtures("every_isa")
Array = NDArray[Any]
VGG_SHADOW = Path(__file__).parents[2] / "prototxt" / "vgg_shadow" / "deploy.prototxt"
UPSTREAM = "engine: CAFFE"


@dataclass(frozen=True)
class Case:
    """A convolution; pairs are (height, width)."""

    samples: int = 2
    channels: int = 3
    outputs: int = 5
    size: tuple[int, int] = (9, 8)
    kernel: tuple[int, int] = (3, 3)
    pad: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    group: int = 1
    bias: bool = True

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.samples, self.channels, *self.size)

    def whole(self, name: str, settings: str = "") -> str:
        """The layer and its input as prototxt."""
        return self.input(name) + self.layer(name, settings)

    def input(self, name: str) -> str:
        """The layer's input as prototxt."""
        dims = " ".join(f"dim: {n}" for n in self.shape)
        return (
            f'layer {{ name: "{name}_in" type: "Input" top: "{name}_in"'
            f" input_param {{ shape {{ {dims} }} }} }} "
        )

    def layer(self, name: str, settings: str = "", more: str = "") -> str:
        """The layer as prototxt, from `<name>_in` to `<name>`."""
        pairs = sizes(kernel_size=self.kernel, stride=self.stride, pad=self.pad, dilation=self.dilation)
        return (
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{name}_in" top: "{name}" {more}'
            f" convolution_param {{ num_output: {self.outputs} {pairs} group: {self.group} {settings}"
            f" bias_term: {int(self.bias)} "
            'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "gaussian" std: 1 } } }'
        )


CASES = {
    "3x3": Case(),
    "3x3, no padding": Case(pad=(0, 0), bias=False),
    "1x1": Case(kernel=(1, 1), pad=(0, 0)),
    "VGG-Shadow's first": Case(3, 3, 64, (70, 60), bias=False),
    "VGG-Shadow's last": Case(3, 192, 256, (9, 8), pad=(0, 0)),
    "wide as a band or wider": Case(2, 2, 3, (4, 700)),
    "many images": Case(70, 2, 17, (5, 6)),
    "many weights": Case(9, 512, 512, (4, 4)),
    "more padding than the filter reaches": Case(pad=(4, 3)),
    "dilated": Case(pad=(2, 3), dilation=(2, 3), size=(11, 10)),
    "unlike axes": Case(kernel=(2, 4), pad=(0, 2), dilation=(2, 1)),
    "stride 2": Case(stride=(2, 2)),
    "groups": Case(channels=4, outputs=6, group=2),
    "few pixels": Case(size=(3, 3), pad=(0, 0)),
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    group = draw(st.sampled_from([1, 1, 1, 2]))
    case = Case(
        samples=draw(st.integers(1, 20)),
        channels=group * draw(st.integers(1, 9)),
        outputs=group * draw(st.integers(1, 40)),
        size=pair(1, 40),
        kernel=pair(1, 5),
        pad=pair(0, 5),
        dilation=pair(1, 3),
        stride=draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (1, 2)])),
        group=group,
        bias=draw(st.booleans()),
    )
    for size, pad, dilation, kernel in zip(case.size, case.pad, case.dilation, case.kernel, strict=True):
        assume(size + 2 * pad > dilation * (kernel - 1))
    return case


def exact(case: Case, data: Array, weights: Array, bias: Array | None) -> Array:
    """The convolution in float64."""
    padded = np.pad(data.astype(float), [(0, 0), (0, 0), *((p, p) for p in case.pad)])
    reach = [d * (k - 1) + 1 for d, k in zip(case.dilation, case.kernel, strict=True)]
    windows = sliding_window_view(padded, reach, (2, 3))[
        :, :, :: case.stride[0], :: case.stride[1], :: case.dilation[0], :: case.dilation[1]
    ]
    parts = [
        np.einsum("ncyxhw,ochw->noyx", part, filters, optimize=True)
        for part, filters in zip(
            np.split(windows, case.group, 1), np.split(weights.astype(float), case.group), strict=True
        )
    ]
    return np.concatenate(parts, 1) + (0 if bias is None else bias[:, None, None])


def check(case: Case, directory: Path) -> None:
    """The layer gives what upstream's engine and the float64 sum do, and adds up gradients as upstream's.

    Of small whole numbers, whose sums are exact in any order.
    """
    path = directory / "pair.prototxt"
    path.write_text("force_backward: true " + case.whole("ours") + case.whole("upstream", UPSTREAM))
    net = caffe.Net(str(path), caffe.TRAIN)
    random = np.random.default_rng(1)
    data = random.integers(-3, 4, case.shape)
    top_diff = random.integers(-3, 4, net.blobs["ours"].data.shape)
    for ours, upstream in zip(net.params["ours"], net.params["upstream"], strict=True):
        ours.data[...] = upstream.data[...] = random.integers(-3, 4, ours.data.shape)
    for name in ("ours", "upstream"):
        net.blobs[f"{name}_in"].data[...] = data
    net.forward()
    for _ in range(2):  # parameters' gradients add up, the input's do not
        for name in ("ours", "upstream"):
            net.blobs[name].diff[...] = top_diff
        net.backward()
    values = [blob.data for blob in net.params["ours"]]
    wanted = exact(case, net.blobs["ours_in"].data, values[0], values[1] if case.bias else None)
    pairs = [(net.blobs["ours"].data, wanted), (net.blobs["ours"].data, net.blobs["upstream"].data)]
    pairs += [(net.blobs["ours_in"].diff, net.blobs["upstream_in"].diff)]
    pairs += [(a.diff, b.diff) for a, b in zip(net.params["ours"], net.params["upstream"], strict=True)]
    for found, value in pairs:
        assert found.shape == value.shape
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_equals_upstream(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_equals_upstream_for_any_geometry(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.parametrize(
    "name", ["3x3", "1x1", "more padding than the filter reaches", "dilated", "unlike axes"]
)
def test_gradients_agree_with_finite_differences(name: str, make_net: Callable[..., Any]) -> None:
    check_linear_layer(make_net("force_backward: true " + CASES[name].whole("c")))


@pytest.mark.parametrize(("more", "spared"), SPARED)
def test_gradients_that_are_not_asked_for_stay(more: str, spared: str, make_net: Callable[..., Any]) -> None:
    case = CASES["3x3"]
    check_spared(make_net, case.input("b"), case.layer("c", more=more), spared)


def run(net: Any, data: Array) -> list[Array]:
    """What the layer `c` computes of `data`: its output, and all gradients for the output as its own."""
    net.blobs["c_in"].data[...] = data
    net.clear_param_diffs()
    net.forward()
    net.blobs["c"].diff[...] = net.blobs["c"].data
    net.backward()
    blobs = [net.blobs["c_in"], *net.params["c"]]
    return [net.blobs["c"].data.copy(), *(blob.diff.copy() for blob in blobs)]


@pytest.mark.parametrize("name", ["3x3", "1x1", "unlike axes"])
def test_upstream_stays_selectable(
    name: str, make_net: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(CASES[name], channels=20, outputs=30)
    data = np.random.default_rng(3).standard_normal(case.shape)
    nets = [make_net("force_backward: true " + case.whole("c", engine), seed=1) for engine in ("", UPSTREAM)]
    ours, upstream = (run(net, data) for net in nets)
    monkeypatch.setenv("CAFFE_FUSE", "0")
    not_fused = run(nets[0], data)
    for found, wanted in zip(not_fused, upstream, strict=True):
        np.testing.assert_array_equal(found, wanted)
    # in another order of adding up
    assert any((a != b).any() for a, b in zip(ours, upstream, strict=True))


def test_what_a_thread_computed_before_does_not_matter(make_net: Callable[..., Any]) -> None:
    case = CASES["3x3"]
    net = make_net("force_backward: true " + case.whole("c"))
    larger = make_net("force_backward: true " + replace(case, size=(30, 31), channels=40).whole("c"))
    data = np.random.default_rng(3).standard_normal(case.shape)
    wanted = run(net, data)
    run(larger, np.array(np.nan))
    for found, value in zip(run(net, data), wanted, strict=True):
        np.testing.assert_array_equal(found, value)


@WIDEST_ISA
def test_results_do_not_depend_on_the_number_of_threads(run_python: Callable[..., Any]) -> None:
    check_threads(run_python, "force_backward: true " + Case(5, 6, 20, (40, 33)).whole("c"))


def test_vgg_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    caffe.set_random_seed(1)
    net = caffe.Net(str(VGG_SHADOW), caffe.TEST)
    data = np.random.default_rng(5).standard_normal((3, 3, 70, 60)) / 2
    net.blobs["data"].reshape(*data.shape)
    found = []
    for fuse in "01":
        monkeypatch.setenv("CAFFE_FUSE", fuse)
        net.blobs["data"].data[...] = data
        found.append(net.forward()["fc2"].copy())
    np.testing.assert_allclose(found[1], found[0], atol=2e-5 * np.abs(found[0]).max())
