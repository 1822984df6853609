"""Blocks computed as one against the layers they stand for (CAFFE_FUSE=0), which have tests of their own."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.custom_caffe.conftest import WIDEST_ISA
from tests.custom_caffe.fused_nets import fused_layers, make

pytestmark = pytest.mark.usefixtures("every_isa")
Array = NDArray[Any]
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "prototxt/mobilenet_v2/stage2/deploy.prototxt"
WEIGHTS = ROOT / "models/mobilenet_v2_stage2.caffemodel"
FILLER = 'weight_filler { type: "gaussian" std: 0.4 }'


@dataclass(frozen=True)
class Block:
    """An inverted residual block's settings."""

    wide: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    slope: float = 0.01
    residual: bool = False
    grouped: bool = False  # a Convolution with groups in place of ConvolutionDepthwise

    @property
    def can_add(self) -> bool:
        """Whether its output is as large as its input, but for the channels."""
        return self.stride == 1 and 2 * self.pad == self.kernel - 1


def normalised(name: str, top: str, slope: float | None, global_stats: bool) -> str:
    """BatchNorm, Scale and, with a slope, ReLU, in place."""
    text = (
        f'layer {{ name: "{name}_norm" type: "BatchNorm" bottom: "{top}" top: "{top}" batch_norm_param {{'
        f" use_global_stats: {str(global_stats).lower()} moving_average_fraction: 0.9 }} }}\n"
        f'layer {{ name: "{name}_scale" type: "Scale" bottom: "{top}" top: "{top}"'
        ' scale_param { bias_term: true filler { type: "uniform" min: 0.5 max: 1.5 }'
        ' bias_filler { type: "gaussian" std: 0.3 } } }\n'
    )
    if slope is not None:
        text += (
            f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{top}" top: "{top}"'
            f" relu_param {{ negative_slope: {slope} }} }}\n"
        )
    return text


def convolution(kind: str, name: str, bottom: str, settings: str) -> str:
    """A convolution as prototxt."""
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}"'
        f" convolution_param {{ {settings} {FILLER} }} }}\n"
    )


def network(
    blocks: list[Block],
    shape: tuple[int, int, int, int],
    stem: int | None = None,
    global_stats: bool = False,
    engine: str = "",
) -> str:
    """A net of a first convolution with `stem` channels, if any, and blocks, with a loss of all it gives."""
    dims = " ".join(f"dim: {n}" for n in shape)
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { '
        + dims
        + " } } }\n"
        + ("force_backward: true\n" if stem is None else "")
    )
    bottom, channels = "data", shape[1]
    if stem is not None:
        text += convolution(
            "Convolution", "stem", bottom, f"num_output: {stem} kernel_size: 3 stride: 2 pad: 1"
        )
        text += normalised("stem", "stem", 0.01, global_stats)
        bottom, channels = "stem", stem
    for index, block in enumerate(blocks):
        a, b, c = f"expand{index}", f"filter{index}", f"project{index}"
        text += convolution(
            "Convolution", a, bottom, f"num_output: {block.wide} kernel_size: 1 bias_term: false {engine}"
        )
        text += normalised(a, a, block.slope, global_stats)
        kind = "Convolution" if block.grouped else "ConvolutionDepthwise"
        text += convolution(
            kind,
            b,
            a,
            f"num_output: {block.wide} kernel_size: {block.kernel} stride: {block.stride} pad: {block.pad}"
            f" bias_term: false {f'group: {block.wide}' if block.grouped else ''}",
        )
        text += normalised(b, b, block.slope, global_stats)
        outputs = channels if block.residual else block.outputs
        text += convolution("Convolution", c, b, f"num_output: {outputs} kernel_size: 1 bias_term: false")
        text += normalised(c, c, None, global_stats)
        if block.residual:
            text += (
                f'layer {{ name: "sum{index}" type: "Eltwise" bottom: "{bottom}" bottom: "{c}"'
                f' top: "sum{index}" }}\n'
            )
        bottom, channels = f"sum{index}" if block.residual else c, outputs
    text += (
        f'layer {{ name: "out" type: "InnerProduct" bottom: "{bottom}" top: "out" inner_product_param {{'
        f" num_output: 5 {FILLER} }} }}\n"
        'layer { name: "square" type: "Power" bottom: "out" top: "square" power_param { power: 2 } }\n'
        'layer { name: "loss" type: "Reduction" bottom: "square" top: "loss" loss_weight: 1 }\n'
    )
    return text


