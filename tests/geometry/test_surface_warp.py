"""Images of surfaces that have moved, against images whose pixels are known."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign.geometry.surface import rotate
from facealign.geometry.surface_warp import warp_surface
from tests.flat_grid import flat_grid

DOWN = np.array([0.0, 1, 0])


def warped(image, before, after, triangles, samples=1):
    return warp_surface(image, before, after, triangles, np.zeros(len(triangles), int), samples)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def test_what_does_not_move_stays_to_the_pixel(noise):
    vertices, triangles = flat_grid(5.3, 2.1, 44.7, 36.2)
    uneven = vertices + np.random.default_rng(1).normal(0, 1, vertices.shape)
    np.testing.assert_array_equal(warped(noise, uneven, uneven, triangles), noise)


def test_several_samples_a_pixel_change_smooth_images_little():
    y, x = np.mgrid[:40, :50]
    smooth = np.dstack([4 * x, 5 * y, 2 * (x + y)]).astype(np.uint8)
    vertices, triangles = flat_grid(3, 3, 46, 36)
    result = warped(smooth, vertices, vertices, triangles, samples=2)
    assert np.abs(result.astype(int) - smooth)[3:-3, 3:-3].max() <= 1


@given(st.floats(-70, 70))
@settings(deadline=None)
def test_a_flat_image_turned_is_compressed_by_the_cosine(degrees):
    x = np.arange(101)
    ramp = np.tile((2 * x).astype(np.uint8)[:, None], (30, 1, 3))
    vertices, triangles = flat_grid(0, 0, 100, 29)
    turned = rotate(vertices, DOWN, np.array([50.0, 0, 0]), degrees)
    row = warped(ramp, vertices, turned, triangles)[15, :, 0].astype(float)
    cosine = np.cos(np.radians(degrees))
    expected = 2 * (50 + (x - 50) / cosine)
    away = np.abs(x - 50)
    seen, beside = away < 50 * cosine - 1, away > 50 * cosine + 1
    np.testing.assert_allclose(row[seen], expected[seen], atol=1.1)
    np.testing.assert_array_equal(row[beside], 2 * x[beside])


def test_an_affine_move_is_that_of_opencv(noise):
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    affine = np.array([[0.9, 0.2, 3.0], [-0.1, 1.1, 2.0]])
    vertices, triangles = flat_grid(-60, -60, 110, 100)
    moved = np.column_stack([vertices[:, :2] @ affine[:, :2].T + affine[:, 2], vertices[:, 2]])
    expected = cv2.warpAffine(
        smooth, affine, (50, 40), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    np.testing.assert_allclose(warped(smooth, vertices, moved, triangles).astype(int), expected, atol=2)


def two_sheets():
    """A red image with a blue square at the left, and the surface of the square before and after it moves."""
    image = np.zeros((30, 60, 3), np.uint8)
    image[..., 2] = 255
    image[5:25, 5:25] = 255, 0, 0
    square, triangles = flat_grid(5, 5, 24, 24)
    return image, square, square + np.array([30, 0, 0]), triangles


@pytest.mark.parametrize(
    ("depth", "layer", "blue"), [(-1, 0, True), (1, 0, False), (1, 1, True), (-1, -1, False)]
)
def test_the_nearer_triangle_is_seen_or_that_of_the_higher_layer(depth, layer, blue):
    image, square, moved, triangles = two_sheets()
    wall, wall_triangles = flat_grid(32, 2, 57, 27)
    before = np.vstack([wall, square])
    after = np.vstack([wall, moved + np.array([0, 0, depth])])
    both = np.vstack([wall_triangles, triangles + len(wall)])
    layers = np.repeat([0, layer], [len(wall_triangles), len(triangles)])
    result = warp_surface(image, before, after, both, layers)
    assert result[15, 45].tolist() == ([255, 0, 0] if blue else [0, 0, 255])


def test_what_faces_away_is_not_drawn():
    image, square, moved, triangles = two_sheets()
    mirrored = moved * (-1, 1, 1) + (88, 0, 0)
    np.testing.assert_array_equal(warped(image, square, mirrored, triangles), image)


def test_a_surface_off_the_image_leaves_it(noise):
    vertices, triangles = flat_grid(5, 5, 20, 20)
    np.testing.assert_array_equal(warped(noise, vertices, vertices + np.array([500, 0, 0]), triangles), noise)


def test_there_and_back_gives_a_smooth_image_again(noise):
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    vertices, triangles = flat_grid(5, 5, 44, 34, steps=9)
    bent = vertices.copy()
    inner = slice(20, 60)
    bent[inner, :2] += np.random.default_rng(3).normal(0, 0.6, bent[inner, :2].shape)
    back = warped(warped(smooth, vertices, bent, triangles, 2), bent, vertices, triangles, 2)
    assert np.abs(back.astype(int) - smooth).mean() < 1
