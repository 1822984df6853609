"""The 68-point markup: its mirror image, its distances, and its files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from facealign.datasets.pts import read_pts, write_pts
from facealign.errors import FaceAlignError
from facealign.geometry.landmarks import (
    LANDMARK_GROUPS,
    MIRROR,
    eye_distance,
    inter_ocular,
    inter_pupil,
    mirror_points,
)
from tests.upright_face import upright_face

coordinates = st.floats(-1e5, 1e5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pts")


def test_mirror_is_an_involution_on_all_68():
    assert sorted(MIRROR) == list(range(68))
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))


def test_landmarks_of_the_middle_and_only_they_stay():
    middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert [index for index in range(68) if MIRROR[index] == index] == middle


def test_a_face_that_is_its_own_mirror_image_is_left_as_it_is():
    face = upright_face((49.5, 60), 80)
    np.testing.assert_allclose(mirror_points(face, 100), face, atol=1e-9)


@pytest.mark.parametrize(
    ("left", "right"),
    [(0, 16), (17, 26), (21, 22), (31, 35), (36, 45), (39, 42), (37, 44), (41, 46), (48, 54), (60, 64)],
)
def test_left_and_right_change_places(left, right):
    """Of a face with one mark moved, the other side's mark is the moved one in the mirrored picture."""
    face = upright_face((49.5, 60), 80)
    face[left] += (-3.0, 5.0)
    mirrored = mirror_points(face, 100)
    np.testing.assert_allclose(mirrored[right], [99 - face[left, 0], face[left, 1]])
    np.testing.assert_allclose(mirrored[left], upright_face((49.5, 60), 80)[left], atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (2, 68, 2), elements=coordinates), st.integers(1, 5000))
def test_mirroring_twice_changes_nothing(faces, width):
    before = faces.copy()
    np.testing.assert_allclose(mirror_points(mirror_points(faces, width), width), faces, atol=1e-9)
    np.testing.assert_array_equal(faces, before)


def test_groups_are_all_landmarks_once():
    members = [index for group in LANDMARK_GROUPS.values() for index in range(68)[group]]
    assert members == list(range(68))
    assert {name: group.stop - group.start for name, group in LANDMARK_GROUPS.items()} == {
        "contour": 17,
        "brows": 10,
        "nose": 9,
        "eyes": 12,
        "mouth": 20,
    }


def test_distances_of_the_eyes_by_hand():
    face = np.full((68, 2), 1e6)
    # Six points each whose means are (10, 20) and (40, 60): a 3-4-5 triangle times ten.
    spread = np.array([[-5, 0], [-2, -2], [2, -2], [5, 0], [2, 2], [-2, 2]], float)
    face[36:42], face[42:48] = spread + np.array([10, 20]), spread + np.array([40, 60])
    assert inter_pupil(face) == pytest.approx(50)
    # outer corners (5, 20) and (45, 60), which is the fourth of its eye
    assert inter_ocular(face) == pytest.approx(np.hypot(40, 40))


def test_the_eye_distance_is_a_share_of_the_longer_side_whatever_the_size_and_place():
    face = upright_face()  # 1 wide, its eyes 0.46 apart
    assert eye_distance(face) == pytest.approx(0.46)
    assert eye_distance(face * 70 + (300, -20)) == pytest.approx(0.46)
    height = 0.33 + 0.5
    assert eye_distance(face * (0.1, 1)) == pytest.approx(0.046 / height)


def test_distances_of_many_faces_at_once():
    faces = np.random.default_rng(0).uniform(0, 200, (3, 5, 68, 2))
    for distance in (inter_pupil, inter_ocular):
        together = distance(faces)
        assert together.shape == (3, 5)
        for index in np.ndindex(3, 5):
            assert together[index] == pytest.approx(distance(faces[index]))


@settings(deadline=None, max_examples=50)
@given(
    arrays(
        np.float64,
        array_shapes(min_dims=1, max_dims=1, max_side=80).map(lambda n: (*n, 2)),
        elements=coordinates,
    )
)
def test_pts_files_hold_points_to_a_millionth(folder, points):
    path = folder / "round_trip.pts"
    write_pts(path, points)
    np.testing.assert_allclose(read_pts(path, expected=len(points)), points, rtol=0, atol=0.51e-6)


def test_pts_files_are_written_as_300w_has_them(tmp_path):
    """1-based: the centre of the picture's first pixel is (1, 1)."""
    write_pts(tmp_path / "new" / "face.pts", np.array([[0.0, 0.0], [10.25, 3.5]]))
    assert (tmp_path / "new" / "face.pts").read_text() == (
        "version: 1\nn_points: 2\n{\n1.000000 1.000000\n11.250000 4.500000\n}\n"
    )
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["face.pts"]


