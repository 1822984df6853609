"""How boxes vary: detectors whose variation is known, and the program with MTCNN."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks import detection_pictures
from facealign.datasets.box_variation import SIZES, box_moves
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
BRIGHT = (60, 100, 180, 190)
"""x1 y1 x2 y2, edges, of the only bright part of the photo."""


@pytest.fixture
def photo():
    image = np.zeros((300, 260, 3), np.uint8)
    x1, y1, x2, y2 = BRIGHT
    image[y1:y2, x1:x2] = 255
    return image, upright_face(((x1 + x2) / 2, (y1 + y2) / 2), 110)


def bright_part(image):
    """Finds the bright part to about a hundredth of a pixel, by its moments."""
    weight = image[..., 0] / 255.0
    low, high = [], []
    for axis in (0, 1):  # columns, rows
        profile = weight.sum(axis=axis)
        place = np.arange(len(profile))
        middle, length = (place * profile).sum() / profile.sum(), profile.sum() / profile.max()
        low.append(middle - length / 2)
        high.append(middle + length / 2)
    return np.array([*low, *high])


def detector(change=lambda image, box: box):
    return lambda image: [SimpleNamespace(box=change(image, bright_part(image)))]


def test_a_box_that_goes_with_the_face_does_not_vary(photo):
    moves = box_moves(detector(), *photo)
    assert moves.shape == (1 + len(SIZES), 3)
    np.testing.assert_allclose(moves, [[0, 0, 1]] * 3, atol=2e-3)


def test_the_photo_is_made_smaller_and_larger_by_what_the_documentation_says():
    text = " ".join((ROOT / "docs" / "data.md").read_text().split())
    assert f"in the mirror and in the photo at {SIZES[0]} and {SIZES[1]} times its size" in text


def test_a_place_is_found_again_to_a_fiftieth_of_a_pixel(photo):
    """Pixels are squares: made smaller or larger, their middles move by parts of half a pixel."""
    moves = box_moves(detector(), *photo)
    assert np.abs(moves[:, :2]).max() * 120 < 0.02


@pytest.mark.parametrize(("left", "right", "size"), [(-8.0, 8.04, SIZES[0]), (-8.04, 8.0, SIZES[1])])
def test_the_face_is_looked_for_where_the_photo_s_pixels_went(photo, left, right, size):
    """Of two boxes on either side of the face, nearly as far, the nearer one is the face's.

    If a pixel's number were multiplied by the size, a fifteenth of a pixel off, it would be the other.
    """

    def both(image):
        box = bright_part(image)
        apart = (left, right) if abs(image.shape[1] - 260 * size) < 1 else (0, 300)
        return [SimpleNamespace(box=box + np.array([move, 0, move, 0])) for move in apart]

    image, points = photo
    moves = box_moves(both, image, points - 0.5)  # whose middle is that of the bright part's pixels
    nearer = left if abs(left) < abs(right) else right
    assert moves[1 + SIZES.index(size), 0] * 120 * size == pytest.approx(nearer, abs=0.03)


def test_a_box_beside_the_face_moves_in_the_mirror_by_twice_that(photo):
    moves = box_moves(detector(lambda image, box: box + 9.0 * np.array([1, 0, 1, 0])), *photo)
    np.testing.assert_allclose(moves[0], [-18 / 120, 0, 1], atol=2e-3)


def test_a_box_that_is_larger_in_large_photos(photo):
    def grown(image, box):
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * image.shape[1] / 260
        return np.concatenate([middle - half, middle + half])

    np.testing.assert_allclose(box_moves(detector(grown), *photo)[:, 2], [1, *SIZES], atol=5e-3)


def test_a_face_that_is_not_found(photo):
    assert box_moves(lambda _: [], *photo).shape == (0, 3)
    only_in_photo = iter([True, False, False, False])
    found = detector()
    assert box_moves(lambda image: found(image) if next(only_in_photo) else [], *photo).shape == (0, 3)


def variation(*arguments):
    command = [sys.executable, "-m", "tools.box_variation", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_program_with_mtcnn(tmp_path):
    picture = detection_pictures.background("coffee")
    box = detection_pictures.paste(picture, np.array([300.0, 220.0]), 120.0)
    cv2.imwrite(str(tmp_path / "face.png"), picture)
    points = upright_face((box[:2] + box[2:]) / 2, box[2] - box[0])
    lines = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    (tmp_path / "face.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    result = variation("--data", tmp_path, "--every", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("1 photos, 3 boxes found again")
    assert result.stdout.count("\n") == 4


def test_wrong_usage(tmp_path):
    assert variation("--data", tmp_path, "--every", 0).returncode == 2
    nothing = variation("--data", tmp_path)
    assert nothing.returncode == 1
    assert nothing.stderr == f"error: {tmp_path}: no image with 68 points in a .pts file beside it\n"
