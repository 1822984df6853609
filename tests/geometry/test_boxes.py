"""Boxes: areas and overlaps against counted pixels, squares, and the text files they come in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign.errors import FaceAlignError
from facealign.geometry.boxes import area, box_from_landmarks, intersection, landmark_box, overlap, square
from facealign.inference.given_boxes import read_box_file
from tests.upright_face import upright_face

corners = st.tuples(*[st.integers(0, 30)] * 4)
reals = st.floats(-1e4, 1e4)


def covered(box):
    """The pixels of a box, the pixel (i, j) being the square from (i, j) to (i + 1, j + 1)."""
    x1, y1, x2, y2 = box
    mask = np.zeros((31, 31), bool)
    mask[y1:y2, x1:x2] = True
    return mask


@settings(deadline=None)
@given(corners, corners)
def test_area_and_overlap_count_pixels(a, b):
    common, union = (covered(a) & covered(b)).sum(), (covered(a) | covered(b)).sum()
    first, second = np.array(a, float), np.array(b, float)
    assert area(first) == covered(a).sum()
    assert intersection(first, second) == common
    assert overlap(first, second) == pytest.approx(common / union if union else 0)


def test_overlap_of_every_pair_at_once():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (7, 2))
    boxes = np.hstack([low, low + rng.uniform(1, 50, (7, 2))])
    matrix = overlap(boxes[:, None], boxes[None])
    assert matrix.shape == (7, 7)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, matrix.T)
    for i, j in np.ndindex(7, 7):
        assert matrix[i, j] == pytest.approx(overlap(boxes[i], boxes[j]))


def test_boxes_of_less_than_a_pixel_overlap_like_any_others():
    boxes = np.array([[0.0, 0, 0.5, 0.25], [0.25, 0, 0.75, 0.25]])
    np.testing.assert_allclose(overlap(boxes[:, None], boxes), [[1, 1 / 3], [1 / 3, 1]])


def test_landmark_box_is_the_tightest():
    points = np.array([[3.0, 9.0], [-1.0, 4.0], [2.0, 11.5]])
    np.testing.assert_array_equal(landmark_box(points), [-1, 4, 3, 11.5])
    np.testing.assert_array_equal(
        landmark_box(np.stack([points, points + 1])), [[-1, 4, 3, 11.5], [0, 5, 4, 12.5]]
    )


def test_square_by_hand():
    # longer side 40, centre (30, 30)
    box = np.array([20.0, 10.0, 40.0, 50.0])
    np.testing.assert_allclose(square(box), [10, 10, 50, 50])
    np.testing.assert_allclose(square(box, 1.5), [0, 0, 60, 60])
    np.testing.assert_allclose(square(box, 0.5, (0.1, -0.25)), [24, 10, 44, 30])
    # of several, each has its own longer side: 40, 10, 6
    others = np.array([[0.0, 0, 10, 4], [-3, 1, 0, 7]])
    np.testing.assert_allclose(
        square(np.vstack([box, others]), 1.0, (0.5, 0)),
        [[30, 10, 70, 50], [5, -3, 15, 7], [-1.5, 1, 4.5, 7]],
    )


@settings(deadline=None)
@given(
    reals,
    reals,
    st.floats(0.1, 1e3),
    st.floats(0.1, 1e3),
    st.floats(0.2, 5),
    st.tuples(*[st.floats(-1, 1)] * 2),
)
def test_square_has_its_side_and_its_centre(x, y, width, height, scale, shift):
    x1, y1, x2, y2 = square(np.array([x, y, x + width, y + height]), scale, shift)
    longer = max(width, height)
    assert x2 - x1 == pytest.approx(scale * longer, rel=1e-6)
    assert y2 - y1 == pytest.approx(scale * longer, rel=1e-6)
    assert (x1 + x2) / 2 == pytest.approx(x + width / 2 + shift[0] * longer, abs=1e-6)
    assert (y1 + y2) / 2 == pytest.approx(y + height / 2 + shift[1] * longer, abs=1e-6)


def test_box_from_landmarks_by_hand():
    """By the medians over 300-W's training faces, with which the released networks' samples were made.

    Landmarks 100 wide and 200 high, their middle in (50, 100): the box's middle is 2.4 further left and 36.4
    further up; it is 97.2 wide and 259.4 high.
    """
    points = np.array([[0.0, 30], [100, 70], [40, 0], [60, 200]])
    np.testing.assert_allclose(
        box_from_landmarks(points), [47.6 - 48.6, 63.6 - 129.7, 47.6 + 48.6, 63.6 + 129.7], atol=1e-9
    )


def test_box_from_landmarks_moves_and_grows_with_the_face():
    """Whatever its constants are, which are measured."""
    face = upright_face()
    box = box_from_landmarks(face)
    assert overlap(box, landmark_box(face)) > 0.5
    np.testing.assert_allclose(box_from_landmarks(face * 7.0 + (30, -4)), box * 7 + (30, -4, 30, -4))
    np.testing.assert_allclose(box_from_landmarks(np.stack([face, 2 * face])), [box, 2 * box])


def test_box_file(tmp_path):
    """1-based; commas or spaces; what follows the box, five points or a score, is not read."""
    path = tmp_path / "boxes.txt"
    path.write_bytes(b"\xef\xbb\xbf1 1 10.5 20\r\n\r\n3,4, 5,6, 0.99 name\n  2\t3 4 5 nose\n")
    found = read_box_file(path)
    np.testing.assert_array_equal(found, [[0, 0, 9.5, 19], [2, 3, 4, 5], [1, 2, 3, 4]])


def test_an_empty_box_file_has_no_face(tmp_path):
    path = tmp_path / "boxes.txt"
    path.write_text("\n \n")
    assert read_box_file(path) == []


@pytest.mark.parametrize(
    "line",
    ["1 2 3", "a b c d", "1 2 3 nan", "1 2 inf 4", "5 2 5 4", "5 2 4 4", "1 4 9 4", "1;2;3;4", "1 2 3 1e999"],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line):
    path = tmp_path / "boxes.txt"
    path.write_text(f"1 1 9 9\n\n{line}\n")
    with pytest.raises(FaceAlignError, match=r"boxes\.txt, line 3"):
        read_box_file(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x80\x81")
    for name in ("absent.txt", "folder.txt", "binary.txt"):
        with pytest.raises(FaceAlignError, match=name.replace(".", r"\.")):
            read_box_file(tmp_path / name)