ROWS = [f"{index + 1}.5 {2 * index}" for index in range(68)]
EXPECTED = np.array([[index + 0.5, 2 * index - 1] for index in range(68)])
WELL_FORMED = {
    "two spaces after the colon": "version: 1\nn_points:  68\n{\n" + "\n".join(ROWS) + "\n}\n",
    "carriage returns": "version: 1\r\nn_points: 68\r\n{\r\n" + "\r\n".join(ROWS) + "\r\n}\r\n",
    "no newline at the end": "version: 1\nn_points: 68\n{\n" + "\n".join(ROWS) + "\n}",
    "a space at every line's end": "version: 1 \nn_points: 68 \n{ \n" + " \n".join(ROWS) + " \n} \n",
    "tabs and indents": "version: 1\n n_points :\t68\n{\n\t" + "\n\t".join(ROWS).replace(" ", "\t") + "\n}\n",
    "a byte order mark": "\ufeffn_points: 68\n{\n" + "\n".join(ROWS) + "\n}\n",
    "no header": "{\n" + "\n".join(ROWS) + "\n}\n",
}


@pytest.mark.parametrize("text", WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_pts_files_as_they_occur_are_read(tmp_path, text):
    path = tmp_path / "face.pts"
    path.write_bytes(text.encode("utf-8"))
    np.testing.assert_array_equal(read_pts(path), EXPECTED)


def rows(n):
    return "\n".join(f"{index} {index}" for index in range(n))


MALFORMED = {
    "39 points of a profile": f"version: 1\nn_points: 39\n{{\n{rows(39)}\n}}\n",
    "one point short": f"version: 1\nn_points: 68\n{{\n{rows(67)}\n}}\n",
    "one point too many": f"version: 1\nn_points: 68\n{{\n{rows(69)}\n}}\n",
    "one number short": f"version: 1\nn_points: 68\n{{\n{rows(67)}\n7\n}}\n",
    "header says 67 of 68": f"version: 1\n n_points: 67\n{{\n{rows(68)}\n}}\n",
    "header says 67 of 68, behind a byte order mark": f"\ufeffn_points: 67\n{{\n{rows(68)}\n}}\n",
    "no opening brace": f"version: 1\nn_points: 68\n{rows(68)}\n}}\n",
    "no closing brace": f"version: 1\nn_points: 68\n{{\n{rows(68)}\n",
    "cut in the middle": f"version: 1\nn_points: 68\n{{\n{rows(68)}\n}}\n"[:200],
    "a word": f"version: 1\nn_points: 68\n{{\n{rows(67)}\nx y\n}}\n",
    "a count that is none": f"version: 1\nn_points: many\n{{\n{rows(68)}\n}}\n",
    "a count of two words": f"version: 1\nn_points: 6 8\n{{\n{rows(68)}\n}}\n",
    "nan": f"version: 1\nn_points: 68\n{{\n{rows(67)}\nnan 1\n}}\n",
    "infinity": f"version: 1\nn_points: 68\n{{\n{rows(67)}\n1 -inf\n}}\n",
    "beyond a float": f"version: 1\nn_points: 68\n{{\n{rows(67)}\n1 1e999\n}}\n",
    "comma decimals": f"version: 1\nn_points: 68\n{{\n{rows(67)}\n1,5 2,5\n}}\n",
    "nothing between the braces": "version: 1\nn_points: 68\n{\n}\n",
    "empty": "",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_pts_file_is_named(tmp_path, text):
    path = tmp_path / "bad face.pts"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FaceAlignError, match=r"bad face\.pts"):
        read_pts(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\nn_points: many\n{\n1 2\n}\n", 2),
        ("version: 1\nn_points: 2\n{\n1 2\n3 four\n}\n", 5),
        ("{ 1 two\n}", 1),
    ],
)
def test_what_is_no_number_is_told_with_its_line(tmp_path, text, line):
    path = tmp_path / "face.pts"
    path.write_text(text)
    with pytest.raises(FaceAlignError, match=rf"face\.pts, line {line}: not a \.pts file"):
        read_pts(path, expected=None)


@pytest.mark.parametrize(
    "content", [bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n{\xff}", b"{\x00\x01}", "{٣ x}".encode("utf-16")]
)
def test_binary_content_is_named(tmp_path, content):
    path = tmp_path / "binary.pts"
    path.write_bytes(content)
    with pytest.raises(FaceAlignError, match=r"binary\.pts"):
        read_pts(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "folder.pts").mkdir()
    for name in ("absent.pts", "folder.pts"):
        with pytest.raises(FaceAlignError, match=name.replace(".", r"\.")):
            read_pts(tmp_path / name)


def test_other_markups_are_read_when_asked_for(tmp_path):
    path = tmp_path / "profile.pts"
    path.write_text(MALFORMED["39 points of a profile"])
    expected = np.array([[index - 1.0] * 2 for index in range(39)])
    for count in (39, None):
        np.testing.assert_array_equal(read_pts(path, expected=count), expected)
    with pytest.raises(FaceAlignError, match="39 points, expected 68"):
        read_pts(path)
