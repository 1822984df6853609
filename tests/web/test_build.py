"""The page's folder: what is refused, and what a failure leaves."""

import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from facealign.errors import FaceAlignError
from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.web import npm
from facealign.web.build import build

ROOT = Path(__file__).parents[2]


def build_web(*options):
    return subprocess.run(
        [sys.executable, ROOT / "tools/build_web.py", "--packages", ROOT / "build/npm", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_page_is_replaced_and_nothing_else_is(node_modules, page_folder, tmp_path):
    output = tmp_path / "page"
    for _ in range(2):
        done = build_web("--output", output)
        assert done.returncode == 0, done.stderr
        assert f"python3 -m http.server --bind 127.0.0.1 --directory {output}" in done.stdout
    files = {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    expected = [path for path in page_folder.rglob("*") if path.is_file()]
    assert files == {path.relative_to(page_folder): path.read_bytes() for path in expected}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    done = build_web("--output", tmp_path / "mine")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/mine: exists and holds no page; give another --output\n"
    assert (tmp_path / "mine/letter.txt").read_text() == "dear"


def test_networks_of_another_kind_are_refused(node_modules, tmp_path):
    first, second = default_weights("onnx"), default_cascade("onnx")
    bare = tmp_path / "bare.onnx"
    model = onnx.load(first)
    del model.metadata_props[:]
    onnx.save(model, bare)
    for pair, message in (
        ((second, second), f"{second}: mobilenet_v2 cascade: is a second cascade stage"),
        ((first, first), f"{first}: mobilenet_v2 stage3: is not a second cascade stage"),
        ((bare, second), f"{bare}: does not say how to crop; expected a file of `facealign export-onnx`"),
    ):
        with pytest.raises(FaceAlignError, match=f"^{re.escape(message)}"):
            build(tmp_path / f"{pair[0].stem} {pair[1].stem}", *pair, node_modules)


def test_packages_that_cannot_be_had_are_an_error_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(FaceAlignError, match=r"npm cannot install the page's packages .*network"):
        npm.packages(tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == []


def test_packages_that_are_there_are_taken(node_modules, monkeypatch):
    monkeypatch.setattr(npm, "_install", None)
    assert npm.packages(ROOT / "build/npm", development=True) == node_modules
    assert (npm.packages(ROOT / "build/npm") / "onnxruntime-web").is_dir()
