"""tools/crop_variation.py: what it prints of new and of known faces, and wrong ways."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facealign.inference.model_zoo import default_weights
from tests.dotted_photos import write_photo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(12):
        write_photo(root / "faces", f"face{index}", rng, index)
    return root


def measured(photos, *arguments):
    weights = ("--weights", default_weights("onnx"), "--boxes", "landmarks")
    return subprocess.run(
        [sys.executable, "-m", "tools.crop_variation", "--data", *map(str, (photos, *weights, *arguments))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_new_faces_and_known_ones_are_told_apart(photos):
    result = measured(photos, "--every", 2)
    assert result.returncode == 0, result.stderr
    number = r"\d+\.\d+"
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["1 faces new", "6 faces trained on"]
    for line in lines:
        assert re.search(
            rf"by up to {number} of the side.*, {number} up or down, {number} of.*, {number} deg", line
        )
        # grids of dots are no faces
        assert max(map(float, re.findall(number, line))) > 0.05


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--every", 0), 2, "--every: expected"),
        (("--margin", 0.5), 2, "--margin: expected"),
        (("--weights", "missing.onnx"), 1, "missing.onnx: no such file"),
        (("--boxes", "missing.json"), 1, "missing.json"),
    ],
)
def test_wrong_ways_are_one_line(photos, arguments, code, said):
    result = measured(photos, *arguments)
    assert result.returncode == code
    assert said in result.stderr.splitlines()[-1]