def both(path: Path, text: str, phase: int = caffe.TRAIN, seed: int = 7) -> tuple[Any, Any]:
    """The same net with its layers one by one, and fused."""
    path.write_text(text)
    nets = make(path, False, phase, seed), make(path, True, phase, seed)
    data = np.random.default_rng(seed).standard_normal(nets[0].blobs["data"].data.shape)
    for net in nets:
        net.blobs["data"].data[...] = data
    return nets


def parameters(net: Any) -> dict[str, Array]:
    """Every parameter of a net, by layer and index."""
    return {
        f"{name}/{i}": blob.data.copy() for name, blobs in net.params.items() for i, blob in enumerate(blobs)
    }


def gradients(net: Any) -> dict[str, Array]:
    """The gradient of every parameter of a net."""
    return {
        f"{name}/{i}": blob.diff.copy() for name, blobs in net.params.items() for i, blob in enumerate(blobs)
    }


def assert_close(found: dict[str, Array], wanted: dict[str, Array], tolerance: float) -> None:
    """Within tolerance of the largest value of each; of the largest of all, where that is rounding alone."""
    assert found.keys() == wanted.keys()
    largest = max(float(np.abs(value).max()) for value in wanted.values())
    for name, value in wanted.items():
        scale = max(float(np.abs(value).max()), 1e-2 * largest)
        assert np.abs(found[name] - value).max() <= tolerance * scale, name


blocks = st.builds(
    Block,
    # With fewer channels one that is all but constant decides the result, and rounding decides it.
    wide=st.integers(6, 70),
    outputs=st.integers(4, 40),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    pad=st.integers(0, 2),
    slope=st.sampled_from([0.0, 0.01, 0.25]),
    grouped=st.booleans(),
)


@given(data=st.data())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
def test_any_blocks(data: st.DataObject, tmp_path: Path) -> None:
    chain = []
    stem = data.draw(st.sampled_from([None, 3, 16, 17]))
    side = size = data.draw(st.integers(10, 20))
    side = (side + 1) // 2 if stem else side
    for block in data.draw(st.lists(blocks, min_size=1, max_size=3)):
        block = Block(**{**block.__dict__, "residual": block.can_add and data.draw(st.booleans())})
        side = (side + 2 * block.pad - block.kernel) // block.stride + 1
        if side < 1:
            break
        chain.append(block)
    if not chain:
        return
    shape = (data.draw(st.integers(2, 5)), data.draw(st.integers(1, 4)) if stem else 19, size, size)
    layers, fused = both(
        tmp_path / "net.prototxt", network(chain, shape, stem), seed=data.draw(st.integers(0, 99))
    )
    wide = 2e-2  # near 0 rounding decides a leaky ReLU's slope, and a gradient of a few pixels with it
    for net in (layers, fused):
        loss = net.forward()["loss"]
        net.clear_param_diffs()
        net.backward()
    assert loss == pytest.approx(layers.blobs["loss"].data, rel=1e-4)
    assert_close(parameters(fused), parameters(layers), 1e-4)
    found, wanted = (
        {**gradients(net), **({} if stem else {"data": net.blobs["data"].diff})} for net in (fused, layers)
    )
    assert_close(found, wanted, wide)
    last = list(layers.blobs)[-4]
    assert_close({last: fused.blobs[last].data}, {last: layers.blobs[last].data}, 1e-4)


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_the_published_net_gives_what_its_layers_give(batch: int) -> None:
    data = np.random.default_rng(batch).standard_normal((batch, 3, 64, 64)) / 2
    found: list[Array] = []
    for fused in (False, True):
        os.environ["CAFFE_FUSE"] = str(int(fused))
        net = caffe.Net(str(DEPLOY), str(WEIGHTS), caffe.TEST)
        del os.environ["CAFFE_FUSE"]
        net.blobs["data"].reshape(*data.shape)
        net.blobs["data"].data[...] = data
        found.append(net.forward()["fc4"].copy())
    np.testing.assert_allclose(found[1], found[0], atol=2e-6)


