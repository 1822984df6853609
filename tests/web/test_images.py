"""The page's images against OpenCV's: sizes, crops, windows."""

import cv2
import numpy as np
import pytest

from facealign.detection import mtcnn
from facealign.detection.quarter_turns import turned_back
from facealign.geometry.affine import block_average, warp
from tests.web.modules import array_of, call, calls, image_of, noise


@pytest.mark.parametrize("size", [(100, 80), (66, 49), (55, 60), (131, 40), (262, 194)])
def test_resizing_is_that_of_opencv(size):
    image = noise(97, 131)
    own = array_of(call("image", "resized", image_of(image), *size))
    np.testing.assert_array_equal(own, cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))


def test_resizing_to_half_averages():
    image = noise(60, 82)
    own = array_of(call("image", "resized", image_of(image), 41, 30))
    np.testing.assert_array_equal(own, cv2.resize(image, (41, 30), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_block_averages(factor):
    image = noise(31, 45)
    own = array_of(call("image", "blockAverage", image_of(image), factor))
    np.testing.assert_array_equal(own, block_average(image, factor)[0])


@pytest.mark.parametrize(
    "affine",
    [
        [[0.7, 0.2, -5.3], [-0.2, 0.7, 8.1]],
        [[2.47, 0.0, -90.25], [0.0, 2.47, -60.5]],
        [[0.31, 0.1, 4.0], [-0.1, 0.31, 2.0]],
        [[0.0, 0.12, 3.0], [-0.12, 0.0, 30.0]],
        [[0.5, 0.0, 900.0], [0.0, 0.5, 900.0]],
    ],
)
def test_crops(affine):
    image = cv2.GaussianBlur(noise(150, 210), (0, 0), 1.5)
    own = array_of(call("affine", "warp", image_of(image), np.ravel(affine).tolist(), 64, 48))
    expected = warp(image, np.array(affine), (48, 64))
    assert np.abs(own - expected.astype(int)).max() <= 1
    assert np.mean(own != expected) < 0.01


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns(turns):
    image = noise(5, 8)
    own = call("image", "quarterTurned", image_of(image), turns)
    np.testing.assert_array_equal(array_of(own), np.rot90(image, turns))
    back = call("image", "turnedBack", [1, 2.5], turns, 8, 5)
    np.testing.assert_array_equal(back, turned_back(np.array([1, 2.5]), turns, (5, 8)))


@pytest.mark.parametrize("size", [(120, 161), (77, 50)])
def test_the_levels_of_the_detector(size):
    image = noise(*size)
    halves = mtcnn.halves(image)
    own_halves = call("mtcnn", "halves", image_of(image))
    own = call(
        "mtcnn", "pyramid", [{**one, "pixels": image_of(array_of(one["pixels"]))} for one in own_halves]
    )
    for ours, levels in ((own_halves, halves), (own, mtcnn.pyramid(halves, mtcnn.MtcnnSettings()))):
        for one, level in zip(ours, levels, strict=True):
            np.testing.assert_array_equal(array_of(one["pixels"]), level.pixels)
            np.testing.assert_allclose(one["scale"], level.scale)


def test_windows_of_the_detector():
    levels = mtcnn.halves(noise(200, 260))
    boxes = np.array([[10.0, 20, 40, 50], [-20, -30, 130, 120], [50.5, 60.25, 250.5, 260.25], [3, 3, 15, 15]])
    own_levels = [{"pixels": image_of(level.pixels), "scale": level.scale.tolist()} for level in levels]
    own = call("mtcnn", "cut", own_levels, boxes.tolist(), 24)
    values = np.reshape(own["data"], own["shape"])
    np.testing.assert_allclose(values, mtcnn.cut(levels, boxes, 24), atol=1e-5)


def test_halves_are_rounded_to_even():
    assert calls("image", "rounded", [0.5], [1.5], [2.5], [-0.5], [2.4], [2.6]) == [0, 2, 2, 0, 2, 3]
