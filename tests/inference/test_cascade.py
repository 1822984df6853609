"""Two networks in a row: the second sees each face upright, and its answer comes back exactly."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from skimage.data import astronaut

from facealign.crops.aligned import aligned_transform, numbers_of, shape_of
from facealign.crops.model_spec import METADATA_KEY, ModelSpec
from facealign.crops.square import crop_transform
from facealign.crops.targets import encode_targets
from facealign.engines.onnx import OnnxEngine
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply
from facealign.geometry.landmarks import MIRROR
from facealign.geometry.similarity import fit_similarity, mean_shape
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import SecondStageNetwork
from facealign.inference.model_zoo import default_cascade, default_weights, second_of
from tests.crops.test_aligned import face
from tests.random_weights import write_model

ROOT = Path(__file__).parents[2]
FIRST = ModelSpec()
SECOND = ModelSpec(crop="aligned", mean_shape=numbers_of(mean_shape(face()[None], (64, 64), 0.1)))
SIZE = (64, 64)


class Answers:
    """A network that gives these landmarks (n, 68, 2), in pixels of its crop, and keeps what it was shown."""

    def __init__(self, *faces):
        self.values = encode_targets(np.stack(faces), SIZE)
        self.shown = []

    def forward(self, inputs):
        self.shown.append(inputs["data"])
        return {"fc4": np.resize(self.values, (len(inputs["data"]), self.values.shape[1]))}


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


BOXES = np.array([[170.0, 65.0, 275.0, 190.0], [20.0, 300.0, 120.0, 400.0]])


def in_crop(points):
    return apply(fit_similarity(points, face() * 0.4 + (32, 25)), points)


def two_faces():
    """Different from each other and from the mean shape, the second leaning by 0.3."""
    rng = np.random.default_rng(0)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    return in_crop(face(rng, 2)), (in_crop(face(rng, 2)) - 32) @ turn.T + 32


def test_a_second_network_that_agrees_with_the_first_leaves_it_unchanged(photo):
    firsts = two_faces()
    alone = FaceAligner(None, Answers(*firsts), FIRST).landmarks_in(photo, BOXES)
    agreeing = Answers(*[apply(aligned_transform(points, SECOND), points) for points in alone])
    cascade = FaceAligner(None, Answers(*firsts), FIRST, second=SecondStageNetwork(agreeing, SECOND))
    np.testing.assert_allclose(cascade.landmarks_in(photo, BOXES), alone, atol=1e-4)
    assert agreeing.shown[0].shape == (2, 3, 64, 64)
    for ours, theirs in zip(
        cascade.align(photo, list(BOXES)),
        FaceAligner(None, Answers(*firsts), FIRST).align(photo, list(BOXES)),
        strict=True,
    ):
        assert [ours.pose.yaw, ours.pose.pitch] == pytest.approx(
            [theirs.pose.yaw, theirs.pose.pitch], abs=1e-3
        )


def test_a_perfect_second_network_mends_whatever_the_first_did(photo):
    """It knows where the points are in the photo, and where the first has led it."""
    rng = np.random.default_rng(3)
    truth = np.stack([apply(np.array([[1.1, -0.4, 222], [0.4, 1.1, 120]]), face(rng, 3)) for _ in range(2)])
    firsts = two_faces()
    led = FaceAligner(None, Answers(*firsts), FIRST).landmarks_in(photo, BOXES)
    assert np.abs(led - truth).max() > 20
    knowing = Answers(
        *[apply(aligned_transform(points, SECOND), true) for points, true in zip(led, truth, strict=True)]
    )
    cascade = FaceAligner(None, Answers(*firsts), FIRST, second=SecondStageNetwork(knowing, SECOND))
    # The second's crop may be far from the face; the network's numbers are single precision.
    np.testing.assert_allclose(cascade.landmarks_in(photo, BOXES), truth, atol=1e-3)


def test_what_the_second_network_tells_counts_by_its_share(photo):
    rng = np.random.default_rng(4)
    landmarks = apply(np.array([[1.1, -0.4, 222], [0.4, 1.1, 120]]), np.stack([face(rng, 3), face(rng, 3)]))
    answers = two_faces()
    alone = SecondStageNetwork(Answers(*answers), SECOND).refine(photo, landmarks)
    assert np.abs(alone - landmarks).max() > 5
    third = dataclasses.replace(SECOND, share=1 / 3)
    found = SecondStageNetwork(Answers(*answers), third).refine(photo, landmarks)
    np.testing.assert_allclose(found, (alone + 2 * landmarks) / 3, atol=1e-9)


def test_the_second_network_is_shown_the_face_upright(photo):
    """The crop of a turned photo is that of the upright one, if the first network's points turn along."""
    upright = apply(np.array([[2.0, 0, 160], [0, 2.0, 65]]), two_faces()[0])
    affine = cv2.getRotationMatrix2D((222.0, 128.0), 35, 1.0)
    turned = cv2.warpAffine(photo, affine, photo.shape[1::-1], flags=cv2.INTER_CUBIC)
    crops = []
    for picture, landmarks in ((photo, upright), (turned, apply(affine, upright))):
        net = Answers(shape_of(SECOND))
        SecondStageNetwork(net, SECOND).refine(picture, landmarks[None])
        crops.append(net.shown[0][0, :, 8:56, 8:56])
    grey_levels = np.abs(crops[0] - crops[1]) * 128
    assert grey_levels.mean() < 4
    assert np.abs(crops[0] - crops[0].mean()).mean() * 128 > 20


