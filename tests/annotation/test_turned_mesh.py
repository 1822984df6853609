"""The face mesh's surface and its turns, on a made-up mesh whose shape is known."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign.annotation.turned_mesh import CORNERS, head_axes, head_yaw, surface, turn_mesh
from facealign.geometry.surface import facing
from tests.made_up_mesh import made_up_mesh

FRONTAL = made_up_mesh()


def face_triangles():
    whole = surface()
    return whole.triangles[whole.layers == whole.layers.max()]


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def test_the_face_is_a_disc_whose_triangles_all_turn_the_same_way():
    face = face_triangles()
    edges = np.vstack([face[:, [0, 1]], face[:, [1, 2]], face[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert (
        CORNERS - len(np.unique(np.sort(edges, axis=1), axis=0)) + len(face) == 1
    )  # Euler's number of a disc
    assert set(face.ravel().tolist()) == set(range(CORNERS))
    assert facing(FRONTAL[:, :2], face).all()


def test_the_surroundings_go_on_round_the_outline_without_gap():
    whole = surface()
    turned = turn_mesh(FRONTAL, 0)
    assert facing(turned.before[:, :2], whole.triangles).all()
    corners = turned.before[whole.triangles][..., :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    still = turned.before[-len(whole.outline) :, :2]
    hull = cv2.contourArea(still.astype(np.float32))
    assert area == pytest.approx(hull, rel=1e-5)


def test_a_frontal_mesh_has_the_axes_of_the_image():
    np.testing.assert_allclose(head_axes(FRONTAL), np.eye(3), atol=0.02)
    assert head_yaw(FRONTAL) == pytest.approx(0, abs=1)


@given(st.floats(-60, 60), st.floats(-30, 30))
def test_a_turn_adds_to_the_yaw(first, second):
    once = turn_mesh(FRONTAL, first)
    assert head_yaw(once.mesh) == pytest.approx(head_yaw(FRONTAL) + first, abs=0.1)
    twice = turn_mesh(once.mesh, second)
    assert head_yaw(twice.mesh) == pytest.approx(head_yaw(once.mesh) + second, abs=0.1)


@given(st.floats(-60, 60))
def test_turned_there_and_back_the_face_has_its_shape(degrees):
    back = turn_mesh(turn_mesh(FRONTAL, degrees).mesh, -degrees).mesh
    np.testing.assert_allclose(back, FRONTAL, atol=1e-6 * 80)


def test_the_nose_goes_to_the_side_to_which_the_face_turns():
    nose = FRONTAL[:CORNERS, 2].argmin()
    turned = turn_mesh(FRONTAL, 30)
    rim = surface().outline
    assert turned.after[nose, 0] - FRONTAL[nose, 0] > 10
    assert abs((turned.after[rim] - FRONTAL[rim])[:, 0].mean()) < 5


def test_what_is_beyond_the_head_stays():
    turned = turn_mesh(FRONTAL, 35)
    still = slice(-len(surface().outline), None)
    np.testing.assert_array_equal(turned.after[still], turned.before[still])


def test_turned_by_nothing_image_and_points_stay(photo):
    turned = turn_mesh(FRONTAL, 0)
    points = np.random.default_rng(1).uniform(70, 130, (68, 2))
    np.testing.assert_allclose(turned.carried(points), points, atol=1e-9)
    np.testing.assert_allclose(turned.turned_offsets(points), points)
    assert np.abs(turned.image(photo).astype(int) - photo).max() <= 2


def test_a_mark_on_the_face_is_where_its_point_is_carried(photo):
    mark = FRONTAL[4, :2].round()
    photo[int(mark[1]) - 2 : int(mark[1]) + 3, int(mark[0]) - 2 : int(mark[0]) + 3] = 0, 0, 255
    turned = turn_mesh(FRONTAL, 25)
    red = turned.image(photo).astype(int) @ [-1, -1, 1]
    y, x = np.nonzero(red > 100)
    np.testing.assert_allclose([x.mean(), y.mean()], turned.carried(mark[None])[0], atol=0.7)


def test_offsets_across_the_head_shrink_by_the_cosine():
    turned = turn_mesh(FRONTAL, 60)
    np.testing.assert_allclose(
        turned.turned_offsets(np.array([[4.0, 0], [0, 4]])), [[2, 0], [0, 4]], atol=0.15
    )
