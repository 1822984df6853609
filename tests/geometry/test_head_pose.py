"""Head pose against a head turned by known angles and projected by hand."""

import dataclasses
import itertools
import warnings

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facealign.geometry.head_pose import Pose, crop_pose, head_pose, pose_axes
from tests.upright_face import upright_face

SIZE = 64.0
HEAD = {
    30: (0, 0, 0),
    8: (0, -330, -65),
    36: (-225, 170, -135),
    45: (225, 170, -135),
    48: (-150, -150, -125),
    54: (150, -150, -125),
}
"""The reference demo's head: landmark -> x right, y up, z towards the viewer."""
ANGLES = list(itertools.product((-40, -20, 0, 20, 40), repeat=3))


def photograph(turn, place=(0.0, 0.0, 1200.0), size=SIZE):
    """Landmarks (68, 2) of the model head turned by a rotation in x right, y up, z to the viewer."""
    head = turn.apply(np.array(list(HEAD.values()), float))
    # the camera looks along its z, and its y points down
    x, y, depth = (head * (1, -1, -1) + place).T
    points = np.full((68, 2), np.nan)  # the others are not looked at
    points[list(HEAD)] = np.column_stack([size * x / depth, size * y / depth]) + size / 2
    return points


def turned(yaw, pitch, roll):
    """Turned to the side first, then up, then leaned, by axes of the viewer."""
    right = Rotation.from_rotvec([0, np.deg2rad(yaw), 0])  # brings z, where the nose points, towards x
    up = Rotation.from_rotvec([-np.deg2rad(pitch), 0, 0])  # brings z towards y
    clockwise = Rotation.from_rotvec([0, 0, -np.deg2rad(roll)])  # brings y towards x
    return clockwise * up * right


@pytest.mark.parametrize("place", [(0, 0, 1200), (90, -60, 1500)], ids=["centred", "aside"])
def test_angles_over_a_grid(place):
    for yaw, pitch, roll in ANGLES:
        pose = crop_pose(photograph(turned(yaw, pitch, roll), place), SIZE)
        assert [pose.yaw, pose.pitch, pose.roll] == pytest.approx([yaw, pitch, roll], abs=0.01)


def test_signs_are_those_of_the_picture():
    """By what is seen, with no rotation matrix on the way to the expectation."""
    to_the_right = photograph(turned(25, 0, 0))
    nose, left_eye, right_eye = to_the_right[[30, 36, 45]]
    assert nose[0] > SIZE / 2 - 1e-9
    assert nose[0] - left_eye[0] > right_eye[0] - nose[0]  # nearer to the eye on the right
    assert crop_pose(to_the_right, SIZE).yaw > 20

    up = photograph(turned(0, 25, 0))
    level = photograph(turned(0, 0, 0))
    assert up[30, 1] - up[36, 1] < level[30, 1] - level[36, 1]  # the nose comes nearer to the eyes
    assert crop_pose(up, SIZE).pitch > 20

    leaned = photograph(turned(0, 0, 25))
    assert leaned[36, 1] < leaned[45, 1]  # clockwise: the eye on the left goes up
    assert crop_pose(leaned, SIZE).roll > 20


def test_a_level_head_has_no_angles_and_keeps_them():
    pose = crop_pose(photograph(turned(0, 0, 0)), SIZE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pose.yaw = 5.0
    assert [pose.yaw, pose.pitch, pose.roll] == pytest.approx([0, 0, 0], abs=0.01)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(30, 10, -15), (-12, -25, 33), (5, 0, 40)])
def test_a_mirrored_face_has_opposite_yaw_and_roll(yaw, pitch, roll):
    points = photograph(turned(yaw, pitch, roll))
    mirrored = points.copy()
    for index, other in ((30, 30), (8, 8), (36, 45), (45, 36), (48, 54), (54, 48)):
        mirrored[other] = SIZE - points[index, 0], points[index, 1]
    pose = crop_pose(mirrored, SIZE)
    assert [pose.yaw, pose.pitch, pose.roll] == pytest.approx([-yaw, pitch, -roll], abs=0.01)


def test_pose_does_not_depend_on_the_crop_s_size():
    small = photograph(turned(20, -10, 15))
    large = photograph(turned(20, -10, 15), size=256.0)
    np.testing.assert_allclose(large, small * 4)
    assert vars(crop_pose(large, 256.0)) == pytest.approx(vars(crop_pose(small, 64.0)), abs=0.01)


