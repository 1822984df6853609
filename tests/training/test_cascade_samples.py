"""Samples for the second network of a cascade: by a first one of known answers, and by the released one."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from skimage.data import astronaut

from facealign.crops.aligned import aligned_spec, shape_of
from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec, load_spec
from facealign.crops.square import crop_transform
from facealign.crops.targets import decode_targets, encode_targets
from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.engines.onnx_export import export_onnx
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply
from facealign.geometry.boxes import box_from_landmarks
from facealign.geometry.similarity import fit_similarity
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import SecondStageNetwork
from facealign.inference.model_zoo import default_weights
from facealign.io.images import read_image
from facealign.lmdb.jobs import PartRequest, SampleSettings
from facealign.lmdb.pairs import read_part
from facealign.lmdb.sample_writer import CHUNK, open_first, write_training_part, write_validation_part
from facealign.networks import mobilenet_v2
from tests.dotted_photos import MIRRORED, dots_at, write_photo
from tests.lmdb.test_sample_writer import jobs_in
from tests.random_weights import fill, write_model

ROOT = Path(__file__).parents[2]
START = ROOT / "models" / "mobilenet_v2_stage3.caffemodel"
SIZE = (64, 64)
CLEAN = Augmentation(noise_std=(0, 0))
FACES = 7


def in_crop(sample):
    return apply(crop_transform(box_from_landmarks(sample.points), SIZE, 1.05, (0.02, 0.09)), sample.points)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(FACES):
        write_photo(root / "faces", f"face{index}", rng, index)
    return root


def answering(folder, points, spread):
    """Weights (.caffemodel, .onnx) that answer about `points` (68, 2) to all crops; with spread 0 exactly."""
    deploy = mobilenet_v2.deploy()
    weights = fill(deploy, np.random.default_rng(0))
    last = next(layer for layer in weights.layer if layer.name == "fc4")
    last.blobs[0].data[:] = spread * np.array(last.blobs[0].data)
    last.blobs[1].data[:] = encode_targets(points, SIZE)
    path = write_model(folder)
    path.write_bytes(weights.SerializeToString())
    onnx.save(export_onnx(deploy, weights, ModelSpec()), str(path.with_suffix(".onnx")))
    return path


@pytest.fixture(scope="module")
def usual(photos):
    """Where the dots usually are in a crop."""
    return np.mean([in_crop(job.sample) for job in jobs_in(photos)], axis=0)


@pytest.fixture(scope="module")
def constant(photos, usual, tmp_path_factory):
    return answering(tmp_path_factory.mktemp("constant"), usual, 0).with_suffix(".onnx")


@pytest.fixture(scope="module")
def erring(photos, usual, tmp_path_factory):
    """Its answers differ from crop to crop by some pixels."""
    return answering(tmp_path_factory.mktemp("erring"), usual, 0.3)


def recipe_of(weights, jobs, augmentation=CLEAN, seed=0):
    _, first = open_first(weights)
    spec = aligned_spec(ModelSpec(), np.stack([job.sample.points for job in jobs]), 0.1)
    return SampleSettings(spec, augmentation, seed, first)


def build(directory, jobs, recipe, copies, workers=1):
    directory.mkdir()
    settings = (recipe, workers, lambda items, total, what: items, lambda error: pytest.fail(str(error)))
    return write_training_part(PartRequest(directory, "train", jobs, *settings), copies)


def samples_of(directory, part="train"):
    """Crops (n, h, w, 3) and landmarks (n, 68, 2) in their pixels."""
    images, values = read_part(directory, part)
    return images.transpose(0, 2, 3, 1), decode_targets(values, SIZE)


def test_a_first_network_that_always_answers_the_same_moves_all_crops_alike(
    photos, usual, constant, tmp_path
):
    """The same draws as without it; then the one similarity that lays its answer on the mean shape."""
    jobs = jobs_in(photos)
    recipe = recipe_of(constant, jobs)
    build(tmp_path / "second", jobs, recipe, 20)
    build(tmp_path / "first", jobs, dataclasses.replace(recipe, spec=recipe.first.spec, first=None), 20)
    crops, landmarks = samples_of(tmp_path / "second")
    similarity = fit_similarity(usual, shape_of(recipe.spec))
    np.testing.assert_allclose(
        landmarks, apply(similarity, samples_of(tmp_path / "first")[1]), rtol=0, atol=2e-3
    )
    flips = 0
    for crop, points in zip(crops, landmarks, strict=True):
        sight = ((points >= 1) & (points <= 62)).all(axis=1)
        assert sight.sum() > 30
        shown = dots_at(crop, points)[sight]
        right = [np.mean(shown == order[sight]) for order in (np.arange(68), MIRRORED)]
        assert max(right) > 0.95
        flips += int(np.argmax(right))
    assert 0.35 < flips / len(crops) < 0.65


def contents(directory):
    parts = sorted(path.name.removesuffix("_images") for path in directory.glob("*_images"))
    return {part: [array.tobytes() for array in read_part(directory, part)] for part in parts}


def test_the_same_samples_by_any_workers_and_others_by_another_seed(photos, erring, tmp_path):
    jobs = jobs_in(photos)
    noisy = recipe_of(erring.with_suffix(".onnx"), jobs, Augmentation())
    copies = CHUNK // FACES + 10
    one = build(tmp_path / "one", jobs, noisy, copies)
    two = build(tmp_path / "two", jobs, noisy, copies, workers=2)
    assert one.samples > CHUNK
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    other = build(tmp_path / "other", jobs, dataclasses.replace(noisy, seed=1), copies)
    assert other.sha256 != one.sha256


def test_a_caffemodel_is_run_by_caffe_to_the_same_samples(photos, erring, tmp_path):
    jobs = jobs_in(photos)
    for name, weights in (("caffe", erring), ("onnx", erring.with_suffix(".onnx"))):
        build(tmp_path / name, jobs, recipe_of(weights, jobs), 4)
    (crops, points), (others, theirs) = (samples_of(tmp_path / name) for name in ("caffe", "onnx"))
    np.testing.assert_allclose(points, theirs, atol=0.02)
    assert np.abs(crops.astype(int) - others).mean() < 0.2


# --- the released network -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """The astronaut four times, turned, annotated by the released network itself, a pixel off."""
    root = tmp_path_factory.mktemp("turned")
    aligner = FaceAligner.open(default_weights("onnx"), "onnx")
    photo = np.ascontiguousarray(astronaut()[:400, :, ::-1])
    points = aligner.detect_and_align(photo)[0].landmarks
    rng = np.random.default_rng(0)
    for index, degrees in enumerate((-15, -5, 5, 15)):
        affine = cv2.getRotationMatrix2D(points.mean(axis=0), degrees, 1.0)
        cv2.imwrite(str(root / f"face_{index}a.png"), cv2.warpAffine(photo, affine, photo.shape[1::-1]))
        write_pts(root / f"face_{index}a.pts", apply(affine, points) + rng.normal(0, 1, (68, 2)))
    return root


class Recorder:
    """A network that answers nonsense, and keeps what it was shown."""

    def __init__(self):
        self.shown = []

    def forward(self, inputs):
        self.shown.append(inputs["data"])
        return {"fc4": np.full((len(inputs["data"]), 136), 0.5, np.float32)}


def test_validation_samples_are_what_inference_shows_the_second_network(turned, tmp_path):
    jobs = jobs_in(turned)
    recipe = recipe_of(default_weights("onnx"), jobs)
    settings = (recipe, 2, lambda items, total, what: items, lambda error: pytest.fail(str(error)))
    write_validation_part(PartRequest(tmp_path, "val", jobs, *settings))
    crops, landmarks = samples_of(tmp_path, "val")
    first = FaceAligner.open(default_weights("onnx"), "onnx", detector=False)
    for job, crop, points in zip(jobs, crops, landmarks, strict=True):
        seen = Recorder()
        photo = read_image(job.sample.path)
        both = FaceAligner(None, first.engine, first.spec, second=SecondStageNetwork(seen, recipe.spec))
        both.landmarks_in(photo, job.box[None])
        shown = (seen.shown[0][0].transpose(1, 2, 0) / recipe.spec.scale + recipe.spec.mean).round()
        np.testing.assert_array_equal(crop, shown.astype(np.uint8))
        found = first.landmarks_in(photo, job.box[None])[0]
        similarity = fit_similarity(found, shape_of(recipe.spec))
        np.testing.assert_allclose(points, apply(similarity, job.sample.points), atol=1e-3)


def test_training_samples_stand_upright_with_the_first_network_s_errors_left(turned, tmp_path):
    jobs = jobs_in(turned)
    recipe = recipe_of(default_weights("onnx"), jobs)
    build(tmp_path / "second", jobs, recipe, 30)
    build(tmp_path / "first", jobs, dataclasses.replace(recipe, spec=recipe.first.spec, first=None), 30)
    spreads, turns = {}, {}
    for name in ("first", "second"):
        _, points = samples_of(tmp_path / name)
        eyes = points[:, 42:48].mean(axis=1) - points[:, 36:42].mean(axis=1)
        turns[name] = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0])).std()
        spreads[name] = points.std(axis=0).mean()
    assert turns["first"] > 15
    assert 0.2 < turns["second"] < 4
    assert spreads["second"] < spreads["first"] / 3
    off = samples_of(tmp_path / "second")[1] - shape_of(recipe.spec)
    assert np.abs(off.mean(axis=(0, 1))).max() < 1


def test_only_a_network_for_crops_by_a_box_can_be_the_first(photos, tmp_path):
    jobs = jobs_in(photos)
    shape = aligned_spec(ModelSpec(), np.stack([job.sample.points for job in jobs]), 0.1).mean_shape
    second = write_model(tmp_path, crop="aligned", mean_shape=shape).with_suffix(".onnx")
    with pytest.raises(FaceAlignError, match=r"weights\.onnx: its crop is 'aligned'"):
        open_first(second)


# --- the programs -------------------------------------------------------------------------------------------
def program(*arguments, **options):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "facealign", *map(str, arguments)],
        **{"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "check": False, **options},
    )


def make(photos, *arguments, **options):
    return program(
        *("make-lmdb", "--data", photos, "--boxes", "landmarks", "--min-eye-distance", 0),
        "--keep-copies",
        *("--validation", 0.3, "--workers", 1, *(() if "--on-the-fly" in arguments else ("--copies", 4))),
        *arguments,
        **options,
    )


@pytest.fixture(scope="module")
def made(photos, erring, tmp_path_factory):
    """A folder in which data/lmdb_cascade was made."""
    folder = tmp_path_factory.mktemp("made")
    result = make(photos, "--after", erring.with_suffix(".onnx"), "--margin", 0.15, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_the_description_names_the_first_network_and_keeps_the_mean_shape(photos, erring, made):
    meta = json.loads((made / "data" / "lmdb_cascade" / "meta.json").read_text())
    file = erring.with_suffix(".onnx")
    assert meta["after"] == {"weights": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    spec = ModelSpec.from_json(json.dumps(meta["spec"]), "meta.json")
    trained = [s for s in scan(photos).samples if s.relative not in meta["validation_faces"]]
    assert 3 < len(trained) < FACES
    shapes = np.stack([sample.points for sample in trained])
    # write_model's network is of stage 2
    assert spec == aligned_spec(ModelSpec(stage=""), shapes, 0.15, "mobilenet_v2 stage2")


def test_the_second_network_is_trained_released_and_used(photos, erring, made, tmp_path):
    data, run, models = made / "data" / "lmdb_cascade", tmp_path / "run", ROOT / "build" / "test_cascade"
    arguments = ("train", "--run", run, "--iterations", 1)
    wrong = program(*arguments, "--data", data, "--stage", 3)
    assert wrong.returncode == 1
    assert "samples with crop 'aligned', not for mobilenet_v2/stage3" in wrong.stderr
    assert not run.exists()
    # data/lmdb_cascade is the default
    trained = program(*arguments, "--stage", "cascade", "--weights", START, cwd=made)
    assert trained.returncode == 0, trained.stderr
    meta = json.loads((data / "meta.json").read_text())
    spec = load_spec(run / "cascade_iter_1.caffemodel")
    assert spec.mean_shape == tuple(meta["spec"]["mean_shape"])
    assert (spec.name, spec.after) == ("mobilenet_v2 cascade", "mobilenet_v2 stage2")
    released = program("release", "--run", run, "--data", data, "--output", models)
    assert released.returncode == 0, released.stderr
    card = (models / "mobilenet_v2_cascade.md").read_text()
    assert f"`weights.onnx`, sha256 {meta['after']['sha256']}.\nBlend weight of its prediction 0.7" in card
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    boxes = np.array([[60.0, 60.0, 250.0, 260.0]])
    found = [
        FaceAligner.open(
            erring.with_suffix(suffix), kind, False, cascade=models / f"mobilenet_v2_cascade{suffix}"
        ).landmarks_in(photo, boxes)
        for kind, suffix in (("caffe", ".caffemodel"), ("onnx", ".onnx"))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=2e-2)
    out = tmp_path / "out.json"
    arguments = ("--data", photos, "--boxes", "landmarks", "--engine", "onnx", "--json", out, "--limit", 1)
    cascade = ("--cascade", models / "mobilenet_v2_cascade.onnx")
    for first, said in ((erring.with_suffix(".onnx"), False), (default_weights("onnx"), True)):
        result = program("evaluate", *arguments, *cascade, "--weights", first)
        assert result.returncode == 0, result.stderr
        line = "was trained on the errors of mobilenet_v2 stage2, not of mobilenet_v2 stage3"
        assert (line in result.stderr) is said


def test_samples_for_a_first_network_are_none_for_a_second(photos, tmp_path):
    assert make(photos, "--output", tmp_path / "lmdb").returncode == 0
    run = ("--run", tmp_path / "run", "--iterations", 1, "--weights", START)
    result = program("train", "--stage", "cascade", "--data", tmp_path / "lmdb", *run)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {tmp_path / 'lmdb'}: samples with crop 'square', not for mobilenet_v2/cascade; make others "
        "with `facealign make-lmdb` with --after\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--margin", 0.2), 2, "--margin: only with --after"),
        (("--after", "missing.onnx"), 1, "missing.onnx: no such file"),
        (("--after", "weights.txt"), 1, "weights.txt: expected a .caffemodel or .onnx file"),
        (("--after", "missing.onnx", "--margin", 0.5), 2, "--margin: expected"),
        (("--after", "missing.onnx", "--margin", -0.1), 2, "--margin: expected"),
    ],
)
def test_wrong_ways_are_one_line(photos, tmp_path, arguments, code, said):
    result = make(photos, *arguments, "--output", tmp_path / "lmdb")
    assert result.returncode == code
    assert said in result.stderr.splitlines()[-1]
    assert not (tmp_path / "lmdb").exists()


def test_a_second_network_trains_on_loose_crops(photos, erring, tmp_path):
    """They are cut by the annotation; those that validate by what the first network tells."""
    result = make(photos, "--after", erring, "--on-the-fly", "--output", tmp_path / "lmdb")
    assert result.returncode == 0, result.stderr
    meta = json.loads((tmp_path / "lmdb" / "meta.json").read_text())
    assert meta["fresh"]
    assert meta["spec"]["crop"] == "aligned"
    assert meta["after"]["weights"] == erring.name
    run = tmp_path / "run"
    settings = ("--run", run, "--iterations", 1, "--weights", START)
    result = program("train", "--stage", "cascade", "--on-the-fly", "--data", tmp_path / "lmdb", *settings)
    assert result.returncode == 0, result.stderr
    assert load_spec(run / "cascade_iter_1.caffemodel").is_second_stage
