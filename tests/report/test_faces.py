"""Which faces a report shows, and the crops of their photos."""

import cv2
import numpy as np
import pytest

from facealign.report.faces import LARGEST_CROP, crop, frame, shown_faces
from tests.report.made_evaluations import ASTRONAUT
from tests.upright_face import upright_face


def test_the_worst_of_each_evaluation_come_first_missed_ones_before_all(both):
    faces = shown_faces(both, 3)
    for index, one in enumerate(both):
        worst = sorted(
            one["errors"], key=lambda path: -(one["errors"][path] or {"inter_pupil": 99})["inter_pupil"]
        )
        assert {face.path for face in faces if index in face.worst} == set(worst[:3])
    assert faces[0].path == "300w/afw/image_2.png"
    assert faces[0].missed == (True, False)
    assert faces[0].errors[0] is None
    assert faces[0].predicted[0] is None
    assert faces[0].overlaps[0] is None


def test_the_random_ones_are_the_same_for_other_errors_and_others_for_another_seed(both):
    def random(evaluations, seed):
        return {face.path for face in shown_faces(evaluations, 5, seed) if face.random}

    assert len(random(both, 0)) == 5
    assert random(both[:1], 0) == random(both[1:], 0) == random(both, 0)
    assert random(both, 0) != random(both, 1)


def test_no_face_is_shown_twice_and_more_than_there_are_is_all(both):
    faces = shown_faces(both, 50)
    assert sorted(face.path for face in faces) == sorted(both[0]["errors"])
    assert all(face.random and face.worst == (0, 1) for face in faces)


def test_a_face_is_described_by_its_annotation(both):
    (face,) = [face for face in shown_faces(both, 50) if face.path == ASTRONAUT]
    points = upright_face((222.0, 118.0), 105.0)
    np.testing.assert_allclose(face.truth, points, atol=0.01)
    assert face.folder == "afw"
    assert face.size == pytest.approx(np.ptp(points, axis=0).max(), abs=0.02)
    assert abs(face.pose.yaw) < 1  # it is its own mirror image
    error = face.errors[1]["inter_pupil"]
    assert np.linalg.norm(face.predicted[1] - face.truth, axis=1).mean() == pytest.approx(
        error / 100 * 0.46 * 105, rel=1e-3
    )


def test_an_evaluation_of_an_earlier_version_shows_its_errors_alone(both):
    earlier = {name: value for name, value in both[0].items() if name != "faces"}
    face = shown_faces([earlier], 3)[1]
    assert face.truth is face.frame is face.pose is face.size is None
    assert face.errors[0]["inter_pupil"] > 0


def test_landmarks_on_another_copy_of_the_photo_are_not_drawn_on_this_one(both):
    larger = {**both[1], "faces": {}}
    for path, known in both[1]["faces"].items():
        larger["faces"][path] = {name: (2 * np.array(value)).tolist() for name, value in known.items()}
    face = shown_faces([both[0], larger], 3)[1]
    assert face.predicted[0] is not None
    assert face.predicted[1] is None
    assert face.overlaps[1] == pytest.approx(shown_faces([both[0], both[1]], 3)[1].overlaps[1])


def test_all_landmarks_are_in_the_frame_but_those_far_off():
    points = upright_face((50.0, 60.0), 40.0)
    near, far = points + np.array([25, 0]), points + np.array([5000, 0])
    x1, y1, x2, y2 = frame(points, [near])
    assert x2 - x1 == pytest.approx(y2 - y1)
    everything = np.concatenate([points, near])
    assert (everything > (x1, y1)).all()
    assert (everything < (x2, y2)).all()
    assert np.diff(frame(points, [far])[[0, 2]]) < 4 * 40


@pytest.mark.parametrize("side", [40.0, 200.5, 1200.0])
def test_a_crop_shows_a_spot_where_its_coordinates_say(side):
    image = np.full((1500, 1600, 3), 40, np.uint8)
    spot, radius = (700.0, 650.0), max(3, round(side / 30))
    cv2.circle(image, (700, 650), radius, (255, 255, 255), cv2.FILLED)
    square = np.array([spot[0] - 0.25 * side, spot[1] - 0.6 * side, 0, 0])
    square[2:] = square[:2] + side
    shown = cv2.imdecode(np.frombuffer(crop(image, square), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert shown.shape[0] == shown.shape[1] == min(LARGEST_CROP, np.ceil(side))
    weight = np.clip(shown.astype(float) - 60, 0, None)
    # Of the pixel with index i, the middle is (i + 0.5) / n of the crop's width.
    middle = [(weight.sum(axis=axis) * (np.arange(len(shown)) + 0.5)).sum() / weight.sum() for axis in (0, 1)]
    np.testing.assert_allclose(np.array(middle) / len(shown), [0.25, 0.6], atol=0.004)


def test_a_crop_off_the_photo_is_black():
    image = np.full((50, 50, 3), 200, np.uint8)
    shown = cv2.imdecode(np.frombuffer(crop(image, np.array([100.0, 100, 150, 150])), np.uint8), 1)
    assert shown.max() < 10
