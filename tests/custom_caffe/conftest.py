"""What the tests of our Caffe share: it is the real one, quiet, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe

MakeNet = Callable[..., Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make_net(tmp_path: Path) -> MakeNet:
    """A function that makes a net from prototxt text."""

    def make(text: str, phase: int = caffe.TRAIN, seed: int | None = None) -> Any:
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        if seed is not None:
            caffe.set_random_seed(seed)
        return caffe.Net(str(path), phase)

    return make


@pytest.fixture
def run_python(tmp_path: Path) -> Run:
    """A function that runs Python code in a process of its own: for what ends one, or needs a fresh one."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def run_caffe(tmp_path: Path) -> Run:
    """A function that runs the `caffe` command with its log of everything, in the test's folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "caffe", *arguments],
            cwd=tmp_path,
            env={**os.environ, "GLOG_minloglevel": "0", "PYTHONPATH": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


WIDEST_ISA = pytest.mark.parametrize("every_isa", caffe.available_isas()[-1:], indirect=True)
"""For a test in a module of `every_isa` that is not about arithmetic."""


@pytest.fixture(params=caffe.available_isas())
def every_isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test at every instruction set that this processor has, in other processes too."""
    before = caffe.isa()
    caffe.set_isa(request.param)
    monkeypatch.setenv("CAFFE_ISA", request.param)
    yield
    caffe.set_isa(before)
