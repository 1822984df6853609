"""The original's files, as they are: image lists and HDF5, a solver for a GPU, BatchNorm's other default."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import caffe
import cv2
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tests import original_files
from tests.random_weights import random_landmarks

Array = NDArray[Any]


def write_image_list(folder: Path, name: str, count: int, weights: bool, seed: int) -> Path:
    """256x256 crops and the list that names them, with 136 landmarks and, perhaps, a weight behind each."""
    random = np.random.default_rng(seed)
    landmarks = random_landmarks(random, count)
    lines = []
    for i, row in enumerate(landmarks):
        path = folder / f"{name}_{i}.jpg"
        coarse = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        assert cv2.imwrite(str(path), cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC))
        numbers = [*row.tolist(), *([random.uniform(0.5, 2)] if weights else [])]
        lines.append(" ".join([str(path), *(f"{number:.6f}" for number in numbers)]) + "\n")
    source = folder / f"{name}.txt"
    source.write_text("".join(lines))
    return source


def write_hdf5_list(folder: Path, name: str, counts: Sequence[int], seed: int) -> tuple[Path, Array, Array]:
    """HDF5 files of so many samples each and the list that names them; also all images and landmarks."""
    random = np.random.default_rng(seed)
    images = random.uniform(-1, 1, (sum(counts), 3, 70, 60)).astype(np.float32)
    landmarks = random_landmarks(random, sum(counts))
    paths, start = [], 0
    for i, count in enumerate(counts):
        paths.append(folder / f"{name}_{i}.h5")
        with h5py.File(paths[-1], "w") as file:
            file["data"] = images[start : start + count]
            file["landmark"] = landmarks[start : start + count]
        start += count
    source = folder / f"{name}.txt"
    source.write_text("".join(f"{path}\n" for path in paths))
    return source, images, landmarks


def open_solver(folder: Path, net: str, **changes: str) -> Any:
    """A solver from the original's file on the net of this text, with fields replaced."""
    (folder / "model").mkdir()
    (folder / "train_val.prototxt").write_text(net)
    text = original_files.solver(f"{folder}/train_val.prototxt", f"{folder}/model/step2_1")
    for field, value in changes.items():
        assert text.count(f"{field}: ") == 1
        start = text.index(f"{field}: ")
        text = text[:start] + f"{field}: {value}" + text[text.index("\n", start) :]
    (folder / "solver.prototxt").write_text(text)
    # As the file asks for a GPU.
    caffe.set_mode_cpu()
    caffe.set_random_seed(3)
    return caffe.get_solver(str(folder / "solver.prototxt"))


def learned(net: Any) -> dict[str, list[Array]]:
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def loss_by_hand(net: Any) -> float:
    """Stage 2's loss: squared errors over the distance between the eyes, in the quirky way it is measured."""
    truth = net.blobs["landmark"].data.astype(float)
    error = net.blobs["fc4"].data - truth
    if "weight" in net.blobs:
        error *= net.blobs["weight"].data
    x, y = truth[:, :68], truth[:, 68:]
    distance = np.hypot(x[:, 36] - x[:, 42], y[:, 39] - y[:, 45])
    return float(np.mean(np.sum(error**2, axis=1) / distance) / 2)


def check_first_adam_step(before: dict[str, list[Array]], after: dict[str, list[Array]], layer: str) -> None:
    """Adam's first step is as long as the rate, whatever the gradient: 1e-4, and twice that for a bias."""
    for i, rate in ((0, 1e-4), (1, 2e-4)):
        step = np.abs(after[layer][i] - before[layer][i])
        assert np.median(step) == pytest.approx(rate, rel=0.02)
        assert step.max() < rate * 1.02


@pytest.mark.parametrize("hard_sample", [False, True], ids=["published", "hard_sample"])
def test_stage_2_trains_from_an_image_list(hard_sample: bool, tmp_path: Path) -> None:
    train = write_image_list(tmp_path, "train", 20, hard_sample, seed=1)
    test = write_image_list(tmp_path, "test", 5, hard_sample, seed=2)
    text = original_files.mobilenet_train_val(str(train), str(test), hard_sample)
    # 100 batches are too many for a test of ours.
    solver = open_solver(tmp_path, text, test_iter="1")
    assert isinstance(solver, caffe.AdamSolver)
    net, test_net = solver.net, solver.test_nets[0]
    for one in (net, test_net):
        assert one.blobs["data"].data.shape == (64, 3, 64, 64)
        assert one.blobs["landmark"].data.shape == (64, 136)
        assert ("weight" in one.blobs) == hard_sample
    learnt = [blobs for name, blobs in net.params.items() if not name.startswith("BatchNorm")]
    assert sum(blob.data.size for blobs in learnt for blob in blobs) == 349_738
    before = learned(net)
    solver.step(1)
    check_first_adam_step(before, learned(net), "fc4")
    solver.step(2)
    assert solver.iter == 3
    assert float(net.blobs["landmarkloss"].data) == pytest.approx(loss_by_hand(net), rel=1e-4)
    # Three batches of training, and one of the solver's test: with use_global_stats false it counts too.
    for i in range(1, 20):
        factor = net.params[f"BatchNorm{i}"][2].data
        np.testing.assert_allclose(factor, 1 + 0.99 + 0.99**2 + 0.99**3, rtol=1e-6)
    for name, blobs in learned(net).items():
        assert all(np.isfinite(blob).all() for blob in blobs)
        assert any((blob != old).any() for blob, old in zip(blobs, before[name], strict=True)), name

    solver.snapshot()
    (tmp_path / "deploy.prototxt").write_text(original_files.mobilenet_deploy())
    model = tmp_path / "model" / "step2_1_iter_3.caffemodel"
    deployed = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST, weights=str(model))
    deployed.forward(data=np.ones((1, 3, 64, 64), np.float32))
    assert np.isfinite(deployed.blobs["fc4"].data).all()
    for name, blobs in learned(net).items():
        for blob, kept in zip(blobs, deployed.params[name], strict=True):
            np.testing.assert_array_equal(blob, kept.data)


