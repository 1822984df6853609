"""facealign release: what goes into models/, and that its card says what the run's files say."""

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from facealign.caffe_files.caffemodel import read_weights
from facealign.caffe_files.proto import caffe_pb2
from facealign.commands.release import rounded
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError
from facealign.evaluation.figures import results
from facealign.evaluation.measure import Measurement
from facealign.evaluation.results_file import write_results
from facealign.geometry.landmarks import LANDMARK_GROUPS
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import LandmarkNetwork
from facealign.lmdb.datum import encode_image, encode_landmarks
from facealign.lmdb.pairs import read_part, write_part
from facealign.networks import mobilenet_v2
from facealign.networks.recipes import RECIPES, recipe_named
from facealign.networks.registry import spec_of
from facealign.training.log import LogRow, write_log
from tests.random_weights import fill
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
RECIPE = RECIPES["mobilenet_v2/stage2"]
ROWS = [
    LogRow(500, 100.0, nme_inter_pupil=9.126, nme_inter_ocular=6.5),
    LogRow(1000, 300.0, loss=0.5, rate=1e-4),
    LogRow(1000, 300.0, nme_inter_pupil=7.254, nme_inter_ocular=5.171),
    LogRow(1500, 400.0, nme_inter_pupil=1.111, nme_inter_ocular=1.222),  # after the snapshot that is released
]


