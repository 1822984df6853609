"""The whole tour with hardly any training: once, and once more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def tour(out):
    return subprocess.run(
        [sys.executable, "-m", "tools.tour", "--output", out, "--iterations", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_whole_tour(tmp_path):
    out = tmp_path / "my tour"
    first = tour(out)
    assert first.returncode == 0, first.stderr
    assert "resuming from iteration" in first.stderr
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    mine = json.loads((out / "mine.json").read_text(encoding="utf-8"))
    released = json.loads((out / "released.json").read_text(encoding="utf-8"))
    assert sorted(mine["errors"]) == sorted(released["errors"])
    assert not set(mine["errors"]) & set(json.loads((out / "known.json").read_text())["errors"])
    found = json.loads((out / "aligned" / "landmarks.json").read_text(encoding="utf-8"))
    assert sum(len(image["faces"]) for image in found["images"].values()) == len(mine["errors"]) == 7
    weights = (out / "run" / "stage3_iter_20.caffemodel").read_bytes()

    again = tour(out)
    assert again.returncode == 0, again.stderr
    assert "0 of them new" in again.stdout
    assert "has 20 iterations already" in again.stdout
    assert (out / "run" / "stage3_iter_20.caffemodel").read_bytes() == weights
