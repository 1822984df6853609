"""Inner products, ReLU, max pooling and Adam by our kernels and upstream's way (CAFFE_FUSE=0); threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.custom_caffe.conftest import WIDEST_ISA

pytestmark = pytest.mark.usefixtures("every_isa")
Array = NDArray[Any]


@pytest.mark.parametrize("shape", [(1, 7, 5), (8, 1, 1), (9, 5, 300), (33, 136, 50), (64, 200, 1024)])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_inner_product(
    shape: tuple[int, int, int], bias: str, make_net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, outputs, inputs = shape
    net = make_net(
        f'layer {{ name: "x" type: "Input" top: "x"'
        f" input_param {{ shape {{ dim: {batch} dim: {inputs} }} }} }}"
        f' layer {{ name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{'
        f' num_output: {outputs} bias_term: {bias} weight_filler {{ type: "gaussian" std: 1 }}'
        ' bias_filler { type: "gaussian" std: 1 } } } force_backward: true'
    )
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((batch, inputs)), rng.standard_normal((batch, outputs))
    weights = net.params["y"][0].data.astype(float)
    for fuse in "01":
        monkeypatch.setenv("CAFFE_FUSE", fuse)
        net.blobs["x"].data[...] = x
        net.clear_param_diffs()
        net.forward()
        net.blobs["y"].diff[...] = dy
        net.backward()
        net.blobs["y"].diff[...] = dy
        net.backward()  # weights' gradients add up, the input's do not
        start = net.params["y"][1].data if bias == "true" else 0
        np.testing.assert_allclose(net.blobs["y"].data, x @ weights.T + start, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(net.blobs["x"].diff, dy @ weights, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(net.params["y"][0].diff, 2 * dy.T @ x, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("fuse", ["0", "1"])
def test_adam(fuse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps against Kingma and Ba's formulas; Caffe's epsilon is outside of the correction."""
    monkeypatch.setenv("CAFFE_FUSE", fuse)
    outputs, inputs, rate = 130, 150, 0.01
    (tmp_path / "net.prototxt").write_text(
        f'layer {{ name: "x" type: "Input" top: "x"'
        f" input_param {{ shape {{ dim: 16 dim: {inputs} }} }} }}"
        f' layer {{ name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{'
        f' num_output: {outputs} bias_term: false weight_filler {{ type: "gaussian" std: 0.1 }} }} }}'
        ' layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 0.1'
        " reduction_param { operation: SUMSQ } }"
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" type: "Adam" base_lr: {rate} lr_policy: "fixed"'
        " max_iter: 10 random_seed: 1 momentum: 0.9 momentum2: 0.99 delta: 1e-3 weight_decay: 0"
        " snapshot_after_train: false"
    )
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    weights = solver.net.params["y"][0].data.astype(float)
    m, v = np.zeros_like(weights), np.zeros_like(weights)
    rng = np.random.default_rng(0)
    for t in range(1, 11):
        x = rng.standard_normal((16, inputs))
        solver.net.blobs["x"].data[...] = x
        solver.step(1)
        g = 0.2 * (x @ weights.T).T @ x
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        weights -= rate * np.sqrt(1 - 0.99**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-3)
    np.testing.assert_allclose(solver.net.params["y"][0].data, weights, atol=1e-4)


def passes(net: Any, data: Array, top: str, monkeypatch: pytest.MonkeyPatch) -> list[list[Array]]:
    """Upstream's output and input's gradient, and ours."""
    found: list[list[Array]] = []
    for fuse in "01":
        monkeypatch.setenv("CAFFE_FUSE", fuse)
        net.blobs["x"].data[...] = data
        net.forward()
        net.blobs[top].diff[...] = np.random.default_rng(1).standard_normal(net.blobs[top].data.shape)
        net.backward()
        found.append([net.blobs[top].data.copy(), net.blobs["x"].diff.copy()])
    return found


@pytest.mark.parametrize("slope", [0, 0.01, -2])
@pytest.mark.parametrize("top", ["x", "y"])
def test_relu_is_the_same(slope: float, top: str, make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net(
        'force_backward: true layer { name: "x" type: "Input" top: "x"'
        " input_param { shape { dim: 3 dim: 12345 } } }"
        f' layer {{ name: "y" type: "ReLU" bottom: "x" top: "{top}"'
        f" relu_param {{ negative_slope: {slope} }} }}"
    )
    data = np.random.default_rng(0).standard_normal((3, 12345)).astype(np.float32)
    data[0, :4] = 0, -0.0, np.inf, np.nan
    upstream, ours = passes(net, data, top, monkeypatch)
    for found, wanted in zip(ours, upstream, strict=True):
        np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize(
    "window",
    [
        "kernel_size: 2 stride: 2",
        "kernel_size: 3 stride: 2",
        "kernel_size: 3 stride: 2 pad: 1",
        "kernel_h: 2 kernel_w: 5 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 4",
        "global_pooling: true",
    ],
)
def test_max_pooling_is_the_same(window: str, make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net(
        'force_backward: true layer { name: "x" type: "Input" top: "x"'
        " input_param { shape { dim: 3 dim: 5 dim: 13 dim: 11 } } }"
        f' layer {{ name: "y" type: "Pooling" bottom: "x" top: "y" pooling_param {{ pool: MAX {window} }} }}'
    )
    data = np.random.default_rng(0).integers(-3, 4, (3, 5, 13, 11))  # many equal ones
    upstream, ours = passes(net, data, "y", monkeypatch)
    for found, wanted in zip(ours, upstream, strict=True):
        np.testing.assert_array_equal(found, wanted)


NET = """
import os, threading, numpy as np, caffe
open("net.prototxt", "w").write('''
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 64 dim: 300 } } }
layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 200 weight_filler { type: "gaussian" std: 1 } } }''')
def run(net):
    net.blobs["x"].data[...] = np.random.default_rng(0).standard_normal((64, 300))
    expected = net.blobs["x"].data @ net.params["y"][0].data.T
    for _ in range(200):
        net.forward()
        assert np.allclose(net.blobs["y"].data, expected, atol=1e-3)
net = caffe.Net("net.prototxt", caffe.TEST)
run(net)
"""


@WIDEST_ISA
def test_a_child_process_has_threads_of_its_own(run_python: Any) -> None:
    code = NET + (
        "child = os.fork()\nrun(net)\nif child == 0: os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7; print('both')"
    )
    done = run_python(code, OMP_NUM_THREADS="3")
    assert done.stdout == "both\n", done.stderr


@WIDEST_ISA
def test_several_threads_at_once(run_python: Any) -> None:
    code = NET + (
        "nets = [caffe.Net('net.prototxt', caffe.TEST) for _ in range(4)]\n"
        "threads = [threading.Thread(target=run, args=(n,)) for n in nets]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; print('done')"
    )
    done = run_python(code, OMP_NUM_THREADS="3")
    assert done.stdout == "done\n", done.stderr


@WIDEST_ISA
def test_a_program_ends_while_threads_wait(run_python: Any) -> None:
    assert (
        run_python(NET + "print('end')", OMP_NUM_THREADS=str(4 * len(os.sched_getaffinity(0)))).returncode
        == 0
    )
