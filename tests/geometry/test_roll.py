"""Roll of faces turned by known angles, by another library's rotation."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign.geometry.affine import apply
from facealign.geometry.roll import five_point_roll, landmark_roll, roll_difference, turn_about
from tests.upright_face import upright_face

FIVE = np.array([[30.0, 40], [70, 40], [50, 60], [35, 80], [65, 80]])
angles = st.floats(-180, 180)


@given(angles)
def test_a_turned_face_has_the_roll_it_was_turned_by(degrees):
    turn = cv2.getRotationMatrix2D((12.0, -30.0), -degrees, 1.7)  # OpenCV counts against the clock
    for roll, face in ((landmark_roll, upright_face((5.0, 9.0), 100.0)), (five_point_roll, FIVE)):
        found = float(roll(face @ turn[:, :2].T + turn[:, 2]))
        assert abs((found - degrees + 180) % 360 - 180) < 1e-6


def test_a_profile_s_roll_comes_from_the_mouth():
    """Its eyes lie over each other: a pixel of noise would turn the line between them by any angle."""
    noise = np.array([[0, -1], [0, 1], [0, 0], [0, 0], [0, 0]])
    assert float(five_point_roll(FIVE * (0.02, 1) + noise)) == pytest.approx(0, abs=4)


def test_many_faces_at_once():
    faces = np.stack(
        [upright_face(), upright_face() @ np.array([[0, 1], [-1, 0]])]
    )  # y points down: clockwise
    np.testing.assert_allclose(landmark_roll(faces), [0, 90], atol=1e-6)


@given(angles, angles)
def test_the_difference_brings_one_to_the_other_by_the_shorter_way(first, second):
    difference = float(roll_difference(np.array(first), np.array(second)))
    assert -180 <= difference <= 180
    assert np.cos(np.radians(second + difference)) == pytest.approx(np.cos(np.radians(first)), abs=1e-9)


@given(angles)
def test_a_turn_and_the_turn_back_leave_a_face_where_it_was(degrees):
    centre, face = np.array([40.0, 7.0]), upright_face((30.0, 20.0), 50.0)
    turn = turn_about(centre, degrees)
    np.testing.assert_allclose(apply(turn, centre), centre, atol=1e-9)
    np.testing.assert_allclose(apply(turn_about(centre, -degrees), apply(turn, face)), face, atol=1e-9)
    expected = cv2.getRotationMatrix2D(centre.tolist(), -degrees, 1.0)
    np.testing.assert_allclose(turn, expected, atol=1e-9)