def test_training_pads_and_shuffles_and_testing_does_not(tmp_path: Path) -> None:
    source = write_image_list(tmp_path, "all", 100, False, seed=1)
    solver = open_solver(tmp_path, original_files.mobilenet_train_val(str(source), str(source)))
    labels = np.array([line.split()[1:] for line in source.read_text().splitlines()], dtype=np.float32)
    test_net, train_net = solver.test_nets[0], solver.net
    test_net.forward()
    np.testing.assert_array_equal(test_net.blobs["landmark"].data, labels[:64])
    first = cv2.resize(cv2.imread(str(tmp_path / "all_0.jpg")), (64, 64)).transpose(2, 0, 1)
    np.testing.assert_allclose(test_net.blobs["data"].data[0], (first - 127.5) / 128, atol=2 / 128)
    train_net.forward()
    # What was neither padded nor in its place in the list.
    drawn = train_net.blobs["landmark"].data
    rows = [np.flatnonzero((labels == row).all(axis=1)) for row in drawn]
    found = [int(row[0]) for row in rows if len(row)]
    # I = int(64 * 0.15) = 9: of -9..9, ten leave a sample as it is. Four deviations either way.
    assert len(found) / 64 == pytest.approx(10 / 19, abs=0.25)
    assert len(set(found)) == len(found)
    assert found != sorted(found)


def check_vgg_shadow(solver: Any, train: Array, test: Array, landmarks: Array, batch: int) -> None:
    """One step of training, and the four losses and the error of the test net by hand."""
    net, test_net = solver.net, solver.test_nets[0]
    before = learned(net)
    solver.step(1)
    # Without lr_mult a bias is as fast as its weights.
    step = np.abs(net.params["fc2"][1].data - before["fc2"][1])
    np.testing.assert_allclose(step, 1e-4, rtol=0.02)
    rows = np.arange(batch) % len(train)
    noise = net.blobs["data"].data - train[rows]
    # A thousandth of the root mean square of numbers spread evenly over -1..1.
    assert noise.std() == pytest.approx(0.001 / np.sqrt(3), rel=0.05)
    rows = np.arange(batch) % len(test)
    # The solver's own test has taken one batch, which ends with the files: this one starts anew.
    test_net.forward()
    np.testing.assert_array_equal(test_net.blobs["data"].data, test[rows])
    np.testing.assert_array_equal(test_net.blobs["landmark"].data, landmarks[rows])
    squares = (test_net.blobs["fc2"].data.astype(float) - landmarks[rows]).reshape(batch, 2, 68) ** 2
    by_point = squares.sum(axis=(0, 1)) / (2 * batch)
    coarse = np.array([18, 22, 23, 27, 37, 40, 43, 46, 28, 32, 36, 49, 55]) - 1
    expected = {
        "loss": by_point.sum(),
        "error": by_point.sum(),
        "main_loss": by_point[17:].sum(),
        "contour_loss": by_point[:17].sum(),
        "coarse_loss": by_point[coarse].sum(),
    }
    for name, value in expected.items():
        assert float(test_net.blobs[name].data) == pytest.approx(value, rel=1e-4), name


def test_vgg_shadow_trains_from_hdf5(tmp_path: Path) -> None:
    train, train_images, _ = write_hdf5_list(tmp_path, "train", [2, 1], seed=1)
    test, test_images, landmarks = write_hdf5_list(tmp_path, "test", [3, 1], seed=2)
    text = original_files.vgg_shadow_train_val(str(train), str(test))
    # 256 pictures take half a minute a step here.
    text = text.replace("batch_size: 256", "batch_size: 4")
    solver = open_solver(tmp_path, text, test_iter="1")
    check_vgg_shadow(solver, train_images, test_images, landmarks, batch=4)