def test_flip_is_of_both_networks(photo):
    first, second = Answers(two_faces()[0]), Answers(shape_of(SECOND))
    aligner = FaceAligner(None, first, FIRST, flip=True, second=SecondStageNetwork(second, SECOND, flip=True))
    aligner.landmarks_in(photo, BOXES[:1])
    for net in (first, second):
        assert len(net.shown) == 2
        np.testing.assert_array_equal(net.shown[0][..., ::-1], net.shown[1])


def test_first_and_second_cannot_change_places():
    with pytest.raises(FaceAlignError, match="is a second cascade stage"):
        FaceAligner(None, Answers(face()), SECOND)
    with pytest.raises(FaceAlignError, match="not a second cascade stage"):
        SecondStageNetwork(Answers(face()), FIRST)


def test_points_in_one_place_are_an_error_of_one_line(photo):
    flat = Answers(np.full((68, 2), 30.0))
    cascade = FaceAligner(None, flat, FIRST, second=SecondStageNetwork(Answers(face()), SECOND))
    with pytest.raises(FaceAlignError, match="one place"):
        cascade.landmarks_in(photo, BOXES[:1])


# --- the real thing -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def second_weights(tmp_path_factory, photo):
    """The released network once more, told to look at upright crops in which faces lie as in its own."""
    weights = default_weights("onnx")
    aligner = FaceAligner.open(weights, "onnx")
    found = aligner.detect_and_align(photo)[0]
    crop = crop_transform(found.box, SIZE, aligner.spec.box_scale, aligner.spec.box_shift)
    seen = apply(crop, found.landmarks)
    symmetric = (seen + (seen * (-1, 1) + (63, 0))[MIRROR]) / 2
    spec = dataclasses.replace(aligner.spec, crop="aligned", stage="again", mean_shape=numbers_of(symmetric))
    model = onnx.load(weights)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = spec.to_json()
    path = tmp_path_factory.mktemp("second") / "mobilenet_v2_again.onnx"
    onnx.save(model, path)
    return path


