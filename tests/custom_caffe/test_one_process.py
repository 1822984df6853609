"""Caffe beside pip's cv2, h5py, lmdb and onnx in one process, all at work at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.custom_caffe.one_process import IN_ORDER

PROGRAM = Path(__file__).with_name("one_process.py")


# `make wheel-check` tries every order, for longer.
@pytest.mark.parametrize("order", ["caffe,cv2,h5py,lmdb,onnx", "onnx,lmdb,h5py,cv2,caffe"])
def test_all_at_once_give_what_each_gives_alone(order: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_ORDER, order, PROGRAM, "20"],
        cwd=tmp_path,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 rounds")