@pytest.mark.parametrize("lean", [-150, -40, 0, 25, 90])
@pytest.mark.parametrize("place", [(0, 0, 1200), (90, -60, 1500), (-300, 200, 900)], ids=str)
def test_the_search_begins_at_the_solution_of_a_head_seen_from_the_front(lean, place, monkeypatch):
    """Its eyes' outer corners, 450 apart and 135 behind its nose, tell its distance.

    The nose is then where the picture shows it.
    """
    begun = []

    def solve(model, picture, camera, distortion, turn, shift, useExtrinsicGuess):
        begun.append((turn.copy(), shift.copy()))
        assert useExtrinsicGuess
        return truth(model, picture, camera, distortion, turn, shift, useExtrinsicGuess)

    truth = cv2.solvePnP
    monkeypatch.setattr(cv2, "solvePnP", solve)
    crop_pose(photograph(turned(0, 0, lean), place, size=100.0), 100.0)
    ((turn, shift),) = begun
    expected = Rotation.from_rotvec([0, 0, np.deg2rad(lean)]) * Rotation.from_euler("x", 180, degrees=True)
    assert (Rotation.from_rotvec(turn.ravel()).inv() * expected).magnitude() < 1e-6
    x, y, z = place
    assert shift.ravel() == pytest.approx([x * (z + 135) / z, y * (z + 135) / z, z + 135])


def test_eyes_in_one_place_give_no_head_infinitely_far_away():
    points = photograph(turned(0, 0, 0))
    points[45] = points[36]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pose = crop_pose(points, SIZE)
    assert pose is None or np.isfinite([pose.yaw, pose.pitch, pose.roll]).all()


def test_landmarks_a_pixel_off_give_angles_some_degrees_off():
    rng = np.random.default_rng(0)
    for yaw, pitch, roll in ANGLES[::7]:
        points = photograph(turned(yaw, pitch, roll), (0, 0, 800)) + rng.normal(0, 0.3, (68, 2))
        pose = crop_pose(points, SIZE)
        assert np.abs(np.subtract([pose.yaw, pose.pitch, pose.roll], [yaw, pitch, roll])).max() < 15


def test_heads_of_other_shapes_are_in_front_of_the_camera_and_the_right_way_up():
    """Unlike the model, real heads fit a second solution as well: behind the camera, upside down."""
    rng = np.random.default_rng(1)
    for yaw, pitch, roll in ANGLES:
        points = photograph(turned(yaw, pitch, roll), (0, 0, 800))
        points[list(HEAD)] += rng.normal(0, 1.5, (6, 2))
        pose = crop_pose(points, SIZE)
        assert abs(pose.roll - roll) < 45, (yaw, pitch, roll, pose)


@pytest.mark.parametrize("lean", [90, 150, 180, -120])
def test_a_picture_turned_on_its_side_or_head(lean):
    pose = crop_pose(photograph(turned(15, -10, lean)), SIZE)
    assert [pose.yaw, pose.pitch] == pytest.approx([15, -10], abs=0.01)
    assert abs((pose.roll - lean + 180) % 360 - 180) < 0.01


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_landmarks_that_are_no_numbers_have_no_pose(value):
    assert crop_pose(np.full((68, 2), value), SIZE) is None
    assert head_pose(np.full((68, 2), value)) is None
    for index in (*HEAD, 3):
        one = upright_face((100, 80), 60)
        one[index, 1] = value
        assert head_pose(one) is None
        # Of the crop's, only the six are looked at.
        assert (crop_pose(one, SIZE) is None) == (index in HEAD)


def test_landmarks_all_in_one_place_have_no_pose():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert head_pose(np.full((68, 2), 7.0)) is None


def test_the_pose_of_an_image_s_landmarks_is_one_wherever_and_however_large_the_face_is():
    face = upright_face()
    pose = head_pose(face)
    assert abs(pose.yaw) < 1
    assert abs(pose.roll) < 1
    for scale, shift in ((0.3, (5, 900)), (1, (-200, 40)), (7, (3000, 0))):
        assert vars(head_pose(scale * face + shift)) == pytest.approx(vars(pose), abs=0.01)


@pytest.mark.parametrize("degrees", [-40, -10, 25])
def test_the_pose_of_an_image_s_landmarks_leans_as_these_do(degrees):
    turn = Rotation.from_rotvec([0, 0, np.deg2rad(degrees)]).as_matrix()[:2, :2]  # clockwise: y points down
    assert head_pose(upright_face() @ turn.T).roll == pytest.approx(degrees, abs=4)


@pytest.mark.parametrize("spread", [(0, 0), (1, 0), (0, 1), (30, 30), (1e9, 1e9)], ids=str)
def test_landmarks_of_no_face_have_no_pose_or_one_in_range(spread):
    rng = np.random.default_rng(0)
    for _ in range(20):
        pose = crop_pose(32 + rng.normal(0, 1, (68, 2)) * spread, SIZE)
        if pose is not None:
            assert abs(pose.yaw) <= 180
            assert abs(pose.pitch) <= 90
            assert abs(pose.roll) <= 180


def test_the_axes_are_those_of_the_turned_head_seen_from_far_away():
    for yaw, pitch, roll in ANGLES:
        seen = turned(yaw, pitch, roll).apply(np.eye(3))[:, :2] * (1, -1)
        assert pose_axes(Pose(yaw, pitch, roll)) == pytest.approx(seen, abs=1e-9)
