"""The levels of an image: how many, how large, what is where on them, and as what the nets see them."""

import itertools

import numpy as np
import pytest

from facealign.detection.mtcnn import MtcnnSettings, as_seen, halves, pyramid

BLACK = -127.5 / 128


@pytest.mark.parametrize(
    ("min_face", "factor", "size"),
    [
        (40, 0.709, (512, 512)),
        (20, 0.709, (100, 777)),
        (12, 0.5, (300, 200)),
        (500, 0.709, (600, 900)),
        (40, 0.98, (1000, 1000)),
        (40, 0.2, (300, 300)),
    ],
)
def test_the_pyramid_shows_the_smallest_and_the_largest_faces(min_face, factor, size):
    levels = pyramid(halves(np.zeros((*size, 3), np.uint8)), MtcnnSettings(min_face, factor))
    height, width = size
    sides = np.array([one.pixels.shape[:2] for one in levels])
    scales = sides.max(axis=1) / max(size)
    assert (np.diff(scales) <= 0).all()
    assert scales[0] <= 1
    assert sides.min() >= 12
    # The first level shows faces of min_face at PNet's 12 pixels, and each step is a factor.
    assert abs(scales[0] * min_face - 12) <= min_face / max(size)
    assert np.abs(sides[1:] - sides[:-1] * factor).max(initial=0) <= 1
    # The largest faces are as large as the picture: no further step would have 12 pixels left.
    assert scales[-1] * min(size) * factor < 12 + 0.5
    for one in levels:
        shown_height, shown_width = one.pixels.shape[:2]
        np.testing.assert_allclose(one.scale, [shown_width / width, shown_height / height])


def test_a_picture_without_room_for_a_face_has_no_level():
    for size in ((11, 500), (500, 11), (1, 1)):
        assert pyramid(halves(np.zeros((*size, 3), np.uint8)), MtcnnSettings()) == []
    assert len(pyramid(halves(np.zeros((41, 41, 3), np.uint8)), MtcnnSettings())) >= 1


def test_the_nets_see_levels_as_rgb():
    blue = np.zeros((100, 100, 3), np.uint8)
    blue[:, :, 0] = 255
    for one in pyramid(halves(blue), MtcnnSettings()):
        seen = as_seen(one.pixels[None])
        assert seen.dtype == np.float32
        assert seen.shape == (1, 3, *one.pixels.shape[:2])
        np.testing.assert_array_equal(seen[:, 2], np.float32(127.5 / 128))
        np.testing.assert_array_equal(seen[:, :2], np.float32(BLACK))


def test_every_picture_of_a_batch_is_seen_as_it_is():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    expected = (pictures[:, :, :, ::-1].transpose(0, 3, 1, 2) - 127.5) / 128
    np.testing.assert_array_equal(as_seen(pictures), expected)


def test_halves_are_means_of_four_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    levels = halves(picture)
    assert [one.pixels.shape[:2] for one in levels] == [(96, 128), (48, 64), (24, 32), (12, 16)]
    np.testing.assert_array_equal(levels[0].pixels, picture)
    for larger, smaller in itertools.pairwise(levels):
        rows, columns = smaller.pixels.shape[:2]
        means = larger.pixels.astype(float).reshape(rows, 2, columns, 2, 3).mean(axis=(1, 3))
        assert np.abs(smaller.pixels - means).max() <= 0.5


def bright_square():
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[100:180, 300:380] = 255
    return picture


def bright_spot():
    """Smooth, since sampling moves edges a little; in a picture with sides that cannot be halved evenly."""
    y, x = np.mgrid[:401, :603] + 0.5
    spot = 255 * np.exp(-((x - 340) ** 2 + (y - 140) ** 2) / (2 * 25**2))
    return np.repeat(spot.round().astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("picture", [bright_square(), bright_spot()], ids=["square", "spot"])
def test_a_place_of_the_picture_is_the_same_place_on_every_level(picture):
    """The centre of gravity of something bright, in pixels from the picture's edges."""
    sources = halves(picture)
    levels = pyramid(sources, MtcnnSettings())
    assert len(levels) > 5
    assert len(sources) > 5
    for one in sources + levels:
        height, width = one.pixels.shape[:2]
        np.testing.assert_allclose(one.scale, [width / picture.shape[1], height / picture.shape[0]])
        light = one.pixels[:, :, 0].astype(float)
        y, x = np.mgrid[:height, :width] + 0.5
        centre = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        np.testing.assert_allclose(centre, one.scale * (340, 140), atol=0.05)
