"""Convolutions by Winograd's F(4x4, 3x3) (steps/winograd.hpp) against sums in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from tests.custom_caffe.layer_checks import check_threads
from tests.custom_caffe.test_convolution_steps import UPSTREAM, Array, Case, exact

LEAST_CHANNELS, LEAST_PIXELS = 16, 512
"""Of input and output, and of all outputs of a batch: below, a plain sum is taken."""
BOUND = 8
"""A result's largest error, over eps * sqrt(terms of a sum) * the largest of either factor."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    case = Case(
        samples=draw(st.integers(1, 9)),
        channels=draw(st.integers(LEAST_CHANNELS, 80)),
        outputs=draw(st.integers(LEAST_CHANNELS, 80)),
        size=(draw(st.integers(3, 40)), draw(st.integers(3, 40))),
        pad=(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        bias=draw(st.booleans()),
    )
    assume(terms_of_a_weight(case) >= LEAST_PIXELS)
    return case


def terms_of_a_weight(case: Case) -> int:
    """The outputs of a channel in the batch, over which a weight's gradient is a sum."""
    height, width = (size + 2 * pad - 2 for size, pad in zip(case.size, case.pad, strict=True))
    return case.samples * height * width


def gradients(case: Case, data: Array, weights: Array, top_diff: Array) -> tuple[Array, Array]:
    """Those of the input and of the weights, in float64."""
    pad_h, pad_w = case.pad
    wide = np.pad(top_diff.astype(float), ((0, 0), (0, 0), (2, 2), (2, 2)))
    turned = weights.astype(float)[:, :, ::-1, ::-1]
    whole = np.einsum("noyxhw,ochw->ncyx", sliding_window_view(wide, (3, 3), (2, 3)), turned, optimize=True)
    height, width = case.size
    padded = np.pad(data.astype(float), ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    windows = sliding_window_view(padded, (3, 3), (2, 3))
    return (
        whole[:, :, pad_h : pad_h + height, pad_w : pad_w + width],
        np.einsum("ncyxhw,noyx->ochw", windows, top_diff.astype(float), optimize=True),
    )


def results(case: Case, directory: Path, engine: str = "") -> tuple[list[Array], list[Array], list[float]]:
    """Output, and gradients of input, weights and bias: found, exact, and the errors that are allowed."""
    path = directory / "net.prototxt"
    path.write_text("force_backward: true " + case.whole("c", engine))
    net = caffe.Net(str(path), caffe.TRAIN)
    random = np.random.default_rng(1)
    data = random.standard_normal(case.shape).clip(0).astype(np.float32)
    top_diff = random.standard_normal(net.blobs["c"].data.shape).astype(np.float32)
    params = [blob.data for blob in net.params["c"]]
    for values in params:
        values[...] = random.standard_normal(values.shape)
    net.blobs["c_in"].data[...] = data
    net.forward()
    for _ in range(2):  # parameters' gradients add up, the input's do not
        net.blobs["c"].diff[...] = top_diff
        net.backward()
    found = [net.blobs["c"].data, net.blobs["c_in"].diff, *(blob.diff / 2 for blob in net.params["c"])]
    wanted = [exact(case, data, params[0], params[1] if case.bias else None)]
    wanted += gradients(case, data, params[0], top_diff)
    factors = [
        (9 * case.channels, data, params[0]),
        (9 * case.outputs, top_diff, params[0]),
        (terms_of_a_weight(case), data, top_diff),
    ]
    if case.bias:
        wanted.append(top_diff.sum((0, 2, 3), dtype=float))
        # All factors are 1, none smaller: partial sums, and their rounding, are larger than of products.
        factors.append((terms_of_a_weight(case), np.full(1, 4.0), top_diff))
    eps = np.finfo(np.float32).eps
    allowed = [BOUND * eps * terms**0.5 * np.abs(a).max() * np.abs(b).max() for terms, a, b in factors]
    return found, wanted, allowed


def check(case: Case, directory: Path) -> None:
    """Output and gradients are within the bound."""
    for found, wanted, allowed in zip(*results(case, directory), strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= allowed


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 64, 64, (70, 60), bias=False),
        Case(2, 128, 100, (35, 30)),
        Case(4, 192, 192, (18, 15)),
        Case(16, 192, 256, (9, 8), pad=(0, 0)),
        Case(1, 16, 17, (3, 700), pad=(2, 0)),
        Case(40, 33, 16, (5, 5), pad=(3, 4)),
    ],
    ids=lambda case: f"{case.channels} to {case.outputs} on {case.size}",
)
@pytest.mark.usefixtures("every_isa")
def test_error_stays_within_the_bound(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.usefixtures("every_isa")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_error_stays_within_the_bound_for_any_size(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def test_it_is_taken_from_so_many_channels_and_pixels_on(tmp_path: Path) -> None:
    """A plain sum of whole numbers is exact; with square roots among its factors, Winograd's is not."""
    for case, plain in (
        (Case(2, LEAST_CHANNELS, LEAST_CHANNELS, (16, 16)), False),
        (Case(2, LEAST_CHANNELS - 1, LEAST_CHANNELS, (16, 16)), True),
        (Case(2, LEAST_CHANNELS, LEAST_CHANNELS - 1, (16, 16)), True),
        (Case(2, LEAST_CHANNELS, LEAST_CHANNELS, (16, 15)), True),
    ):
        path = tmp_path / "net.prototxt"
        path.write_text(case.whole("c"))
        net = caffe.Net(str(path), caffe.TEST)
        random = np.random.default_rng(2)
        for values in (net.blobs["c_in"].data, *(blob.data for blob in net.params["c"])):
            values[...] = random.integers(-9, 10, values.shape)
        net.forward()
        wanted = exact(case, net.blobs["c_in"].data, *(blob.data for blob in net.params["c"]))
        assert bool((net.blobs["c"].data == wanted).all()) == plain


def test_upstream_stays_selectable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(3, 20, 30, (20, 20))
    ours, upstream = (results(case, tmp_path, engine)[0] for engine in ("", UPSTREAM))
    monkeypatch.setenv("CAFFE_FUSE", "0")
    for a, b, c in zip(ours, upstream, results(case, tmp_path)[0], strict=True):
        np.testing.assert_array_equal(b, c)
        assert (a != b).any()


@pytest.mark.usefixtures("every_isa")
def test_results_do_not_depend_on_the_number_of_threads(run_python: Callable[..., Any]) -> None:
    check_threads(run_python, "force_backward: true " + Case(5, 40, 50, (40, 33)).whole("c"))


def test_what_a_thread_computed_before_does_not_matter(tmp_path: Path) -> None:
    case = Case(9, 17, 18, (9, 8))
    wanted = results(case, tmp_path)[0]
    path = tmp_path / "nan.prototxt"
    path.write_text("force_backward: true " + Case(9, 70, 90, (30, 31)).whole("c"))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["c_in"].data[...] = np.nan
    net.forward()
    net.blobs["c"].diff[...] = np.nan
    net.backward()
    for found, value in zip(results(case, tmp_path)[0], wanted, strict=True):
        np.testing.assert_array_equal(found, value)
