"""The `caffe` command where it fails: one line that names the file, or the Python layer's traceback, and exit
code 1; and its log, which other programs read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

Run = Callable[..., Any]

DATA = (
    'layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"'
    " inner_product_param { num_output: 3 } }\n"
)
LOSS = 'layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "data" top: "loss" }\n'
SOLVER = (
    'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 snapshot: 1 snapshot_prefix: "tiny"'
    " solver_mode: CPU "
)
TRAIN = ("train", "--solver=solver.prototxt")
FATAL = re.compile(r"F\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \w+\.cpp:\d+\] (.*)")
"""A line of the log before its end, as every Caffe writes it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The command's folder, with a net and its solver."""
    (tmp_path / "net.prototxt").write_text(DATA + LOSS)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def refusal(done: Any) -> str:
    """What the last line says, which is the only one of its kind; no stack follows it."""
    assert done.returncode == 1
    lines = [FATAL.fullmatch(line) for line in done.stderr.splitlines()]
    assert [line is not None for line in lines] == [False] * (len(lines) - 1) + [True], done.stderr
    assert lines[-1] is not None
    return lines[-1][1]


def test_log_lines_begin_as_in_every_caffe(folder: Path, run_caffe: Run, run_python: Run) -> None:
    """Month and day, then the time: tools/extra's parsers, and DIGITS, read them."""
    done = run_caffe(*TRAIN)
    assert done.returncode == 0, done.stderr
    begins = r"[IWE](0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01]) \d\d:\d\d:\d\d\.\d{6} +\d+ \w+\.c(pp|u|c):\d+\] "
    solving = [line for line in done.stderr.splitlines() if line.endswith("] Solving ")]
    assert len(solving) == 1
    assert re.match(begins, solving[0])
    assert re.match(
        begins, run_python("import caffe; caffe.log('x')", GLOG_minloglevel="0").stderr.splitlines()[-1]
    )


def test_whoever_asks_for_the_year_gets_it(folder: Path, run_caffe: Run) -> None:
    for done in (run_caffe(*TRAIN, GLOG_log_year_in_prefix="1"), run_caffe(*TRAIN, "--log_year_in_prefix")):
        assert re.search(r"^I20\d{6} .*Solving", done.stderr, re.MULTILINE), done.stderr


def test_a_failed_check_is_the_last_line(folder: Path, run_caffe: Run) -> None:
    (folder / "net.prototxt").write_text(DATA.replace("num_output: 3", "num_output: 4") + LOSS)
    said = refusal(run_caffe(*TRAIN))
    assert said.startswith("Check failed: ")
    assert said.endswith("[layer 'loss' (EuclideanLoss) of net.prototxt]")


def test_the_line_is_printed_at_any_level_and_is_in_the_log_file(folder: Path, run_caffe: Run) -> None:
    (folder / "log").mkdir()
    (folder / "solver.prototxt").unlink()
    done = run_caffe(*TRAIN, "--log_dir=log", GLOG_minloglevel="3")
    assert "File not found: solver.prototxt" in refusal(done)
    files = list((folder / "log").glob("*.FATAL.*"))
    assert files
    assert all("File not found: solver.prototxt" in file.read_text() for file in files)


@pytest.mark.parametrize(
    "arguments", [("train",), ("no_such_action",), (*TRAIN, "--gpu=x"), ("time", "--phase=X")]
)
def test_wrong_usage_is_told_without_a_stack(
    arguments: tuple[str, ...], folder: Path, run_caffe: Run
) -> None:
    done = run_caffe(*arguments)
    assert done.returncode == 1
    assert "***" not in done.stderr
    assert "terminate" not in done.stderr


@pytest.fixture
def trained(folder: Path, run_caffe: Run) -> Path:
    """The folder after a training in each format of snapshots."""
    for form in ("HDF5", "BINARYPROTO"):
        (folder / "solver.prototxt").write_text(SOLVER + f"snapshot_format: {form}")
        assert run_caffe(*TRAIN).returncode == 0
    return folder


