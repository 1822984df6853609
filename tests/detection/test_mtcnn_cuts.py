"""Windows cut out of the levels of an image: where, from which level, and beyond the image."""

import numpy as np
import pytest

from facealign.detection.mtcnn import Level, cut

BLACK = -127.5 / 128


def level(scale, height=200, width=300, mark=0.0):
    """A level of a picture of which the nets see x in the first channel and y in the second, in pixels."""
    y, x = np.mgrid[: round(height * scale), : round(width * scale)]
    pixels = [(x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, np.full(x.shape, mark)]
    return Level((np.dstack(pixels)[:, :, ::-1] * 128 + 127.5).astype(np.float32), np.array([scale, scale]))


def test_a_cut_is_sampled_at_exact_coordinates():
    """Bilinear interpolation is exact on a ramp. (Old OpenCV rounds to a 32nd of a pixel of the level.)"""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(30, 80, (40, 2)), rng.uniform(15, 100, (40, 1))
    windows = cut([level(1.0), level(0.5), level(0.25)], np.hstack([corner, corner + side]), 24)
    assert windows.shape == (40, 3, 24, 24)
    assert windows.dtype == np.float32
    # Edges to edges: the centres of 24 equal parts of the box, as pixel centres.
    part = (np.arange(24) + 0.5) / 24
    x = corner[:, :1] + side * part - 0.5
    y = corner[:, 1:] + side * part - 0.5
    np.testing.assert_allclose(windows[:, 0], np.broadcast_to(x[:, None, :], (40, 24, 24)), atol=0.07)
    np.testing.assert_allclose(windows[:, 1], np.broadcast_to(y[:, :, None], (40, 24, 24)), atol=0.07)


def test_a_cut_is_taken_from_the_smallest_level_that_shows_enough():
    levels = [level(scale, mark=index) for index, scale in enumerate((1.0, 0.5, 0.25))]
    sides = np.array([10.0, 24, 47, 48, 95, 96, 150])
    boxes = np.column_stack([np.full(7, 20.0), np.full(7, 20.0), 20 + sides, 20 + sides])
    windows = cut(levels, boxes, 24)
    np.testing.assert_array_equal(windows[:, 2, 12, 12], [0, 0, 0, 1, 1, 2, 2])


def test_a_cut_beyond_the_picture_is_black():
    windows = cut(
        [level(1.0)], np.array([[-24.0, -24, 24, 24], [500, 500, 548, 548], [276, 176, 324, 224]]), 48
    )
    assert (windows[0, :, :23] == np.float32(BLACK)).all()
    assert (windows[0, :, :, :23] == np.float32(BLACK)).all()
    assert windows[0, 0, 30, 30] == pytest.approx(6, abs=0.04)
    assert (windows[1] == np.float32(BLACK)).all()
    assert (windows[2, :, 25:] == np.float32(BLACK)).all()
    assert (windows[2, :, :, 25:] == np.float32(BLACK)).all()
    assert windows[2, 1, 10, 10] == pytest.approx(186, abs=0.04)


def test_more_cuts_than_one_map_of_opencv_holds():
    boxes = np.tile([20.0, 20, 68, 68], (1500, 1)) + np.arange(1500)[:, None] % 7
    windows = cut([level(1.0)], boxes, 48)
    np.testing.assert_allclose(windows[:, 0, 0, 0], 20 + np.arange(1500) % 7, atol=0.04)


def test_a_level_that_is_wider_than_it_should_be_is_sampled_by_both_its_scales():
    """Sides are whole numbers of pixels: those of a level are not reduced by quite the same factor."""
    scale = np.array([0.5, 0.4])
    # What `as_seen` makes of these values are the places in the original, of x in red and y in green.
    y, x = (np.mgrid[:80, :150].astype(np.float32) + 0.5) / scale[::-1, None, None] - 0.5
    pixels = np.dstack([x, y, x])[..., ::-1] * 128 + 127.5
    boxes = np.array([[40.0, 30, 80, 70], [150, 100, 190, 140]])
    windows = cut([Level(np.ascontiguousarray(pixels, dtype=np.float32), scale)], boxes, 16)
    part = (np.arange(16) + 0.5) / 16 * 40 - 0.5
    for window, (left, top, _, _) in zip(windows, boxes, strict=True):
        np.testing.assert_allclose(window[0], np.broadcast_to(left + part, (16, 16)), atol=0.1)
        np.testing.assert_allclose(window[1], np.broadcast_to(top + part[:, None], (16, 16)), atol=0.1)