@pytest.mark.slow
def test_vgg_shadow_trains_with_its_own_batches(tmp_path: Path) -> None:
    train, train_images, _ = write_hdf5_list(tmp_path, "train", [100, 156], seed=1)
    test, test_images, landmarks = write_hdf5_list(tmp_path, "test", [256], seed=2)
    text = original_files.vgg_shadow_train_val(str(train), str(test))
    solver = open_solver(tmp_path, text, test_iter="1")
    check_vgg_shadow(solver, train_images, test_images, landmarks, batch=256)


@pytest.mark.slow
def test_stage_2_learns_with_not_a_byte_changed(tmp_path: Path) -> None:
    train = write_image_list(tmp_path, "train", 64, False, seed=1)
    test = write_image_list(tmp_path, "test", 64, False, seed=2)
    solver = open_solver(tmp_path, original_files.mobilenet_train_val(str(train), str(test)))
    losses = []
    for _ in range(150):
        solver.step(1)
        losses.append(float(solver.net.blobs["landmarkloss"].data))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_the_command_trains_what_asks_for_a_gpu(tmp_path: Path) -> None:
    train = write_image_list(tmp_path, "train", 3, False, seed=1)
    (tmp_path / "train_val.prototxt").write_text(
        original_files.mobilenet_train_val(str(train), str(train)).replace("batch_size: 64", "batch_size: 4")
    )
    (tmp_path / "model").mkdir()
    text = original_files.solver("train_val.prototxt", "model/step2_1")
    text = text.replace("max_iter: 1000000", "max_iter: 3").replace("test_iter: 100", "test_iter: 1")
    assert "solver_mode: GPU" in text
    (tmp_path / "solver.prototxt").write_text(text)
    done = subprocess.run(
        [Path(sys.executable).parent / "caffe", "train", "--solver=solver.prototxt"],
        cwd=tmp_path,
        env={**os.environ, "GLOG_minloglevel": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Optimization Done" in done.stderr
    assert (tmp_path / "model" / "step2_1_iter_3.caffemodel").exists()


def batch_norm_net(parameters: str, more: str = "") -> str:
    return (
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }'
        ' layer { name: "n" type: "Noise" bottom: "d" top: "d" }'
        ' layer { name: "c" type: "ConvolutionDepthwise" bottom: "d" top: "c"'
        '  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "constant" value: 1 } } }'
        f' layer {{ name: "b" type: "BatchNorm" bottom: "c" top: "b" {parameters} }} {more}'
    )


OF_THE_FORK = """
    layer { name: "i" type: "InnerProduct" bottom: "b" top: "i" inner_product_param { num_output: 136 } }
    layer { name: "l" type: "WeightEuclideanLoss" bottom: "i" bottom: "t" top: "l" include { phase: TEST } }
    layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 136 } } }
"""


@pytest.mark.parametrize(
    ("parameters", "more", "fraction"),
    [
        ("", "", 0.999),
        ("batch_norm_param { moving_average_fraction: 0.9 }", "", 0.9),
        ("", OF_THE_FORK, 0.99),
        ("batch_norm_param { eps: 1e-3 }", OF_THE_FORK, 0.99),
        ("batch_norm_param { moving_average_fraction: 0.9 }", OF_THE_FORK, 0.9),
        ("batch_norm_param { moving_average_fraction: 0.999 }", OF_THE_FORK, 0.999),
    ],
)
def test_batch_norm_has_the_fork_s_default_in_nets_of_the_fork(
    parameters: str, more: str, fraction: float, tmp_path: Path, make_net: Callable[..., Any]
) -> None:
    net = make_net(batch_norm_net(parameters, more))
    data = np.random.default_rng(4).normal(3, 2, (2, 3, 4, 4)).astype(np.float32)
    for _ in range(2):
        net.blobs["d"].data[...] = data
        net.forward()
    factor = float(net.params["b"][2].data[0])
    assert factor == pytest.approx(1 + fraction, rel=1e-6)
    np.testing.assert_allclose(net.params["b"][0].data / factor, data.mean(axis=(0, 2, 3)), rtol=1e-4)
    # What is saved says it.
    net.save(str(tmp_path / "w"))
    saved = caffe.proto.caffe_pb2.NetParameter.FromString((tmp_path / "w").read_bytes())
    (layer,) = (layer for layer in saved.layer if layer.type == "BatchNorm")
    assert layer.batch_norm_param.moving_average_fraction == pytest.approx(fraction)


def test_the_fork_s_default_is_told_in_one_line_when_the_net_is_read(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    (tmp_path / "fork.prototxt").write_text(batch_norm_net("", OF_THE_FORK))
    (tmp_path / "plain.prototxt").write_text(batch_norm_net(""))
    code = (
        "import caffe\n"
        "caffe.Net('plain.prototxt', caffe.TRAIN).save('plain')\n"
        "net = caffe.Net('fork.prototxt', caffe.TRAIN)\n"
        "net.save('fork')\nnet.copy_from('plain')\nnet.copy_from('fork')"
    )
    done = run_python(code, GLOG_minloglevel="1")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "moving_average_fraction" in line]
    assert len(told) == 1
    assert "fork.prototxt: its BatchNorm layers without a moving_average_fraction get 0.99" in told[0]
