"""The whole tour with hardly any training: once, and once more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from facealign.caffe_files.caffemodel import read_weights
from tools.tour.steps import steps

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def tour(out, iterations=20):
    return subprocess.run(
        [sys.executable, "-m", "tools.tour", "--output", out, "--iterations", str(iterations)],
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
    assert sum(len(image["faces"]) for image in found["images"]) == len(mine["errors"]) == 7
    weights = (out / "run" / "stage3_iter_20.caffemodel").read_bytes()

    # Nothing of the interruption is in the weights.
    (number,) = [number for number, step in enumerate(steps(out, iterations=20)) if step.stop_at]
    program, *words = steps(out, str(Path(sys.executable).parent), 20)[number].commands[0]
    words[words.index("--run") + 1] = str(tmp_path / "undisturbed")
    assert subprocess.run([program, *words], cwd=ROOT, capture_output=True, check=False).returncode == 0
    undisturbed = read_weights(tmp_path / "undisturbed" / "stage3_iter_20.caffemodel")
    resumed = read_weights(out / "run" / "stage3_iter_20.caffemodel")
    assert list(resumed) == list(undisturbed)
    for name, blobs in resumed.items():
        for one, other in zip(blobs, undisturbed[name], strict=True):
            assert (one == other).all(), name
    for run in (out / "run", tmp_path / "undisturbed"):  # as docs/tutorial.md compares them
        export = [program, "export-onnx", "--weights", str(run / "stage3_iter_20.caffemodel")]
        subprocess.run(export, cwd=ROOT, capture_output=True, check=True)
    assert (out / "run" / "stage3_iter_20.onnx").read_bytes() == (
        tmp_path / "undisturbed" / "stage3_iter_20.onnx"
    ).read_bytes()

    fewer = tour(out, 10)
    assert fewer.returncode == 1
    assert fewer.stderr == (
        f"error: {out}: its training has 20 iterations, more than the 10 asked for; "
        f"rm -r '{out}' starts the tour again\n"
    )
    assert "===" not in fewer.stdout

    again = tour(out)
    assert again.returncode == 0, again.stderr
    assert "0 of them new" in again.stdout
    assert "has 20 iterations already" in again.stdout
    assert (out / "run" / "stage3_iter_20.caffemodel").read_bytes() == weights
