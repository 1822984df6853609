"""Faces followed through videos whose motion is known, by the released networks."""

import dataclasses
import json

import numpy as np
import pytest

from facealign.geometry.affine import apply
from facealign.geometry.landmarks import inter_ocular
from facealign.inference.face_aligner import Face, FaceAligner
from facealign.video.one_euro import OneEuroFilter, OneEuroSettings
from facealign.video.tracker import FaceTracker, TrackerSettings, largest
from tests.video.moving_face import RATE, Place, drawn, frames, nearer, photo, slowly_to_the_right, still

PLAIN = TrackerSettings(smoothing=None, turns="never")


@pytest.fixture(scope="module")
def aligner():
    return FaceAligner.open(engine="onnx")


@pytest.fixture(scope="module")
def truth(aligner):
    """Landmarks of the astronaut in her photo."""
    (face,) = aligner.detect_and_align(photo())
    return face.landmarks


def follow(aligner, images, settings=PLAIN, tracker=None):
    tracker = tracker or FaceTracker(aligner, settings)
    return [tracker.update(image, number / RATE) for number, image in enumerate(images)], tracker


def error(face, place, truth):
    """Mean distance to where the photo's landmarks went, % of the inter-ocular distance."""
    there = apply(place.map, truth)
    return 100 * np.linalg.norm(face.landmarks - there, axis=-1).mean() / inter_ocular(there)


@pytest.mark.parametrize("path", [still, slowly_to_the_right, nearer])
def test_a_face_is_followed_where_it_goes_with_few_detections(path, aligner, truth):
    found, tracker = follow(aligner, frames(path, 40))
    assert [[one.track for one in faces] for faces in found] == [[1]] * 40
    assert max(error(faces[0].face, path(index), truth) for index, faces in enumerate(found)) < 5
    assert tracker.detections == 4
    assert all(faces[0].face.score > 0.9 and not faces[0].face.doubtful for faces in found)


def test_the_detector_runs_every_n_frames(aligner):
    for every, runs in ((1, 6), (2, 3), (5, 2), (100, 1)):
        settings = dataclasses.replace(PLAIN, detect_every=every)
        assert follow(aligner, frames(still, 6), settings)[1].detections == runs


def test_a_face_that_jumps_is_detected_at_once_and_is_another(aligner, truth):
    """Too far for its crop to show it. At its old place there is nothing."""
    places = [Place(80, 120)] * 3 + [Place(240, 120)] * 3
    found, tracker = follow(aligner, map(drawn, places))
    assert [[one.track for one in faces] for faces in found] == [[1]] * 3 + [[2]] * 3
    assert error(found[3][0].face, places[3], truth) < 5
    assert tracker.detections == 2


def test_a_face_hidden_for_a_moment_keeps_its_number_and_one_hidden_for_long_does_not(aligner):
    settings = dataclasses.replace(PLAIN, detect_every=3)
    for hidden, again in ((12, 1), (40, 2)):
        places = [Place(160, 120)] * 4 + [None] * hidden + [Place(170, 120)] * 4
        found, _ = follow(aligner, map(drawn, places), settings)
        numbers = [[one.track for one in faces] for faces in found]
        assert numbers[:4] == [[1]] * 4
        assert numbers[4 : 4 + hidden] == [[]] * hidden
        assert numbers[-1] == [again]


def test_a_face_that_leaves_the_image_is_lost(aligner):
    found, _ = follow(aligner, frames(lambda index: Place(250 + 12.0 * index, 120), 14))
    assert [len(faces) for faces in found][:2] == [1, 1]
    assert [len(faces) for faces in found][-2:] == [0, 0]


def two(left, right):
    """A frame of two faces."""
    image = drawn(left)
    image[:, 160:] = drawn(right)[:, 160:]
    return image


def test_two_faces_are_two_tracks_and_stay_apart(aligner, truth):
    places = [(Place(70 + index, 110, 0.6), Place(250 - index, 130, 0.6)) for index in range(25)]
    found, _ = follow(aligner, [two(*pair) for pair in places])
    numbers = {one.track: one for one in found[0]}
    assert len(numbers) == 2
    left = min(numbers, key=lambda number: numbers[number].face.box[0])
    for faces, pair in zip(found, places, strict=True):
        assert {one.track for one in faces} == {1, 2}
        for one in faces:
            assert error(one.face, pair[one.track != left], truth) < 6


def test_of_several_faces_the_largest_are_followed(aligner):
    settings = dataclasses.replace(PLAIN, max_faces=1)
    images = [two(Place(70, 110, 0.5), Place(240, 120, 0.8))] * 12
    found, _ = follow(aligner, images, settings)
    assert [len(faces) for faces in found] == [1] * 12
    assert all(faces[0].face.box[0] > 160 for faces in found)
    faces = [Face(np.array([0, 0, side, side]), None, np.zeros((68, 2)), None, 1.0) for side in (9.0, 30, 20)]
    assert largest(faces, 2) == faces[1:]
    assert largest(faces, None) == faces


def test_landmarks_are_those_of_the_filter(aligner):
    """What the tracker predicts, filtered apart from it."""
    raw, _ = follow(aligner, frames(still, 15, noise=8))
    smooth, _ = follow(aligner, frames(still, 15, noise=8), TrackerSettings(turns="never"))
    alone = OneEuroFilter(OneEuroSettings())
    for index, (before, after) in enumerate(zip(raw, smooth, strict=True)):
        points = before[0].face.landmarks
        size = np.sqrt(np.prod(np.ptp(points, axis=0)))
        np.testing.assert_allclose(after[0].face.landmarks, alone(points, index / RATE, size))
    steps = [
        np.linalg.norm(np.diff([faces[0].face.landmarks for faces in found[5:]], axis=0), axis=-1).mean()
        for found in (raw, smooth)
    ]
    assert steps[1] < steps[0] / 3


def test_it_goes_on_from_its_state_in_json_to_the_bit(aligner):
    """At any frame: while one face is followed, another hidden, a third not yet there."""
    images = [two(Place(70 + index, 110, 0.6), Place(250, 130, 0.6)) for index in range(8)]
    images += [drawn(Place(78 + index, 110, 0.6)) for index in range(10)]
    images += [two(Place(88, 110, 0.6), Place(245, 130, 0.6))] * 6
    settings = TrackerSettings(detect_every=4, turns="never")
    whole, _ = follow(aligner, images, settings)
    state = FaceTracker(aligner, settings).state()
    for index, image in enumerate(images):
        tracker = FaceTracker(aligner, settings)
        tracker.restore(json.loads(json.dumps(state)))
        found = tracker.update(image, index / RATE)
        state = tracker.state()
        assert [one.track for one in found] == [one.track for one in whole[index]]
        for one, other in zip(found, whole[index], strict=True):
            np.testing.assert_array_equal(one.face.landmarks, other.face.landmarks)
            assert (one.face.score, one.face.pose) == (other.face.score, other.face.pose)
    assert tracker.detections == follow(aligner, images, settings)[1].detections


def test_a_frame_without_faces_has_none(aligner):
    found, tracker = follow(aligner, [drawn(None)] * 12)
    assert found == [[]] * 12
    assert tracker.detections == 2