def test_a_second_look_upright_is_better_on_turned_faces(photo, second_weights):
    first = FaceAligner.open(default_weights("onnx"), "onnx")
    both = FaceAligner.open(default_weights("onnx"), "onnx", cascade=second_weights)
    truth = first.detect_and_align(photo)[0].landmarks
    errors = {"first": [], "both": []}
    for degrees in (-40, -30, -20, 20, 30, 40):
        affine = cv2.getRotationMatrix2D(truth.mean(axis=0), degrees, 1.0)
        turned = cv2.warpAffine(photo, affine, photo.shape[1::-1])
        box = first.detect_and_align(turned)[0].box
        for name, aligner in (("first", first), ("both", both)):
            found = aligner.landmarks_in(turned, box[None])[0]
            errors[name].append(np.linalg.norm(found - apply(affine, truth), axis=1).mean())
    assert np.mean(errors["both"]) < 0.75 * np.mean(errors["first"]), errors


def program(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_demo_and_evaluation_with_a_cascade(photo, second_weights, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "image_0001.png"), photo)
    arguments = ("--engine", "onnx", "--weights", default_weights("onnx"))
    results = {}
    for name, extra in (("one", ()), ("two", ("--cascade", second_weights))):
        made = program("demo.py", "--images", folder, "--output", tmp_path / name, *arguments, *extra)
        assert made.returncode == 0, made.stderr
        data = json.loads((tmp_path / name / "landmarks.json").read_text())
        results[name] = np.array(data["images"][0]["faces"][0]["landmarks"])
    moved = np.linalg.norm(results["one"] - results["two"], axis=1)
    assert 0.05 < moved.mean() < 8

    lines = "\n".join(f"{x + 1} {y + 1}" for x, y in results["two"])
    (folder / "image_0001.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    out = tmp_path / "out.json"
    made = program(
        "-m",
        "facealign",
        "evaluate",
        "--data",
        folder,
        *arguments,
        "--cascade",
        second_weights,
        "--json",
        out,
    )
    assert made.returncode == 0, made.stderr
    data = json.loads(out.read_text())
    assert data["settings"]["method"] == "mobilenet_v2 stage3, cascade with mobilenet_v2 again"
    assert data["settings"]["cascade"] == second_weights.name
    (error,) = data["errors"].values()
    assert error["inter_pupil"] < 0.05


def test_both_engines_run_the_cascade_alike(photo, tmp_path):
    first = write_model(tmp_path / "first")
    second = write_model(
        tmp_path / "second", seed=1, crop="aligned", mean_shape=SECOND.mean_shape, stage="cascade"
    )
    found = [
        FaceAligner.open(
            first.with_suffix(suffix), kind, False, cascade=second.with_suffix(suffix)
        ).landmarks_in(photo, BOXES)
        for kind, suffix in (("caffe", ".caffemodel"), ("onnx", ".onnx"))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=2e-2)
    assert OnnxEngine(second.with_suffix(".onnx")).spec.mean_shape == SECOND.mean_shape


def test_wrong_files_are_named(photo, second_weights, tmp_path):
    for arguments, named in (
        (("--weights", second_weights), second_weights),
        (("--cascade", default_weights("onnx")), default_weights("onnx")),
        (("--cascade", tmp_path / "missing.onnx"), tmp_path / "missing.onnx"),
    ):
        cv2.imwrite(str(tmp_path / "a.png"), photo)
        result = program(
            "demo.py",
            "--images",
            tmp_path / "a.png",
            "--engine",
            "onnx",
            *arguments,
            "--output",
            tmp_path / "out",
        )
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert str(named) in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_released_second_network(tmp_path):
    assert second_of(False, "auto") is None
    assert second_of("mine.onnx", "auto") == Path("mine.onnx")
    with pytest.raises(FaceAlignError, match="--cascade FILE"):
        default_cascade("auto", tmp_path)
    (tmp_path / "mobilenet_v2_cascade.onnx").write_bytes(b"")
    assert default_cascade("auto", tmp_path) == tmp_path / "mobilenet_v2_cascade.onnx"
