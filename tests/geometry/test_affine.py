"""Affine maps and warps against homogeneous matrices, means of blocks and pictures of known values."""

import numpy as np
import pytest

from facealign.geometry.affine import (
    apply,
    block_average,
    block_grid,
    compose,
    invert,
    reach,
    shrinking,
    warp,
)


def homogeneous(affine):
    return np.vstack([affine, [0, 0, 1]])


def ramp(height, width):
    """A picture that is linear in x and y, which averaging and interpolation leave as it is."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([2 * x, 2 * y, x + y]).astype(np.uint8)


@pytest.fixture
def affines():
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (5, 2, 3)) * (1, 1, 20)


def test_maps_are_those_of_homogeneous_matrices(affines):
    points = np.random.default_rng(1).normal(0, 50, (5, 7, 2))
    for affine, own in zip(affines, points, strict=True):
        expected = (homogeneous(affine) @ np.column_stack([own, np.ones(7)]).T)[:2].T
        np.testing.assert_allclose(apply(affine, own), expected, atol=1e-9)
        np.testing.assert_allclose(invert(affine), np.linalg.inv(homogeneous(affine))[:2], atol=1e-9)
        assert shrinking(affine) == pytest.approx(abs(np.linalg.det(affine[:, :2])) ** -0.5)
    np.testing.assert_allclose(apply(affines, points), np.stack(list(map(apply, affines, points))))
    other = affines[::-1]
    expected = [(homogeneous(b) @ homogeneous(a))[:2] for a, b in zip(affines, other, strict=True)]
    np.testing.assert_allclose(compose(other, affines), expected, atol=1e-9)


def test_composing_leaves_both_as_they_are(affines):
    before = affines.copy()
    compose(affines[0], affines[1])
    compose(affines, affines[::-1])
    np.testing.assert_array_equal(affines, before)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_blocks_are_means_and_their_centres_are_where_the_grid_says(factor):
    image = np.random.default_rng(2).integers(0, 256, (4 * factor, 6 * factor, 3), dtype=np.uint8)
    small, grid = block_average(image, factor)
    means = image.reshape(4, factor, 6, factor, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 0.51
    np.testing.assert_array_equal(grid, block_grid(factor))
    centres = np.arange(6 * factor).reshape(6, factor).mean(axis=1)
    np.testing.assert_allclose(apply(grid, np.column_stack([np.arange(6), np.zeros(6)]))[:, 0], centres)


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 9), (7, 10)])
def test_blocks_over_the_edge_are_filled_up_with_black(height, width):
    image = np.full((height, width, 3), 200, np.uint8)
    small, _ = block_average(image, 4)
    assert small.shape == (2, -(-width // 4), 3)
    whole = np.zeros((8, 4 * small.shape[1]))
    whole[:height, :width] = 200
    means = whole.reshape(2, 4, -1, 4).mean(axis=(1, 3))
    assert np.abs(small - means[..., None]).max() <= 0.51


@pytest.mark.parametrize("shrink", [1.0, 1.9, 2.0, 2.7, 3.0, 4.6])
@pytest.mark.parametrize("degrees", [0, 33, 90])
def test_a_linear_picture_has_the_value_of_the_place_that_a_pixel_is_of(shrink, degrees):
    image = ramp(120, 126)
    turn = np.exp(-1j * np.deg2rad(degrees)) / shrink
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    centre = np.array([63.25, 58.5])
    affine = np.column_stack([linear, (4.5, 5.5) - linear @ centre])
    shown = warp(image, affine, (12, 10))
    assert shown.shape == (12, 10, 3)
    y, x = np.mgrid[:12, :10]
    places = apply(np.linalg.inv(homogeneous(affine))[:2], np.stack([x, y], axis=-1).astype(float))
    expected = np.stack([2 * places[..., 0], 2 * places[..., 1], places.sum(axis=-1)], axis=-1)
    assert np.abs(shown - expected).max() < 1.1  # two roundings; OpenCV samples at 32nds of a pixel


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_whole_picture_made_smaller_is_its_blocks_from_the_first_pixel_to_the_last(factor):
    image = np.random.default_rng(3).integers(0, 256, (5 * factor, 8 * factor, 3), dtype=np.uint8)
    affine = np.array([[1 / factor, 0, (1 / factor - 1) / 2], [0, 1 / factor, (1 / factor - 1) / 2]])
    means = image.reshape(5, factor, 8, factor, 3).mean(axis=(1, 3))
    assert np.abs(warp(image, affine, (5, 8)) - means).max() <= 1.01


def test_what_shrinks_by_two_is_averaged_not_only_sampled():
    """Of black and white columns, every other pixel would be all black or all white."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, ::2] = 255
    for place in (0.0, 1.0):
        shown = warp(image, np.array([[0.5, 0, place / 2], [0, 0.5, 0]]), (20, 20))
        assert np.abs(shown[2:-2, 2:-2] - 127.5).max() < 1


@pytest.mark.parametrize("shrink", [1.0, 2.5, 3.0])
def test_a_crop_beside_the_picture_is_black_however_far(shrink):
    image = np.full((30, 30, 3), 255, np.uint8)
    apart = 4 / shrink  # nothing of the picture's edge is mixed in
    for far in np.arange(120) / 2 / shrink:
        for place in (10 + apart + far, -1 - 29 / shrink - apart - far):
            for shift in ((place, 0), (0, place), (place, place)):
                affine = np.column_stack([np.eye(2) / shrink, shift])
                shown = warp(image, affine, (10, 10))
                assert shown.shape == (10, 10, 3)
                assert not shown.any()


@pytest.mark.parametrize("shrink", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("degrees", [0, 30, 135])
def test_within_reach_is_what_the_crop_and_a_pixel_around_it_cover(shrink, degrees):
    turn = np.exp(1j * np.deg2rad(degrees)) / shrink
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    affine = np.column_stack([linear, (4.2, 6.1) - linear @ (50.3, 47.6)])
    corners = apply(invert(affine), np.array([[-1.0, -1], [9, -1], [9, 12], [-1, 12]]))
    expected = [*np.floor(corners.min(axis=0)), *(np.ceil(corners.max(axis=0)) + 1)]
    both = reach(np.stack([affine, affine]), (12, 9))
    np.testing.assert_array_equal(both, [expected, expected])
    x1, y1, x2, y2 = reach(affine, (12, 9))
    outside = np.full((100, 100, 1), 255, np.uint8)
    outside[y1:y2, x1:x2] = 0
    assert not warp(outside, affine, (12, 9)).any()