def test_blobs_inside_are_there_for_those_who_look(tmp_path: Path) -> None:
    text = network([Block(24, 8, residual=True), Block(32, 6, stride=2)], (3, 8, 9, 9))
    layers, fused = both(tmp_path / "net.prototxt", text)
    for net in (layers, fused):
        net.forward()
        net.backward()
    before = parameters(fused), gradients(fused)
    assert list(fused.blobs) == list(layers.blobs)
    for name in reversed(list(layers.blobs)):
        assert_close({name: fused.blobs[name].data}, {name: layers.blobs[name].data}, 1e-4)
        assert_close({name: fused.blobs[name].diff}, {name: layers.blobs[name].diff}, 1e-3)
    for now, then in zip((parameters(fused), gradients(fused)), before, strict=True):
        for name, value in then.items():
            np.testing.assert_array_equal(now[name], value, err_msg=name)


def test_passes_through_part_of_a_run(tmp_path: Path) -> None:
    text = network([Block(24, 8, residual=True), Block(32, 6, stride=2)], (3, 8, 9, 9))
    layers, fused = both(tmp_path / "net.prototxt", text)
    for net in (layers, fused):
        net.forward()
        net.blobs["filter1"].data[...] *= 2
        net.forward(start="project1")
        net.clear_param_diffs()
        net.backward(end="filter1")
        net.backward(start="expand1_relu")
    np.testing.assert_allclose(fused.blobs["out"].data, layers.blobs["out"].data, rtol=1e-4, atol=1e-4)
    assert_close(parameters(fused), parameters(layers), 1e-4)
    assert_close(gradients(fused), gradients(layers), 5e-3)
    # and the whole again
    for net in (layers, fused):
        net.forward()
        net.clear_param_diffs()
        net.backward()
    assert_close(gradients(fused), gradients(layers), 5e-3)


def test_new_weights_and_batches_are_seen(tmp_path: Path) -> None:
    text = network([Block(24, 8, residual=True)], (3, 8, 9, 9), stem=8, global_stats=True)
    layers, fused = both(tmp_path / "net.prototxt", text, caffe.TEST)
    rng = np.random.default_rng(1)
    for name in [
        "stem",
        "stem_norm",
        "expand0_scale",
        "filter0",
        "filter0_norm",
        "project0",
        "project0_norm",
    ]:
        for index in range(len(layers.params[name])):
            value = rng.uniform(0.5, 1.5, layers.params[name][index].data.shape)
            batch = rng.integers(1, 6)
            data = rng.standard_normal((batch, 8, 9, 9))
            for net in (layers, fused):
                net.params[name][index].data[...] = value
                net.blobs["data"].reshape(*data.shape)
                net.blobs["data"].data[...] = data
                net.forward()
            assert_close({"sum0": fused.blobs["sum0"].data}, {"sum0": layers.blobs["sum0"].data}, 1e-5)


def test_a_blob_outlives_its_net(tmp_path: Path) -> None:
    _, fused = both(tmp_path / "net.prototxt", network([Block(24, 8)], (3, 8, 9, 9)))
    fused.forward()
    blob = fused.blobs["filter0"]
    del fused
    gc.collect()
    assert np.isfinite(blob.data).all()


