"""What is drawn is where it belongs, and nothing stops the drawing."""

import itertools

import numpy as np
import pytest
from scipy.spatial import cKDTree

from facealign.geometry.head_pose import Pose
from facealign.geometry.landmarks import LANDMARK_GROUPS, LANDMARK_LINES
from facealign.inference.drawing import (
    AXIS_COLOURS,
    BOX_COLOUR,
    COLOURS,
    draw_face,
    draw_faces,
    score_label,
    sizes,
)
from facealign.inference.face_aligner import Face
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


def along(corners):
    steps = np.linspace(0, 1, 200)[:, None]
    return np.vstack([a + steps * (b - a) for a, b in itertools.pairwise(corners)])


def outline(box):
    return along([box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]], box[[0, 1]]])


def lines(face):
    """Points on the lines between the landmarks, by the markup's description."""
    open_ones = [range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36)]
    closed = [range(36, 42), range(42, 48), range(48, 60), range(60, 68)]
    ways = [*open_ones, *([*way, way[0]] for way in closed)]
    return np.vstack([along(face[list(way)]) for way in ways])


def test_pixels_change_at_the_lines_between_landmarks_and_at_the_box_only():
    before = canvas()
    picture = draw_face(before, BOX, FACE)
    near = distances(before.shape[:2], np.vstack([lines(FACE), outline(BOX)]))
    mask = changed(picture, before)
    assert (near[mask] < 4).all()
    assert mask[near < 0.5].mean() > 0.98
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


def test_every_landmark_is_on_a_line():
    ways = [range(68)[members] for group in LANDMARK_LINES.values() for members, _ in group]
    assert sorted(number for way in ways for number in way) == list(range(68))


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_the_axes_start_at_the_nose_and_show_the_head_s_turn(turn):
    """A head that looks to the right, up, or leans by a quarter: which axis ends where on the screen."""
    pose = [Pose(90.0, 0.0, 0.0), Pose(0.0, 90.0, 0.0), Pose(0.0, 0.0, 90.0)][turn]
    ends = [
        {1: (0, -1), 2: (1, 0)},  # to the right: what was ahead is at the right
        {0: (1, 0), 2: (0, -1)},
        {0: (0, 1), 1: (1, 0)},  # clockwise: up is at the right, the image's right is below
    ][turn]
    face = np.tile([100.0, 100.0], (68, 1))  # one point, so that nothing hides the axes
    side = 200.0
    picture = draw_face(np.zeros((200, 200, 3), np.uint8), np.array([0.0, 0, side, side]) + 1e4, face, pose)
    for axis, colour in enumerate(AXIS_COLOURS):
        end = np.array(ends.get(axis, (0, 0)))
        x, y = (face[0] + end * (0.9 * sizes(side, 200).axis)).round().astype(int)
        drawn = np.abs(picture[y, x].astype(int) - colour).max() < 30
        assert drawn == (axis in ends)


def test_the_label_is_above_the_box():
    before = canvas()
    without, labelled = draw_face(before, BOX, FACE), draw_face(before, BOX, FACE, label="0.99")
    rows, columns = np.nonzero(changed(labelled, without))
    assert len(rows) > 60
    assert rows.max() < BOX[1] + 2
    assert rows.min() > BOX[1] - 40
    assert columns.min() >= BOX[0] - 1


def test_another_label_is_another_text():
    first, second = (draw_face(canvas(), BOX, FACE, label=label) for label in ("#1", "#2"))
    assert (first != second).any()


@pytest.mark.parametrize("corner", [(-30.0, -50.0), (310.0, 250.0), (-500.0, 900.0)])
def test_the_label_stays_in_the_picture(corner):
    """As large as elsewhere: none of it is cut off."""
    before = canvas()
    box = np.array([*corner, corner[0] + 120, corner[1] + 120])
    away = FACE + 1e5
    mask = changed(draw_face(before, box, away, label="0.99"), draw_face(before, box, away))
    inside = changed(draw_face(before, BOX, away, label="0.99"), draw_face(before, BOX, away))
    assert mask.sum() == pytest.approx(inside.sum(), rel=0.1)


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_a_label_in_an_image_of_a_few_pixels_is_cut(length):
    before = canvas(length, 2 * length)
    assert draw_face(before, BOX, FACE, POSE, label="a long label").shape == before.shape


@pytest.mark.parametrize("longest", [200, 6000])
def test_what_is_drawn_is_seen_and_hides_no_face(longest):
    """On a screen that shows the whole image; beside a fiftieth of the face."""
    for side in (longest / 10, longest / 2):
        size = sizes(side, longest)
        assert max(0.5, longest / 5000) <= size.line <= max(0.6, side / 50, longest / 4500)
        assert size.radius < max(side / 40, 2 * size.line)
        assert max(8, longest / 120) < size.text < side


def test_all_faces_are_drawn_with_their_scores():
    before = canvas()
    faces = [Face(BOX + shift, 0.987, FACE + shift, POSE, confidence=0.9) for shift in (0, 60)]
    expected = before
    for face in reversed(faces):  # the first, of the best score, is on top
        expected = draw_face(expected, face.box, face.landmarks, POSE, label="0.99")
    np.testing.assert_array_equal(draw_faces(before, faces), expected)
    assert (draw_faces(before, faces, ["#1", "#2"]) != expected).any()
    assert score_label(Face(BOX, None, FACE, None, 1.0), track=7) == "#7"


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
    draw_face(before, box, FACE + np.array(move), POSE, label="far")


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