def release(*arguments):
    command = [sys.executable, "-m", "facealign", "release", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "lmdb"
    folder.mkdir()
    spec = dataclasses.replace(spec_of("mobilenet_v2"), box_scale=1.25)
    meta = {
        "seed": 5,
        "copies": 12,
        "augmentation": {
            "flip": 0.5,
            "shift": 0.08,
            "scale_range": [0.9, 1.15],
            "rotate_range": [-30, 30],
            "noise_std": [0, 6],
        },
        "spec": dataclasses.asdict(spec),
        "source_sha256": "c0ffee",
        "parts": {
            "train": {"faces": {"afw": 300, "mine": 8}, "samples": 3696, "sha256": "abc", "skipped": []},
            "val": {"faces": {"afw": 37}, "samples": 37, "sha256": "def", "skipped": []},
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    rng = np.random.default_rng(0)
    crops = [encode_image(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(5)]
    write_part(folder, "val", 5, (64, 64), [(crop, encode_landmarks(np.zeros(136))) for crop in crops])
    return folder


@pytest.fixture
def run(tmp_path):
    """A run's folder with a snapshot whose net, as Caffe writes it, still holds the data layers."""
    folder = tmp_path / "run"
    folder.mkdir()
    net = fill(mobilenet_v2.deploy(), np.random.default_rng(3))
    net.layer[0].CopyFrom(caffe_pb2.LayerParameter(name="data", type="Data", top=["data"]))
    net.layer[0].data_param.source = "/home/somebody/data/lmdb/train_images"
    (folder / "stage2_iter_1000.caffemodel").write_bytes(net.SerializeToString())
    moments = 2 * [blob for layer in net.layer for blob in layer.blobs]
    state = caffe_pb2.SolverState(iter=1000, history=moments)
    (folder / "stage2_iter_1000.solverstate").write_bytes(state.SerializeToString())
    spec = dataclasses.replace(spec_of("mobilenet_v2", "stage2", "deploy.prototxt"), box_scale=1.25)
    (folder / "model.json").write_text(spec.to_json())
    (folder / "deploy.prototxt").write_text(
        (ROOT / "prototxt/mobilenet_v2/stage2/deploy.prototxt").read_text()
    )
    description = {
        "recipe": dataclasses.asdict(RECIPE),
        "data_sha256": {"train": "abc", "val": "def"},
        "seed": 7,
        "iterations": 2000,
    }
    (folder / "run.json").write_text(json.dumps(description))
    write_log(folder / "log.csv", ROWS)
    return folder


def test_what_is_released_is_whole_and_runs_in_both_engines(run, data):
    models = ROOT / "build" / "test_release"  # the deploy net is named relative to it
    done = release("--run", run, "--data", data, "--output", models, "--json", "-")
    assert done.returncode == 0, done.stderr
    name = "mobilenet_v2_stage2"
    said = json.loads(done.stdout)
    assert (said["name"], said["iteration"]) == (name, 1000)
    for suffix in (".caffemodel", ".onnx", ".json", ".md"):
        content = (models / f"{name}{suffix}").read_bytes()
        described = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert said["files"][str(models / f"{name}{suffix}")] == described
    weights = read_weights(models / f"{name}.caffemodel")
    trained = read_weights(run / "stage2_iter_1000.caffemodel")
    assert set(weights) == set(trained)
    for layer, arrays in trained.items():
        for ours, theirs in zip(weights[layer], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    picture = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    boxes = np.array([[40.0, 40.0, 150.0, 160.0]])
    points = []
    crops, _ = read_part(data, "val")
    for kind, suffix in (("caffe", ".caffemodel"), ("onnx", ".onnx")):
        aligner = FaceAligner.open(models / f"{name}{suffix}", kind, detector=False)
        assert aligner.spec.box_scale == 1.25
        net = LandmarkNetwork(aligner.engine, aligner.spec)
        bias = net.mirror_bias(list(crops.transpose(0, 2, 3, 1)))
        assert aligner.spec.mirror_bias == pytest.approx(bias, abs=2e-3)
        assert bias != 0
        points.append(aligner.landmarks_in(picture, boxes))
    np.testing.assert_allclose(points[0], points[1], atol=1e-3)


def test_nothing_of_the_machine_it_was_trained_on_is_released(run, data, tmp_path):
    assert release("--run", run, "--data", data, "--output", tmp_path / "models").returncode == 0
    for path in (tmp_path / "models").iterdir():
        content = path.read_bytes()
        assert b"somebody" not in content
        assert b"lmdb" not in content.lower()
    net = caffe_pb2.NetParameter()
    net.ParseFromString((tmp_path / "models" / "mobilenet_v2_stage2.caffemodel").read_bytes())
    assert net.layer[0].type == "Input"


def test_the_card_says_how_samples_were_augmented_on_the_fly(run, data, tmp_path):
    for path, news in (
        (data / "meta.json", {"fresh": True}),
        (
            run / "run.json",
            {"fresh": {"weights": {"afw": 3, "mine": 0.5}, "changes": {"blur": {}, "grey": {}}}},
        ),
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), **news}))
    assert release("--run", run, "--data", data, "--output", tmp_path / "models").returncode == 0
    card = " ".join((tmp_path / "models" / "mobilenet_v2_stage2.md").read_text().split())
    assert (
        "augmented on the fly, drawn from the folders in the ratio afw 3, mine 0.5, "
        "changed at times by blur, grey"
    ) in card


def test_the_card_of_a_recipe_s_own_settings_names_no_others(run, data, tmp_path):
    assert release("--run", run, "--data", data, "--output", tmp_path).returncode == 0
    assert "other settings" not in next(tmp_path.glob("*.md")).read_text()


def test_the_card_names_the_networks_that_moved_the_landmarks(run, data, tmp_path):
    networks = [{"weights": "one.onnx", "sha256": "1a"}, {"weights": "two.onnx", "sha256": "2b"}]
    meta = data / "meta.json"
    distilled = {**json.loads(meta.read_text()), "teacher": {"networks": networks, "share": 0.25}}
    meta.write_text(json.dumps(distilled))
    assert release("--run", run, "--data", data, "--output", tmp_path / "models").returncode == 0
    card = " ".join((tmp_path / "models" / "mobilenet_v2_stage2.md").read_text().split())
    assert (
        "landmarks distilled with weight 0.25 from the predictions of `one.onnx` (sha256 1a) and "
        "`two.onnx` (sha256 2b)"
    ) in card


def test_the_card_names_the_folder_of_points_that_moved_the_landmarks(run, data, tmp_path):
    points = {
        "folder": "teacher",
        "moved": 90,
        "kept": 10,
        "description": {"weights": "annotations.json", "sha256": "1a"},
        "members": ["a cascade", "a mesh"],
    }
    meta = data / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "teacher": {"points": points, "share": 0.5}}))
    assert release("--run", run, "--data", data, "--output", tmp_path / "models").returncode == 0
    card = " ".join((tmp_path / "models" / "mobilenet_v2_stage2.md").read_text().split())
    assert (
        "landmarks distilled with weight 0.5 from the predictions of a cascade and a mesh in a folder of "
        "landmarks, described by `annotations.json` (sha256 1a), which has 90 of the 100 faces; the others "
        "keep their annotation"
    ) in card


