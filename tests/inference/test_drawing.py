"""What is drawn is where it belongs, and nothing stops the drawing."""

import itertools

import numpy as np
import pytest
from scipy.spatial import cKDTree

from facealign.geometry.head_pose import Pose
from facealign.geometry.landmarks import LANDMARK_GROUPS
from facealign.inference.drawing import BOX_COLOUR, COLOURS, draw_face
from tests.upright_face import upright_face

BOX = np.array([100.0, 80.0, 220.0, 200.0])
FACE = upright_face((160, 140), 100)
POSE = Pose(yaw=-12.0, pitch=3.4, roll=0.0)


def canvas(height=260, width=320):
    return np.random.default_rng(0).integers(60, 90, (height, width, 3), dtype=np.uint8)


def changed(picture, before):
    return (picture != before).any(axis=2)


def distances(shape, points):
    """Of every pixel to the nearest of the points."""
    pixels = np.stack(np.indices(shape)[::-1], -1).astype(float)
    return cKDTree(points).query(pixels)[0]


def outline(box):
    along = np.linspace(0, 1, 200)[:, None]
    corners = box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]], box[[0, 1]]
    return np.vstack([a + along * (b - a) for a, b in itertools.pairwise(corners)])


def test_pixels_change_at_the_landmarks_and_the_box_only():
    before = canvas()
    picture = draw_face(before, BOX, FACE)
    near = distances(before.shape[:2], np.vstack([FACE, outline(BOX)]))
    mask = changed(picture, before)
    assert (near[mask] < 4).all()
    assert mask[near < 0.6].mean() > 0.98
    assert picture.dtype == np.uint8
    assert picture.shape == before.shape


def test_every_landmark_has_the_colour_of_its_group():
    far = upright_face((400, 400), 700)
    picture = draw_face(np.zeros((900, 900, 3), np.uint8), np.array([50.0, 50, 850, 850]), far)
    for name, members in LANDMARK_GROUPS.items():
        for x, y in far[members].round().astype(int):
            assert tuple(picture[y, x].tolist()) == COLOURS[name]
    assert len(set(COLOURS.values())) == len(LANDMARK_GROUPS)


def test_a_landmark_is_drawn_to_a_fraction_of_a_pixel():
    before = np.zeros((260, 320, 3), np.uint8)
    for place in ((150.0, 120.0), (150.3, 120.0), (150.0, 120.7)):
        face = np.tile(place, (68, 1))
        picture = (
            draw_face(before, np.array([10.0, 10, 250, 250]), face)[100:140, 130:170]
            .astype(float)
            .sum(axis=2)
        )
        y, x = (np.indices(picture.shape) * picture).sum(axis=(1, 2)) / picture.sum()
        assert (x + 130, y + 100) == pytest.approx(place, abs=0.15)


def test_the_pose_is_written_above_the_box():
    before = canvas()
    without, with_pose = draw_face(before, BOX, FACE), draw_face(before, BOX, FACE, POSE)
    rows, columns = np.nonzero(changed(with_pose, without))
    assert len(rows) > 100
    assert rows.max() < BOX[1] + 4
    assert rows.min() > BOX[1] - 40
    assert columns.min() >= BOX[0] - 4


def test_other_angles_are_another_text():
    first, second = (draw_face(canvas(), BOX, FACE, Pose(yaw, 0.0, 0.0)) for yaw in (10.0, -45.0))
    assert (first != second).any()


def test_the_text_stays_in_the_picture_when_the_box_begins_above_it():
    before = canvas()
    box = np.array([-30.0, -50.0, 220.0, 200.0])
    mask = changed(draw_face(before, box, FACE, POSE), draw_face(before, box, FACE))
    assert mask.sum() > 100
    # a margin at the left: the first letter is whole
    assert np.nonzero(mask)[0].max() < 60


@pytest.mark.parametrize("pose", [None, POSE])
def test_the_input_is_left_as_it_is(pose):
    before = canvas()
    image, box, face = before.copy(), BOX.copy(), FACE.copy()
    picture = draw_face(image, box, face, pose)
    assert not np.shares_memory(picture, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(box, BOX)
    np.testing.assert_array_equal(face, FACE)


def test_a_view_is_drawn_on_like_its_copy():
    image = canvas()[:, ::-1, ::-1]
    np.testing.assert_array_equal(draw_face(image, BOX, FACE, POSE), draw_face(image.copy(), BOX, FACE, POSE))


def test_lines_grow_with_the_face():
    small = changed(draw_face(canvas(), BOX, FACE), canvas()).sum()
    before = canvas(1040, 1280)
    large = changed(draw_face(before, BOX * 4, FACE * 4), before).sum()
    # of the same width, the box's lines would have four times the pixels and the landmarks as many as before
    assert large > 5 * small


@pytest.mark.parametrize(
    "move", [(-500, 0), (0, -500), (900, 900), (-1e5, 3e5), (1e12, 1e12), (-1e300, 1e300)]
)
def test_a_face_outside_changes_no_pixel(move):
    before = canvas()
    box = BOX + np.tile(move, 2)
    np.testing.assert_array_equal(draw_face(before, box, FACE + np.array(move)), before)
    draw_face(before, box, FACE + np.array(move), POSE)


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9, 1e15, 1e300])
def test_a_huge_face_is_drawn_as_far_as_it_is_seen(scale):
    """Its box crosses the picture from top to bottom, its landmarks are elsewhere."""
    before = canvas()
    box = np.array([160.0, -scale, 160 + scale, scale])
    mask = changed(draw_face(before, box, (FACE - 160) * scale + 1e4, POSE), before)
    assert mask[:, 160].mean() > 0.95
    assert not mask[60:, :150].any()


def test_a_box_without_size_is_drawn():
    before = canvas()
    box = np.array([50.0, 50.0, 50.0, 50.0])
    mask = changed(draw_face(before, box, np.tile([50.0, 50.0], (68, 1))), before)
    assert mask[50, 50]
    assert mask.sum() < 60


def test_the_box_is_light():
    picture = draw_face(np.zeros((260, 320, 3), np.uint8), BOX, FACE + 1e6)
    # all but a tenth, as its edges are smoothed
    assert (picture[80, 110:210] >= 0.9 * np.array(BOX_COLOUR)).all()
