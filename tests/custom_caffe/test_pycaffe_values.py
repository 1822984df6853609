"""pycaffe takes NumPy's integers like int, and paths like str, wherever it takes these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from caffe import layers, net_spec

NET = (
    'layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 }'
    ' data_filler { type: "gaussian" } } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2'
    ' weight_filler { type: "gaussian" } } }\n'
    'layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }\n'
)
INTEGERS = (np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, np.intp)


class Index:
    """A whole number of any type."""

    def __index__(self) -> int:
        return 3


@pytest.fixture
def net_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


@pytest.fixture
def solver_file(net_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "solver.prototxt"
    path.write_text(
        f'net: "{net_file}" base_lr: 0.01 lr_policy: "fixed" max_iter: 3 snapshot_prefix: "{tmp_path}/s"'
    )
    return path


@pytest.mark.parametrize("kind", INTEGERS)
def test_numpy_integers(kind: Callable[[int], Any], net_file: Path, solver_file: Path) -> None:
    net = caffe.Net(str(net_file), kind(caffe.TEST), level=kind(0))
    net.blobs["ip"].reshape(kind(4), kind(5))
    assert tuple(net.blobs["ip"].shape) == (4, 5)
    net.layers[kind(1)].blobs.add_blob(kind(2), kind(1))
    assert tuple(net.layers[1].blobs[kind(2)].shape) == (2, 1)
    assert net.layers[kind(1)].type == "InnerProduct"
    net.forward()
    net._forward(kind(0), kind(2))
    net._backward(kind(2), kind(0))
    assert list(net._top_ids(kind(1))) == [1]
    solver = caffe.get_solver(str(solver_file))
    solver.step(kind(2))
    assert solver.iter == 2
    caffe.set_solver_count(kind(1))
    caffe.set_solver_rank(kind(0))


def test_seeds(net_file: Path) -> None:
    weights = []
    for seed in (3, np.int64(3), np.uint8(3), Index(), 4):
        caffe.set_random_seed(seed)
        weights.append(caffe.Net(str(net_file), caffe.TEST).params["ip"][0].data.copy())
    for other in weights[1:4]:
        np.testing.assert_array_equal(other, weights[0])
    assert (weights[4] != weights[0]).all()


def test_other_numbers_are_refused(net_file: Path) -> None:
    blob = caffe.Net(str(net_file), caffe.TEST).blobs["ip"]
    for wrong in (np.float32(2), 2.0, "2", None, np.array([2, 3])):
        with pytest.raises(TypeError):
            blob.reshape(wrong)
    for wrong in (2**31, np.int64(2**31), -(2**31) - 1):
        with pytest.raises(OverflowError):
            blob.reshape(wrong)
    with pytest.raises(OverflowError):
        caffe.set_random_seed(np.int64(-1))
    assert tuple(blob.shape) == (2, 2)


def test_paths(net_file: Path, solver_file: Path, tmp_path: Path) -> None:
    net = caffe.Net(net_file, caffe.TRAIN)
    net.save(tmp_path / "w.caffemodel")
    net.save_hdf5(tmp_path / "w.h5")
    weights = net.params["ip"][0].data.copy()
    for load in (
        lambda: caffe.Net(net_file, caffe.TEST, weights=tmp_path / "w.caffemodel"),
        lambda: caffe.Net(network_file=net_file, phase=caffe.TEST, weights=tmp_path / "w.h5"),
        lambda: caffe.Net(net_file, tmp_path / "w.caffemodel", caffe.TEST),
    ):
        np.testing.assert_array_equal(load().params["ip"][0].data, weights)
    other = caffe.Net(net_file, caffe.TEST)
    other.copy_from(tmp_path / "w.caffemodel")
    np.testing.assert_array_equal(other.params["ip"][0].data, weights)
    other.load_hdf5(tmp_path / "w.h5")

    for make in (caffe.get_solver, caffe.SGDSolver, caffe.AdamSolver):
        solver = make(solver_file)
        solver.step(1)
        solver.snapshot()
        solver.restore(tmp_path / "s_iter_1.solverstate")
        solver.solve(tmp_path / "s_iter_1.solverstate")
        assert solver.iter == 3
        solver.solve()
        solver.solve(None)


def test_a_path_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a net, übung.prototxt"
    path.write_text(NET)
    assert caffe.Net(path, caffe.TEST).forward()
    with pytest.raises(RuntimeError, match="übung2"):
        caffe.Net(tmp_path / "übung2", caffe.TEST)


def test_netspec(tmp_path: Path) -> None:
    net = net_spec.NetSpec()
    net.data, net.label = layers.ImageData(
        source=tmp_path / "list", batch_size=np.int64(4), ntop=2, transform_param={"crop_size": np.uint8(2)}
    )
    net.conv = layers.Convolution(net.data, num_output=np.int32(3), kernel_size=np.int64(3))
    message = net.to_proto()
    assert message.layer[0].image_data_param.source == str(tmp_path / "list")
    assert message.layer[0].image_data_param.batch_size == 4
    assert message.layer[0].transform_param.crop_size == 2
    assert list(message.layer[1].convolution_param.kernel_size) == [3]
