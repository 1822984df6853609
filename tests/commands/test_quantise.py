"""`facealign quantise` and `facealign export-ncnn`: what they write, and what they refuse."""

import json
import re
import shutil
import textwrap
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from facealign.commands import export_ncnn, quantise
from facealign.crops.model_spec import METADATA_KEY
from facealign.datasets.pts import write_pts
from facealign.datasets.validation_300w import PHOTOS
from facealign.engines.onnx import OnnxEngine
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from tests.astronaut_crops import PHOTO
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A root with 300-W's folders: 12 training faces, and one that validates."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        photo = np.roll(PHOTO[:300, 70:370], 4 * number, axis=1)
        noisy = np.clip(photo + rng.normal(0, 8, photo.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:02}.png"), noisy)
        write_pts(folder / f"{number:02}.pts", upright_face((153 + 4 * number, 128), 82))
    return folder.parent


def run(module, monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["facealign", *map(str, words)])
    module.main()


def ran(monkeypatch, data, weights, output, *more):
    run(quantise, monkeypatch, "--weights", weights, "--data", data, "--output", output, "--faces", 6, *more)


@pytest.mark.parametrize("stage", ["stage3", "cascade"])
def test_the_file_is_smaller_and_describes_itself(stage, data, tmp_path, monkeypatch, capsys):
    weights = MODELS / f"mobilenet_v2_{stage}.onnx"
    ran(monkeypatch, data, weights, tmp_path / "one.onnx")
    line, moved = capsys.readouterr().out.splitlines()
    size = (tmp_path / "one.onnx").stat().st_size
    assert line == f"{tmp_path / 'one.onnx'}: {size} bytes (float32: {weights.stat().st_size}), by 6 faces"
    distance = re.fullmatch(r"on 2 others landmarks are ([\d.]+) pixels of the crop from .*", moved)
    assert 0 < float(distance[1]) < 1
    metadata = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "one.onnx")).metadata_props}
    assert json.loads(metadata[METADATA_KEY])["stage"] == stage


def test_the_seed_decides(data, tmp_path, monkeypatch):
    weights = MODELS / "mobilenet_v2_stage3.onnx"
    ran(monkeypatch, data, weights, tmp_path / "one.onnx")
    ran(monkeypatch, data, weights, tmp_path / "again.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()
    ran(monkeypatch, data, weights, tmp_path / "other.onnx", "--seed", 1)
    assert (tmp_path / "one.onnx").read_bytes() != (tmp_path / "other.onnx").read_bytes()


def test_no_face_of_the_validation_part_is_drawn(data, tmp_path, monkeypatch):
    """With the names of 300-W's validation photos there is none to draw."""
    folder = tmp_path / "data" / "300w" / "helen" / "trainset"
    folder.mkdir(parents=True)
    name = f"{PHOTOS['helen/trainset'][0]}_1"
    for suffix in ("png", "pts"):
        (folder / f"{name}.{suffix}").write_bytes((data / "photos" / f"00.{suffix}").read_bytes())
    with pytest.raises(FaceAlignError, match="no face is left to train on"):
        ran(monkeypatch, tmp_path / "data", MODELS / "mobilenet_v2_stage3.onnx", tmp_path / "x.onnx")


def test_a_photo_that_cannot_be_read_is_named_and_left_out(data, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data" / "photos"
    folder.mkdir(parents=True)
    for number in range(4):
        for suffix in ("png", "pts"):
            source = data / "photos" / f"{number:02}.{suffix}"
            (folder / source.name).write_bytes(
                source.read_bytes()[: 100 if number == 2 and suffix == "png" else None]
            )
    ran(monkeypatch, tmp_path / "data", MODELS / "mobilenet_v2_stage3.onnx", tmp_path / "x.onnx")
    printed = capsys.readouterr()
    assert "02.png" in printed.err
    assert printed.out.endswith("by 3 faces\n")


def test_the_float32_file_is_not_overwritten(data, tmp_path, monkeypatch):
    weights = tmp_path / "stage3.onnx"
    weights.write_bytes((MODELS / "mobilenet_v2_stage3.onnx").read_bytes())
    with pytest.raises(FaceAlignError, match="the output would replace an input"):
        ran(monkeypatch, data, weights, weights)
    assert OnnxEngine(weights).spec is not None


def test_ncnn_s_files_and_the_description(tmp_path, monkeypatch, capsys):
    weights = MODELS / "mobilenet_v2_stage3.onnx"
    run(export_ncnn, monkeypatch, "--weights", weights, "--output", tmp_path / "face.param", "--half")
    names = ["face.param", "face.bin", "face.json"]
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / name}: {(tmp_path / name).stat().st_size} bytes" for name in names
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert json.loads((tmp_path / "face.json").read_text())["stage"] == "stage3"


def test_ncnn_s_file_has_its_suffix(capsys):
    with pytest.raises(SystemExit, match="2"):
        export_ncnn.arguments_of(["--weights", "a.onnx", "--output", "a.bin"])
    assert "expected NAME.param" in capsys.readouterr().err


def test_beside_a_caffemodel_its_description_stays_and_no_other_net_takes_its_name(tmp_path, monkeypatch):
    for name in ("stage1", "stage3"):
        shutil.copy(MODELS / f"mobilenet_v2_{name}.json", tmp_path / f"{name}.json")
    before = (tmp_path / "stage3.json").read_bytes()
    weights = MODELS / "mobilenet_v2_stage3.onnx"
    run(export_ncnn, monkeypatch, "--weights", weights, "--output", tmp_path / "stage3.param")
    assert (tmp_path / "stage3.bin").exists()
    assert (tmp_path / "stage3.json").read_bytes() == before
    with pytest.raises(FaceAlignError, match=r"stage1\.json: describes the caffemodel of another network"):
        run(export_ncnn, monkeypatch, "--weights", weights, "--output", tmp_path / "stage1.param")
    assert not (tmp_path / "stage1.param").exists()


def test_what_is_no_onnx_file_is_no_output_of_quantise(monkeypatch):
    words = ("--weights", "face.onnx", "--data", "here", "--output", "face.txt")
    with pytest.raises(SystemExit, match="2"):
        run(quantise, monkeypatch, *words)


def test_the_program_in_the_docs_predicts_what_the_aligner_does(tmp_path, monkeypatch):
    """But for the crop, which OpenCV makes with steps of a 32nd of a pixel."""
    weights = MODELS / "mobilenet_v2_stage3.onnx"
    run(export_ncnn, monkeypatch, "--weights", weights, "--output", tmp_path / "stage3.param", "--half")
    cv2.imwrite(str(tmp_path / "photo.png"), PHOTO)
    _, _, program = (ROOT / "docs" / "runtimes.md").read_text().partition("here in Python:\n\n")
    program = textwrap.dedent(program.partition("\nWhere ")[0])
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(program, names)
    aligner = FaceAligner.open(weights, engine="onnx", detector=False)
    (face,) = aligner.align(PHOTO, [[179, 63, 265, 173]])
    np.testing.assert_allclose(names["landmarks"].T, face.landmarks, atol=0.1)
