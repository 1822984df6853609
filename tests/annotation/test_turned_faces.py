"""Turned training faces of a made-up mesh, whose landmarks are corners of it, so that they are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign.annotation.turned_faces import TurnedFace, TurnSettings, drawn_turn, mesh_box, turned_face
from facealign.annotation.turned_mesh import CORNERS, head_yaw, surface, turn_mesh
from tests.made_up_mesh import made_up_mesh

MESH = made_up_mesh()
SETTINGS = TurnSettings(yaw=(25.0, 25.0))
_INSIDE = np.setdiff1d(np.arange(CORNERS), surface().outline)[::8][:51]
CHOSEN = np.concatenate([surface().outline[::2][:17], _INSIDE])
"""Corners that stand for the 68 landmarks: 17 of the outline, the others inside."""
PHOTO = np.full((200, 200, 3), 128, np.uint8)


class Predictor:
    """Finds the mesh of the face as it is turned, off by `error` pixels and turned on by `yaw`, or none."""

    def __init__(self, error=0.0, yaw=0.0, blind=False):
        self.error, self.yaw, self.blind = error, yaw, blind

    def mesh(self, image, box):
        if self.blind:
            return None
        side = np.sign((box[0] + box[2]) / 2 - mesh_box(MESH[:CORNERS, :2])[[0, 2]].mean())
        candidates = [turn_mesh(MESH, sign * 25 - head_yaw(MESH) + sign * self.yaw).mesh for sign in (-1, 1)]
        seen = candidates[int(side > 0)]
        return seen + np.array([self.error, 0, 0])

    def landmarks(self, mesh):
        return mesh[CHOSEN, :2].copy()


def turned(points, predictor, photo=PHOTO, mesh=MESH, settings=SETTINGS, seed=0):
    return turned_face(photo, points, mesh, predictor, settings, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_landmarks_on_the_mesh_stay_on_it(seed):
    face = turned(MESH[CHOSEN, :2], Predictor(), seed=seed)
    expected = turn_mesh(MESH, face.yaw - head_yaw(MESH)).mesh[CHOSEN, :2]
    np.testing.assert_allclose(face.points, expected, atol=1e-6)
    assert abs(face.yaw) == pytest.approx(25)
    assert face.image.shape == PHOTO.shape


def test_what_the_annotation_is_off_the_mesh_turns_along():
    off = np.zeros((68, 2))
    off[:17] = 3, 1
    face = turned(MESH[CHOSEN, :2] + off, Predictor())
    plain = turned(MESH[CHOSEN, :2], Predictor())
    moved = (face.points - plain.points)[:17]
    np.testing.assert_allclose(moved, np.tile([3 * np.cos(np.radians(25)), 1], (17, 1)), atol=0.1)


def test_inside_the_face_half_of_an_error_of_the_second_mesh_stays():
    plain = turned(MESH[CHOSEN, :2], Predictor())
    moved = turned(MESH[CHOSEN, :2], Predictor(error=1.0)).points - plain.points
    np.testing.assert_allclose(moved[17:], np.tile([0.5, 0], (51, 1)), atol=1e-6)
    np.testing.assert_allclose(moved[:17], np.tile([1.0, 0], (17, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("predictor", "reason"),
    [
        (Predictor(blind=True), "no mesh on the turned image"),
        (Predictor(yaw=15), "another yaw than intended"),
        (Predictor(error=8), "landmarks uncertain"),
    ],
)
def test_what_the_second_mesh_does_not_confirm_is_refused(predictor, reason):
    assert turned(MESH[CHOSEN, :2], predictor) == reason


def test_an_annotation_of_another_face_is_refused():
    assert turned(MESH[CHOSEN, :2] + 30, Predictor()) == "mesh and annotation differ"


def test_a_face_that_is_cut_off_is_refused():
    assert turned(MESH[CHOSEN, :2], Predictor(), photo=PHOTO[:, :110]) == "off the image"


def test_a_face_that_is_turned_enough_is_refused():
    mesh = turn_mesh(MESH, 40).mesh
    assert turned(mesh[CHOSEN, :2], Predictor(), mesh=mesh) == "turned enough"


@given(st.floats(-60, 60), st.integers(0, 1000))
def test_turns_lead_away_from_the_viewer_into_the_range(yaw, seed):
    settings = TurnSettings()
    turn = drawn_turn(yaw, settings, np.random.default_rng(seed))
    if turn is None:
        assert abs(yaw) + settings.turn[0] > settings.yaw[1]
        return
    assert settings.turn[0] <= abs(turn) <= settings.turn[1]
    assert abs(yaw + turn) >= abs(yaw) or abs(yaw) < 8
    assert abs(yaw + turn) <= settings.yaw[1] + 3


def test_near_frontal_faces_turn_to_both_sides():
    turns = [drawn_turn(3.0, TurnSettings(), np.random.default_rng(seed)) for seed in range(50)]
    assert 10 < sum(turn > 0 for turn in turns) < 40
    assert isinstance(turned(MESH[CHOSEN, :2], Predictor()), TurnedFace)


@pytest.mark.parametrize("ranges", [{"yaw": (30.0, 20.0)}, {"turn": (-5.0, 20.0)}, {"yaw": (20.0, 90.0)}])
def test_ranges_that_cannot_be_are_refused(ranges):
    with pytest.raises(ValueError, match="rising angles"):
        TurnSettings(**ranges)
