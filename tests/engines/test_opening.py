"""Which engine runs a file: every case of `resolve`, with Caffe and without."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import onnx
import pytest

from facealign.engines.caffe import CaffeEngine
from facealign.engines.onnx import OnnxEngine
from facealign.engines.opening import KINDS, caffe_available, open_engine, resolve
from facealign.errors import FaceAlignError
from tests.random_weights import write_model

ROOT = Path(__file__).parents[2]
C, O = "caffemodel", "onnx"  # noqa: E741
# Files there are, file asked for, kind -> file that runs; None: refused.
WITH_CAFFE = [
    ({C, O}, C, "auto", C),
    ({C, O}, C, "caffe", C),
    ({C, O}, C, "onnx", O),
    ({C, O}, O, "auto", C),
    ({C, O}, O, "caffe", C),
    ({C, O}, O, "onnx", O),
    ({C}, C, "auto", C),
    ({C}, C, "caffe", C),
    ({C}, C, "onnx", None),
    ({O}, O, "auto", O),
    ({O}, O, "caffe", None),
    ({O}, O, "onnx", O),
    # A name that was given must exist, whatever its sibling.
    ({C}, O, "auto", None),
    ({C}, O, "caffe", None),
    ({O}, C, "auto", None),
    ({O}, C, "onnx", None),
    (set(), C, "auto", None),
    (set(), O, "onnx", None),
]


def check(tmp_path, there, asked, kind, runs):
    for suffix in there:
        (tmp_path / f"face.{suffix}").write_bytes(b"")
    weights = tmp_path / f"face.{asked}"
    if runs is None:
        with pytest.raises(FaceAlignError, match=r"face\.(caffemodel|onnx): no such file") as caught:
            resolve(kind, weights)
        assert len(str(caught.value).splitlines()) == 1
    else:
        assert resolve(kind, weights) == ("caffe" if runs == C else "onnx", tmp_path / f"face.{runs}")


@pytest.mark.parametrize(("there", "asked", "kind", "runs"), WITH_CAFFE)
def test_with_caffe_auto_prefers_it(there, asked, kind, runs, tmp_path):
    assert caffe_available()
    check(tmp_path, there, asked, kind, runs)


@pytest.mark.parametrize(("there", "asked", "kind", "runs"), WITH_CAFFE)
def test_without_caffe_auto_is_onnx(there, asked, kind, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "caffe", None)  # as Python has it for a module that is not to be found
    assert not caffe_available()
    if kind == "auto" and runs is not None:
        runs = O if O in there else None
    check(tmp_path, there, asked, kind, runs)


def test_an_unknown_kind_names_those_there_are(tmp_path):
    with pytest.raises(FaceAlignError, match="tensorrt") as caught:
        resolve("tensorrt", tmp_path / "face.onnx")
    assert all(kind in str(caught.value) for kind in KINDS)


@pytest.mark.parametrize("name", ["face", "face.pt", "face.prototxt", "face.onnx.gz"])
def test_a_file_that_is_no_model_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"")
    for kind in KINDS:
        with pytest.raises(FaceAlignError, match=r"expected a \.caffemodel or \.onnx file"):
            resolve(kind, tmp_path / name)


def test_dots_in_a_name_are_kept(tmp_path):
    for suffix in (C, O):
        (tmp_path / f"v1.2_iter_600000.{suffix}").write_bytes(b"")
    assert resolve("onnx", tmp_path / "v1.2_iter_600000.caffemodel")[1] == tmp_path / "v1.2_iter_600000.onnx"


def test_opening_gives_the_engine_and_the_description(tmp_path):
    weights = write_model(tmp_path, box_scale=1.7)
    data = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    answers = []
    for kind, cls in (("auto", CaffeEngine), ("caffe", CaffeEngine), ("onnx", OnnxEngine)):
        engine, spec = open_engine(kind, weights)
        assert isinstance(engine, cls)
        assert spec.box_scale == 1.7
        answers.append(engine.forward({"data": data})["fc4"])
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-4)


def test_an_onnx_file_that_does_not_describe_itself_is_refused_with_the_remedy(tmp_path):
    path = write_model(tmp_path).with_suffix(".onnx")
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    with pytest.raises(FaceAlignError, match="does not say how to crop") as caught:
        open_engine("onnx", path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "facealign export-onnx" in str(caught.value)


def test_a_caffemodel_that_nothing_describes_is_refused(tmp_path):
    weights = write_model(tmp_path)
    weights.with_suffix(".json").unlink()
    with pytest.raises(FaceAlignError, match=r"weights\.json or model\.json"):
        open_engine("caffe", weights)


@pytest.fixture(scope="module")
def packages_but_caffe(tmp_path_factory):
    """A folder with everything installed here except pycaffe."""
    folder = tmp_path_factory.mktemp("packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name != "caffe" and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


WITHOUT = """
import sys
from pathlib import Path
from facealign.engines.pycaffe import import_caffe
from facealign.engines.opening import caffe_available, open_engine
from facealign.errors import FaceAlignError
assert not caffe_available()
engine, spec = open_engine("auto", Path(sys.argv[1]))
print(type(engine).__name__)
try:
    open_engine("caffe", Path(sys.argv[1]))
except FaceAlignError as error:
    print(error)
"""


@pytest.mark.parametrize("folder_named_caffe", [False, True])
def test_where_caffe_is_not_installed_auto_runs_onnx_and_caffe_says_so(
    folder_named_caffe, packages_but_caffe, tmp_path
):
    """A checkout of Caffe in the working directory is importable, as an empty package: it is not pycaffe."""
    weights = write_model(tmp_path)
    if folder_named_caffe:
        (tmp_path / "caffe" / "src").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT, str(weights)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{packages_but_caffe}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name, error = done.stdout.splitlines()
    assert name == "OnnxEngine"
    assert "make caffe" in error


def test_a_release_that_was_killed_is_put_in_place_before_it_is_used(tmp_path):
    """Killed between its renames: the weights were new, their description still the old one."""
    weights = write_model(tmp_path)
    wanted = weights.with_suffix(".json").read_bytes()
    left = tmp_path / ".weights.1-7-0.complete" / "new"
    left.mkdir(parents=True)
    weights.with_suffix(".json").replace(left / "weights.json")
    weights.with_suffix(".json").write_text("of other weights")
    open_engine("caffe", weights)
    assert weights.with_suffix(".json").read_bytes() == wanted
    assert not left.parent.exists()
