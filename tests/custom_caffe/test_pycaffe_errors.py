"""What Caffe refuses is a RuntimeError in Python, with layer and file, and the interpreter goes on."""

from __future__ import annotations

import gc
import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import caffe
import h5py
import numpy as np
import pytest

MakeNet = Callable[..., Any]
Run = Callable[..., Any]

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }\n'
PRODUCT = (
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2'
    ' weight_filler { type: "xavier" } } }\n'
)
SOLVER = 'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "s" '
DATA = (
    'layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 }'
    ' data_filler { type: "gaussian" } } }\n'
)
LOSS = 'layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of each test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(act: Callable[[], Any], *named: str) -> None:
    """RuntimeError of one line that has all that is named, each time."""
    for _ in range(2):
        with pytest.raises(RuntimeError) as caught:
            act()
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        for part in named:
            assert part in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (PRODUCT, ["Unknown bottom blob 'data' (layer 'ip', bottom index 0)"]),
        (
            INPUT + PRODUCT.replace("InnerProduct", "Outer"),
            ["Unknown layer type: Outer", "layer 'ip' (Outer)"],
        ),
        (INPUT + PRODUCT.replace("xavier", "xafier"), ["xafier", "layer 'ip' (InnerProduct)"]),
        (INPUT + PRODUCT.replace("num_output: 2", ""), ["layer 'ip' (InnerProduct)"]),
        (INPUT + PRODUCT.replace('top: "ip"', ""), ["layer 'ip' (InnerProduct)"]),
        (INPUT + INPUT, ["'data' produced by multiple sources", "layer 'data' (Input)"]),
        (INPUT + "layer { no_such_field: 1 }", ["line 2", "no_such_field"]),
        (INPUT + 'layer { name: "x" type: 3 }', ["line 2"]),
        (INPUT + "layer {", ["line 2"]),
    ],
    ids=range(9),
)
def test_a_net_that_cannot_be(text: str, named: list[str], make_net: MakeNet) -> None:
    refused(lambda: make_net(text), "net.prototxt", *named)
    assert make_net(INPUT + PRODUCT).forward()["ip"].shape == (2, 2)


def test_files_that_are_not_there() -> None:
    refused(lambda: caffe.get_solver("no_such_file.prototxt"), "File not found: no_such_file.prototxt")
    refused(lambda: caffe.SGDSolver("no_such_file.prototxt"), "File not found: no_such_file.prototxt")
    refused(lambda: caffe.Net("no_such_file.prototxt", caffe.TEST), "no_such_file.prototxt")


def test_shapes_that_do_not_fit(make_net: MakeNet) -> None:
    net = make_net(INPUT + PRODUCT)
    net.blobs["data"].reshape(2, 4)
    place = "[layer 'ip' (InnerProduct) of " + str(Path("net.prototxt").absolute())
    refused(net.reshape, "Input size incompatible with inner product parameters", place)
    refused(net.forward, "Input size incompatible with inner product parameters", place)
    refused(lambda: net.blobs["data"].reshape(2, -1), "Check failed: shape[i] >= 0 (-1 vs. 0)")
    refused(lambda: net.blobs["data"].reshape(*[1] * 40), "kMaxBlobAxes (40 vs. 32)")
    net.blobs["data"].reshape(5, 3)
    assert net.forward()["ip"].shape == (5, 2)


CONVOLUTIONS = INPUT.replace("data", "image").replace(
    "dim: 2 dim: 3", "dim: 2 dim: 3 dim: 9 dim: 9"
) + "".join(
    f'layer {{ name: "c{i}" type: "Convolution" bottom: "{bottom}" top: "c{i}" convolution_param {{'
    ' num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }\n'
    f'layer {{ name: "r{i}" type: "ReLU" bottom: "c{i}" top: "c{i}" }}\n'
    for i, bottom in enumerate(["image", "c0", "c1"])
)


def test_shapes_that_do_not_fit_a_fused_chain(make_net: MakeNet) -> None:
    net = make_net(CONVOLUTIONS, caffe.TEST, seed=1)
    data = np.random.default_rng(0).standard_normal((2, 3, 9, 9))
    net.blobs["image"].data[...] = data
    before = net.forward()["c2"].copy()
    for shape in ((2, 4, 9, 9), (2, 3, 4, 4)):
        net.blobs["image"].reshape(*shape)
        refused(net.forward, "Check failed", "layer")
    net.blobs["image"].reshape(2, 3, 9, 9)
    net.blobs["image"].data[...] = data
    np.testing.assert_array_equal(net.forward()["c2"], before)


def test_layers_and_blobs_that_are_not_there(make_net: MakeNet) -> None:
    net = make_net(INPUT + PRODUCT)
    refused(lambda: net._forward(0, 7), "Check failed")
    refused(lambda: net._backward(9, 0), "Check failed")