def test_snapshot_and_weights_taken_for_each_other(trained: Path, run_caffe: Run) -> None:
    for model in ("tiny_iter_1.caffemodel", "tiny_iter_1.caffemodel.h5"):
        said = refusal(run_caffe(*TRAIN, f"--snapshot={model}"))
        assert (
            f"{model} is a caffemodel; --snapshot takes the .solverstate (--weights takes a .caffemodel)"
            in said
        )
    for state in ("tiny_iter_1.solverstate", "tiny_iter_1.solverstate.h5"):
        said = refusal(run_caffe(*TRAIN, f"--weights={state}"))
        assert (
            f"{state} is a solverstate; --weights takes a .caffemodel (--snapshot takes the .solverstate)"
            in said
        )
    assert "net.prototxt is a text file" in refusal(run_caffe(*TRAIN, "--weights=net.prototxt"))
    assert "a net's file, not a solver's" in refusal(run_caffe("train", "--solver=net.prototxt"))


def test_an_hdf5_file_where_a_list_is_meant(folder: Path, run_caffe: Run) -> None:
    with h5py.File(folder / "faces.h5", "w") as file:
        file["data"] = np.zeros((2, 3))
    (folder / "net.prototxt").write_text(
        'layer { name: "d" type: "HDF5Data" top: "data"'
        ' hdf5_data_param { source: "faces.h5" batch_size: 2 } }'
    )
    said = refusal(run_caffe("time", "--model=net.prototxt", "--iterations=1"))
    assert said.startswith("faces.h5 is an HDF5 file; source names a text file that lists such files")


def test_an_error_while_data_is_read_ahead(folder: Path, run_caffe: Run) -> None:
    import cv2

    assert cv2.imwrite(str(folder / "p.png"), np.zeros((4, 4, 3), np.uint8))
    (folder / "list").write_text("p.png 1\n" * 20 + "absent.png 1\n")
    (folder / "net.prototxt").write_text(
        'layer { name: "d" type: "ImageData" top: "data" top: "l" image_data_param { source: "list" } }\n'
        'layer { name: "loss" type: "Reduction" bottom: "data" top: "loss" loss_weight: 1 }\n'
    )
    done = run_caffe("test", "--model=net.prototxt", "--weights=absent.caffemodel")
    assert "absent.caffemodel" in refusal(done)
    (folder / "solver.prototxt").write_text(SOLVER.replace("max_iter: 2 snapshot: 1", "max_iter: 50"))
    said = refusal(run_caffe(*TRAIN))
    assert "absent.png is missing" in said
    assert "layer 'd' (ImageData) of net.prototxt" in said


STRICT = """
import caffe
class Strict(caffe.Layer):
    def at(self, where):
        if self.param_str == where:
            raise ValueError("label 0 of sample 7 is below 1")
    def setup(self, bottom, top): self.at("setup")
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
        self.at("reshape")
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
        self.at("forward")
    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
        self.at("backward")
"""


@pytest.mark.parametrize("where", ["setup", "reshape", "forward", "backward"])
def test_a_python_layer_that_raises_ends_it_with_its_traceback(
    where: str, folder: Path, run_caffe: Run
) -> None:
    (folder / "strict_layer.py").write_text(STRICT)
    (folder / "net.prototxt").write_text(
        DATA
        + 'layer { name: "strict" type: "Python" bottom: "ip" top: "out" python_param {'
        + f' module: "strict_layer" layer: "Strict" param_str: "{where}" }} }}\n'
        + LOSS.replace('"ip"', '"out"')
    )
    done = run_caffe(*TRAIN)
    assert done.returncode == 1
    assert done.stderr.endswith("\nValueError: label 0 of sample 7 is below 1\n")
    traceback = done.stderr[done.stderr.index("Traceback (most recent call last)") :]
    assert f"in {where}" in traceback
    assert "strict_layer.py" in traceback
    assert "***" not in done.stderr