def test_the_card_names_the_weights_that_a_run_started_from(run, data, tmp_path):
    """Also those of a recipe that usually starts from another's."""
    described = json.loads((run / "run.json").read_text())
    for start, said in (
        (None, "from the weights of mobilenet_v2/stage1: batch"),
        ({"weights": "w.caffemodel", "sha256": "1a"}, "from `w.caffemodel` (sha256 1a): batch"),
    ):
        (run / "run.json").write_text(json.dumps({**described, "start": start}))
        done = release("--run", run, "--data", data, "--output", tmp_path / "models")
        assert done.returncode == 0, done.stderr
        card = (tmp_path / "models" / "mobilenet_v2_stage2.md").read_text()
        assert said in " ".join(card.split())


def test_the_card_tells_the_runs_before(run, data, tmp_path):
    described = json.loads((run / "run.json").read_text())
    stage3 = dataclasses.asdict(recipe_named("mobilenet_v2/stage3"))
    own = {name: json.loads((data / "meta.json").read_text())[name] for name in ("seed", "augmentation")}
    first = {
        **{"recipe": stage3, "seed": 1, "iteration": 64000, "seconds": 3600.0, "start": None},
        **{"samples": {**own, "fresh": True}, "fresh": {"weights": {"afw": 3}, "changes": {}}},
    }
    second = {**first, "iteration": 500, "start": {"weights": "w", "sha256": "s", "run": first}, "seed": 2}
    del second["samples"]
    start = {"weights": "w", "sha256": "s", "run": second}
    described |= {"recipe": {**stage3, "base_lr": 0.0004}, "start": start}
    (run / "run.json").write_text(json.dumps(described))
    for path in run.glob("stage2_iter_1000.*"):
        path.rename(path.with_stem("stage3_iter_1000"))
    done = release("--run", run, "--data", data, "--output", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "models" / "mobilenet_v2_stage3.md").read_text()
    told = " ".join(card.split())
    assert "1. 64000 iterations of Adam from random weights: batch 64, base rate 0.003" in told
    assert (
        "seed 1; 60 minutes. Samples, augmented on the fly, drawn from the folders in the ratio afw 3" in told
    )
    assert "2. 500 iterations of Adam from the run before: batch 64, base rate 0.003" in told
    assert "3. 1000 iterations of Adam from the run before: batch 64, base rate 0.0004" in told
    assert "Trained with other settings: base_lr 0.0004 (the recipe's: 0.003)." in told
    assert "seed 7; 5 minutes. 3696 samples, 12 a face" in told
    # what comes from elsewhere is named
    del start["run"]
    (run / "run.json").write_text(json.dumps(described))
    assert release("--run", run, "--data", data, "--output", tmp_path / "models").returncode == 0
    card = (tmp_path / "models" / "mobilenet_v2_stage3.md").read_text()
    assert "1000 iterations of Adam from `w` (sha256 s): batch 64" in card
    (run / "run.json").write_text(json.dumps({**described, "start": "runs/mine/w"}))
    assert release("--run", run, "--data", data, "--output", tmp_path / "models").returncode == 0
    card = (tmp_path / "models" / "mobilenet_v2_stage3.md").read_text()
    assert "1000 iterations of Adam from `w`: batch 64" in card