def test_weights_of_another_net(make_net: MakeNet) -> None:
    make_net(INPUT.replace("dim: 3", "dim: 4") + PRODUCT).save("four.caffemodel")
    make_net(INPUT.replace("dim: 3", "dim: 4") + PRODUCT).save_hdf5("four.caffemodel.h5")
    net = make_net(INPUT + PRODUCT)
    before = net.params["ip"][0].data.copy()
    refused(lambda: net.copy_from("four.caffemodel"), "four.caffemodel", "layer 'ip'", "shape mismatch")
    refused(lambda: net.copy_from("four.caffemodel.h5"), "four.caffemodel.h5", "shape mismatch")
    refused(
        lambda: caffe.Net("net.prototxt", caffe.TEST, weights="four.caffemodel"),
        "four.caffemodel",
        "mismatch",
    )
    np.testing.assert_array_equal(net.params["ip"][0].data, before)
    with h5py.File("four.caffemodel.h5", "a"):  # closed, or it could not be opened to write
        pass


def test_files_that_cannot_be_written(make_net: MakeNet) -> None:
    net = make_net(INPUT + PRODUCT)
    refused(lambda: net.save("no/folder/x.caffemodel"), "Cannot write no/folder/x.caffemodel")
    refused(lambda: net.save_hdf5("no/folder/x.h5"), "no/folder/x.h5")


@pytest.fixture
def solver(folder: Path) -> Any:
    """A solver of a net with a snapshot of iteration 1 in both formats, and the weights alone."""
    (folder / "net.prototxt").write_text(DATA + PRODUCT + LOSS)
    for form in ("HDF5", "BINARYPROTO"):
        (folder / "solver.prototxt").write_text(SOLVER + f"snapshot_format: {form} momentum: 0.9")
        made = caffe.get_solver("solver.prototxt")
        made.step(1)
        made.snapshot()
    return made


STATES = ("s_iter_1.solverstate", "s_iter_1.solverstate.h5")
MODELS = ("s_iter_1.caffemodel", "s_iter_1.caffemodel.h5")


def test_snapshots_and_weights_taken_for_each_other(solver: Any) -> None:
    for model in MODELS:
        takes = f"{model} is a caffemodel; --snapshot takes the .solverstate (--weights takes a .caffemodel)"
        refused(lambda name=model: solver.restore(name), takes)  # type: ignore[misc]
    for state in STATES:
        takes = f"{state} is a solverstate; --weights takes a .caffemodel (--snapshot takes the .solverstate)"
        refused(lambda name=state: solver.net.copy_from(name), takes)  # type: ignore[misc]
    for other in ("net.prototxt", "absent"):
        refused(lambda name=other: solver.restore(name), other)  # type: ignore[misc]
        refused(lambda name=other: solver.net.copy_from(name), other)  # type: ignore[misc]
    assert solver.iter == 1
    for name in STATES:
        solver.restore(name)
    for name in MODELS:
        solver.net.copy_from(name)
    solver.step(1)
    assert solver.iter == 2


def test_a_state_of_another_net_changes_nothing(solver: Any, folder: Path) -> None:
    (folder / "net.prototxt").write_text(DATA + PRODUCT + PRODUCT.replace('"ip"', '"jp"') + LOSS)
    other = caffe.get_solver("solver.prototxt")
    before = other.net.params["ip"][0].data.copy()
    refused(lambda: other.restore(STATES[0]), STATES[0], "history", "of another net or solver type")
    np.testing.assert_array_equal(other.net.params["ip"][0].data, before)
    assert other.iter == 0
    refused(lambda: other.restore(STATES[1]), STATES[1], "history")


def test_prototxts_taken_for_each_other(solver: Any) -> None:
    refused(
        lambda: caffe.get_solver("net.prototxt"), "net.prototxt, line 1", "it is a net's file, not a solver's"
    )
    refused(
        lambda: caffe.Net("solver.prototxt", caffe.TEST),
        "solver.prototxt, line 1",
        "a solver's file, not a net's",
    )
    refused(lambda: caffe.Net("s_iter_1.caffemodel", caffe.TEST), "s_iter_1.caffemodel is a caffemodel")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("lr_policy: 'steep'", "Unknown learning rate policy: steep"),
        ("type: 'Eve'", "Unknown solver type: Eve"),
        ("snapshot: 1 snapshot_prefix: 'no/folder/x'", "no/folder/x"),
        ("weights: 'absent.caffemodel'", "absent.caffemodel"),
        ("test_iter: 1", "test_interval"),
        ("regularization_type: 'L3' weight_decay: 1", "Unknown regularization type: L3"),
    ],
)
def test_a_solver_that_cannot_be(settings: str, named: str, folder: Path) -> None:
    (folder / "net.prototxt").write_text(DATA + PRODUCT + LOSS)
    given = [field.split(":")[0] for field in re.findall(r"\w+: ", settings)]
    kept = [f for f in re.findall(r"\w+: \S+", SOLVER) if f.split(":")[0] not in given]
    (folder / "solver.prototxt").write_text(" ".join([*kept, settings]))
    refused(lambda: caffe.get_solver("solver.prototxt").step(1), named)


