"""The wheel in a clean environment, with no checkout in sight: what the editable installation hides."""

import json
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

import facealign
from tests.dotted_photos import write_photo

ROOT = Path(__file__).parents[1]


def call(*command, cwd=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, made from the source distribution."""
    output = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--outdir", output, ROOT)
    (made,) = output.glob("*.whl")
    assert len(list(output.glob("*.tar.gz"))) == 1
    return made


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The programs of a new virtual environment with the wheel and Caffe's in it."""
    place = tmp_path_factory.mktemp("clean") / "venv"
    call(sys.executable, "-m", "venv", place)
    pip = (place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    call(*pip, "--constraint", ROOT / "constraints.txt", f"{wheel}[train,report]")
    source = json.loads(distribution("custom-caffe").read_text("direct_url.json"))
    call(*pip, "--constraint", ROOT / "constraints.txt", unquote(source["url"].removeprefix("file://")))
    return place / "bin"


def test_it_has_what_the_package_index_shows_and_no_stranger(wheel):
    names = call(sys.executable, "-m", "zipfile", "--list", wheel)
    top = {line.split("/")[0] for line in names.splitlines()[1:]}
    assert top == {"facealign", f"facealign-{facealign.__version__}.dist-info"}
    for wanted in (
        "facealign/py.typed",
        "licenses/LICENSE",
        "licenses/NOTICE",
        "models/mobilenet_v2_stage3.onnx",
        "facealign/report/static/report.js",
        "facealign/report/templates/page.html.jinja",
        "facealign/report/vendor/uPlot.iife.min.js",
        "facealign/report/vendor/uPlot.LICENSE",
        "facealign/serve/page/index.html",
        "facealign/web/package-lock.json",
        "facealign/web/page/worker.js",
    ):
        assert wanted in names


def test_faces_are_aligned_anywhere(environment, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.jpg"), astronaut()[:, :, ::-1])
    call(environment / "facealign", "align", "photo.jpg", "--output", "out", cwd=tmp_path)
    (image,) = json.loads((tmp_path / "out/landmarks.json").read_text())["images"]
    (face,) = image["faces"]
    assert len(face["landmarks"]) == 68
    script = (
        "import cv2, facealign\n"
        "from facealign import FaceAligner\n"
        "(face,) = FaceAligner.open().detect_and_align(cv2.imread('photo.jpg'))\n"
        "print(facealign.__version__, facealign.__file__, face.landmarks.tolist(), sep='\\n')\n"
    )
    version, file, landmarks = call(environment / "python", "-c", script, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(environment.parent)
    np.testing.assert_allclose(json.loads(landmarks), face["landmarks"], atol=1e-3)
    assert call(environment / "facealign", "--version").split() == ["facealign", version]


def test_a_network_is_trained_and_exported_anywhere(environment, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(6):
        write_photo(tmp_path / "photos", f"face{index}", rng, index)
    facealign = environment / "facealign"
    made = ("--boxes", "landmarks", "--copies", "4", "--validation", "0.2")
    made += ("--min-eye-distance", "0", "--keep-copies")  # all faces are the same dots
    call(facealign, "make-lmdb", "--data", "photos", *made, cwd=tmp_path)
    call(facealign, "train", "--stage", "1", "--iterations", "2", cwd=tmp_path)
    (weights,) = tmp_path.glob("runs/*/*_iter_2.caffemodel")
    call(facealign, "export-onnx", "--weights", weights, cwd=tmp_path)
    assert weights.with_suffix(".onnx").is_file()
    arguments = ("--data", "photos", "--boxes", "landmarks", "--all", "--json", "out.json")
    text = call(facealign, "evaluate", *arguments, "--weights", weights, cwd=tmp_path)
    assert "inter-pupil" in text
    call(facealign, "report", "out.json", "--data", "photos", "--html", "page.html", cwd=tmp_path)
    assert "data:image/jpeg" in (tmp_path / "page.html").read_text()