def test_the_card_quotes_the_log_and_the_files(run, data, tmp_path):
    models = tmp_path / "models"
    assert release("--run", run, "--data", data, "--output", models).returncode == 0
    card = (models / "mobilenet_v2_stage2.md").read_text()
    assert "| 7.25 | 5.17 |" in card  # the last validation up to iteration 1000
    assert "1.11" not in card
    assert "37 faces" in card
    assert "| afw | 300 | 37 | AFW, annotated by 300-W |" in card
    assert "| mine | 8 | 0 |  |" in card
    assert "5 minutes" in card
    assert "3696 samples, 12 a face, seed 5" in card.replace("\n", " ")
    assert "research" in card
    for suffix in (".caffemodel", ".onnx", ".json"):
        file = models / f"mobilenet_v2_stage2{suffix}"
        assert f"`{file.name}`: sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}" in card
    assert (
        max(len(line) for line in card.splitlines() if not line.startswith(("|", "SHA", "of ", "- `"))) < 112
    )


def test_the_same_run_is_released_to_the_same_bytes(run, data, tmp_path):
    for models in ("a", "b"):
        assert release("--run", run, "--data", data, "--output", tmp_path / models).returncode == 0
    for path in (tmp_path / "a").iterdir():
        if path.suffix != ".json":  # names the deploy net relative to its folder
            assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("lfw_turned", "faces of lfw, turned by a face mesh"),
        ("300w_turned/helen/trainset", "faces of 300w/helen/trainset, turned by a face mesh"),
        ("afw", "AFW, annotated by 300-W"),
        ("mine", ""),
    ],
)
def test_the_card_says_what_a_folder_is(folder, source, run, data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    meta = json.loads((copy / "meta.json").read_text())
    meta["parts"]["train"]["faces"] = {folder: 7}
    (copy / "meta.json").write_text(json.dumps(meta))
    done = release("--run", run, "--data", copy, "--output", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    (row,) = re.findall(
        rf"^\| {folder} \| 7 \| \d+ \| (.*) \|$",
        (tmp_path / "models" / "mobilenet_v2_stage2.md").read_text(),
        re.MULTILINE,
    )
    assert row == source


def test_half_precision_is_11_bits_and_compresses(run, data, tmp_path):
    for models, options in (("whole", ()), ("half", ("--half",))):
        done = release("--run", run, "--data", data, "--output", tmp_path / models, *options)
        assert done.returncode == 0, done.stderr
    file = "mobilenet_v2_stage2.caffemodel"
    rounded = read_weights(tmp_path / "half" / file)
    for layer, arrays in read_weights(tmp_path / "whole" / file).items():
        for ours, exact in zip(rounded[layer], arrays, strict=True):
            np.testing.assert_allclose(ours, exact, rtol=2**-11, atol=2**-25)
    sizes = [len(zlib.compress((tmp_path / models / file).read_bytes())) for models in ("whole", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    assert "half precision" in (tmp_path / "half" / file).with_suffix(".md").read_text()


def test_a_weight_beyond_half_precision_is_refused():
    with pytest.raises(FaceAlignError, match="too large"):
        rounded({"fc4": [np.array([1.0, 7e4], np.float32)]}, "run")


def evaluated(path, subset="validation", **settings):
    """An evaluation of three faces, one missed, as facealign evaluate writes it."""
    faces = [Sample(Path(f"{i}.png"), upright_face(), "afw", f"{i}.png", str(i)) for i in range(3)]
    errors = ({"inter_pupil": 0.05, "inter_ocular": 0.04}, None, {"inter_pupil": 0.09, "inter_ocular": 0.06})
    measured = Measurement(
        dict(zip(("0.png", "1.png", "2.png"), errors, strict=True)),
        {f"{i}.png": {group: errors[i] for group in LANDMARK_GROUPS} for i in (0, 2)},
    )
    names = ["0.png", "1.png", "2.png"] if subset == "validation" else []
    common = {
        "method": "ours, flip-averaged",
        "input": "64x64",
        "boxes": "mtcnn",
        "engine": "OnnxEngine",
        "cascade": None,
    }
    common["weights"] = "mobilenet_v2_stage2.onnx"
    write_results(path, results(faces, measured, {**common, **settings}, names))
    return path


@pytest.mark.parametrize("weights", ["mobilenet_v2_stage2.onnx", "stage2_iter_1000.caffemodel"])
def test_the_card_has_the_figures_of_an_evaluation(run, data, tmp_path, weights):
    write_log(run / "log.csv", ROWS[1:2])  # has no validation, and needs none
    path = evaluated(tmp_path / "evaluation.json", weights=weights)
    done = release("--run", run, "--data", data, "--output", tmp_path / "models", "--evaluation", path)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "models" / "mobilenet_v2_stage2.md").read_text()
    assert "(ours, flip-averaged, boxes: mtcnn, OnnxEngine)" in card
    assert "95 %, bootstrap" in card
    for name in ("all", "afw"):
        assert f"| {name} | 3 | 1 | 7.00 [5.00, 9.00] | 5.00 [4.00, 6.00] |" in card
    assert "one run" not in card


@pytest.mark.parametrize(
    ("subset", "settings", "said"),
    [
        (
            "validation",
            {"weights": "stage3_iter_5.caffemodel"},
            "measured with stage3_iter_5.caffemodel, not",
        ),
        ("validation", {"cascade": "second.onnx"}, "measured with mobilenet_v2_stage2.onnx and second.onnx"),
        ("all", {}, "an evaluation without 'validation'"),
    ],
)
def test_another_evaluation_is_refused(run, data, tmp_path, subset, settings, said):
    path = evaluated(tmp_path / "evaluation.json", subset, **settings)
    done = release("--run", run, "--data", data, "--output", tmp_path / "models", "--evaluation", path)
    assert done.returncode == 1
    assert f"{path}: {said}" in done.stderr
    assert not (tmp_path / "models").exists()


def other_samples(run, data):
    meta = json.loads((data / "meta.json").read_text())
    meta["parts"]["train"]["sha256"] = "other"
    (data / "meta.json").write_text(json.dumps(meta))
    return "lmdb"


def no_snapshot(run, data):
    state = run / "stage2_iter_1000.solverstate"
    state.write_bytes(state.read_bytes()[:5])
    return "no complete snapshot"


def no_run(run, data):
    (run / "run.json").write_text("{}")
    return "run.json"


def no_validation(run, data):
    write_log(run / "log.csv", ROWS[1:2])
    return "log.csv"


@pytest.mark.parametrize("damage", [other_samples, no_snapshot, no_run, no_validation])
def test_what_cannot_be_released_is_named_in_one_line(damage, run, data, tmp_path):
    named = damage(run, data)
    done = release("--run", run, "--data", data, "--output", tmp_path / "models")
    assert done.returncode == 1
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "name", ["run.json", "log.csv", "model.json", "stage2_iter_1000.caffemodel", "meta.json"]
)
def test_what_is_released_is_not_replaced_by_the_figures(name, run, data, tmp_path):
    path = (data if name == "meta.json" else run) / name
    before = path.read_bytes()
    done = release("--run", run, "--data", data, "--output", tmp_path / "models", "--json", path)
    line = f"error: {path}: the output would replace an input; give it another name or folder\n"
    assert (done.returncode, done.stderr) == (1, line)
    assert path.read_bytes() == before


def test_a_data_set_that_lacks_what_the_card_says_is_one_line(run, data, tmp_path):
    meta = json.loads((data / "meta.json").read_text())
    del meta["parts"]["train"]["faces"]
    (data / "meta.json").write_text(json.dumps(meta))
    result = release("--run", run, "--data", data, "--output", tmp_path / "models")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {run / 'run.json'}, {data / 'meta.json'}: lack what the card says")
    assert not (tmp_path / "models").exists()


def test_a_part_of_the_validation_part_is_called_so_in_the_card(run, data, tmp_path):
    meta = json.loads((data / "meta.json").read_text())
    (data / "meta.json").write_text(json.dumps({**meta, "validation_is_fixed": True}))
    assert release("--run", run, "--data", data, "--output", tmp_path).returncode == 0
    assert "37 of 300 faces" in (tmp_path / "mobilenet_v2_stage2.md").read_text()