def test_errors_name_the_net_of_the_solver(folder: Path) -> None:
    (folder / "net.prototxt").write_text(DATA + PRODUCT.replace("xavier", "xafier") + LOSS)
    (folder / "solver.prototxt").write_text(SOLVER)
    refused(lambda: caffe.get_solver("solver.prototxt"), "layer 'ip' (InnerProduct) of net.prototxt")


def test_bytes_of_a_file_in_a_message_are_escaped(folder: Path) -> None:
    (folder / "n").write_text(DATA.replace("gaussian", "\\377\\001"))
    refused(lambda: caffe.Net("n", caffe.TEST), r"\xff")


LAYER = """
import caffe
class Raises(caffe.Layer):
    def at(self, where):
        if self.param_str == where:
            raise KeyError("raised in " + where)
    def setup(self, bottom, top): self.at("setup")
    def reshape(self, bottom, top):
        self.at("reshape")
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top): self.at("forward")
    def backward(self, top, down, bottom): self.at("backward")
"""


def python_layer(where: str) -> str:
    return (
        INPUT
        + PRODUCT
        + 'layer { name: "y" type: "Python" bottom: "ip" top: "y" python_param { module: "raising_layer"'
        f' layer: "Raises" param_str: "{where}" }} }}\n'
    )


@pytest.mark.parametrize("where", ["setup", "reshape", "forward", "backward"])
def test_a_python_layer_s_exception_stays_what_it_is(
    where: str, folder: Path, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "raising_layer.py").write_text(LAYER)
    monkeypatch.syspath_prepend(str(folder))

    def run() -> None:
        net = make_net("force_backward: true " + python_layer(where))
        net.forward()
        net.backward()

    with pytest.raises(KeyError, match=f"raised in {where}"):
        run()
    make_net("force_backward: true " + python_layer("nowhere")).forward()


def test_a_python_layer_whose_module_is_missing(make_net: MakeNet, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        make_net(python_layer("").replace("raising_layer", "no_such_module"))
    assert capfd.readouterr().err == ""


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def images(folder: Path, labels: Sequence[str]) -> str:
    import cv2

    assert cv2.imwrite(str(folder / "p.png"), np.zeros((4, 4, 3), np.uint8))
    (folder / "list").write_text("".join(f"p.png {label}\n" for label in labels))
    return 'layer { name: "d" type: "ImageData" top: "d" top: "l" image_data_param { source: "list" } }\n'


def test_a_net_that_fails_half_made_leaves_no_thread(folder: Path, make_net: MakeNet) -> None:
    text = images(folder, "123")
    make_net(text).forward()
    gc.collect()
    before = threads()
    for _ in range(20):
        with pytest.raises(RuntimeError, match="Unknown layer type: Outer"):
            make_net(text + PRODUCT.replace("InnerProduct", "Outer").replace('bottom: "data"', 'bottom: "d"'))
    assert threads() == before


def test_errors_come_from_many_threads_one_after_the_other() -> None:
    Path("bad.prototxt").write_text(INPUT + PRODUCT.replace("xavier", "xafier"))
    caught: list[str] = []

    def work() -> None:
        for _ in range(20):
            try:
                caffe.Net("bad.prototxt", caffe.TEST)
            except RuntimeError as error:
                caught.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(caught) == 80
    assert len(set(caught)) == 1


def test_nothing_is_printed(run_python: Run) -> None:
    code = (
        "import caffe\n"
        "for act in (lambda: caffe.get_solver('x'), lambda: caffe.Net('n', 1)):\n"
        "    open('n', 'w').write('layer { nonsense: 1 }')\n"
        "    try: act()\n"
        "    except RuntimeError as error: print('caught', error)\n"
        "print('the notebook goes on')"
    )
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"caught .*\bx\ncaught .*nonsense.*\nthe notebook goes on\n", done.stdout)


def test_a_message_of_all_kinds_of_checks(make_net: MakeNet) -> None:
    """CHECK and CHECK_EQ add what was checked, LOG(FATAL) does not."""
    text = (
        INPUT + 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { axis: 1 } }'
    )
    refused(lambda: make_net(text), "Check failed: ", "vs.", "layer 's' (Slice)")
