"""Nets with their layers computed as one and one by one, and what Caffe says of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import caffe


def make(path: Path, fused: bool, phase: int, seed: int) -> Any:
    """A net with weights drawn from a seed."""
    os.environ["CAFFE_FUSE"] = str(int(fused))
    try:
        caffe.set_random_seed(seed)
        return caffe.Net(str(path), phase)
    finally:
        del os.environ["CAFFE_FUSE"]


def fused_layers(run_python: Any, path: Path, phase: str) -> list[str]:
    """The runs of layers that Caffe says it computes as one; phase: "TRAIN" or "TEST"."""
    done = run_python(f"import caffe; caffe.Net({str(path)!r}, caffe.{phase})", GLOG_minloglevel="0")
    assert done.returncode == 0, done.stderr
    return re.findall(r"Layers (\S+ to \S+) are computed as one", done.stderr)