@WIDEST_ISA
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((), ["stem to project1_scale"]),
        (("engine: CAFFE",), []),
        (("stride: 2 pad: 1", "stride: 2 pad: 1 dilation: 2"), ["stem_stem_relu_0_split to sum0"]),
        (("kernel_size: 1 bias_term: false", "kernel_size: 1"), []),
        (('type: "Eltwise"', 'type: "Eltwise" eltwise_param { operation: MAX }'),
         ["expand0 to project0_scale", "expand1 to project1_scale"]),
        (('name: "loss"', 'name: "x" type: "Power" bottom: "filter1" top: "x" } layer { name: "loss"'),
         ["stem to sum0"]),
        (('name: "loss"', 'name: "x" type: "Power" bottom: "project0" top: "x" } layer { name: "loss"'),
         ["expand0 to project0_scale", "expand1 to project1_scale"]),
    ],
)  # fmt: skip
def test_which_layers_are_fused(
    change: tuple[str, ...], expected: list[str], run_python: Any, tmp_path: Path
) -> None:
    engine = change[0] if len(change) == 1 else ""
    text = network([Block(24, 16, residual=True), Block(32, 6, stride=2)], (3, 8, 9, 9), 16, engine=engine)
    if len(change) == 2:
        assert change[0] in text
        text = text.replace(*change)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    assert fused_layers(run_python, path, "TRAIN") == expected


@WIDEST_ISA
def test_the_published_net_is_fused_up_to_its_inner_products(run_python: Any) -> None:
    assert fused_layers(run_python, DEPLOY, "TRAIN") == ["conv1 to fuse7"]


@WIDEST_ISA
def test_results_do_not_depend_on_the_number_of_threads(run_python: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(network([Block(24, 16, residual=True), Block(32, 6, stride=2)], (9, 3, 20, 20), 16))
    code = f"""
import hashlib, numpy as np, caffe
caffe.set_random_seed(1)
net = caffe.Net({str(path)!r}, caffe.TRAIN)
net.blobs["data"].data[...] = np.random.default_rng(0).standard_normal((9, 3, 20, 20))
net.forward(); net.backward()
values = [blob.data for blobs in net.params.values() for blob in blobs]
values += [blob.diff for blobs in net.params.values() for blob in blobs]
print(hashlib.sha256(b"".join(v.tobytes() for v in values)).hexdigest())
"""
    printed = {
        run_python(code, OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS="1").stdout for n in ("1", "2", "3", "7")
    }
    assert len(printed) == 1
    assert len(printed.pop().strip()) == 64


def test_two_hundred_iterations_of_training(tmp_path: Path) -> None:
    """Training is chaotic: what differs in rounding drifts apart, so only the first losses are the same."""
    text = network([Block(24, 16, residual=True), Block(32, 6, stride=2)], (8, 3, 20, 20), 16)
    text = text[: text.index('layer { name: "out"')]
    text += (
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 8 dim: 4 } } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "project1" top: "fc"'
        ' inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    )
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    solver_file = tmp_path / "solver.prototxt"
    solver_file.write_text(
        f'net: "{net}" type: "Adam" base_lr: 0.003 momentum: 0.9 lr_policy: "fixed" max_iter: 200'
        " random_seed: 3 weight_decay: 0.0005 snapshot_after_train: false solver_mode: CPU"
    )
    losses = []
    for fused in ("0", "1"):
        os.environ["CAFFE_FUSE"] = fused
        solver = caffe.get_solver(str(solver_file))
        del os.environ["CAFFE_FUSE"]
        rng = np.random.default_rng(5)
        losses.append([])
        for _ in range(200):
            data = rng.standard_normal((8, 3, 20, 20)).astype("f")
            solver.net.blobs["data"].data[...] = data
            solver.net.blobs["label"].data[...] = data.mean(axis=(2, 3)) @ np.ones((3, 4)) * 5
            solver.step(1)
            losses[-1].append(float(solver.net.blobs["loss"].data))
    layers, fused_losses = np.array(losses)
    np.testing.assert_allclose(fused_losses[:20], layers[:20], rtol=1e-3)
    assert layers[-50:].mean() < 0.5 * layers[:50].mean()
    assert fused_losses[-50:].mean() == pytest.approx(layers[-50:].mean(), rel=0.05)
