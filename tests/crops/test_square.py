"""Where a crop's pixels come from: measured on pictures whose grey level IS the place, linear ramps."""

import math
import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut
from skimage.transform import resize

from facealign.crops.model_spec import ModelSpec
from facealign.crops.published import published_crop, published_landmarks
from facealign.crops.square import crop_face, crop_transform
from facealign.crops.targets import decode_targets, encode_targets
from facealign.geometry.affine import apply, compose, invert, warp

SIZE = (64, 48)
"""(height, width), unequal, so that a mix-up shows."""


@st.composite
def affines(draw):
    """Any similarity of a picture, mirrored or not."""
    scale, angle = draw(st.floats(0.05, 20)), draw(st.floats(-math.pi, math.pi))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn[:, 0] *= draw(st.sampled_from([1, -1]))
    return np.column_stack([turn, [draw(st.floats(-2000, 2000)), draw(st.floats(-2000, 2000))]])


def matrix(affine):
    return np.vstack([affine, [0, 0, 1]])


def centred(scale, degrees, image_shape, size=SIZE):
    """The affine that turns a picture about its centre, scales it, and puts that centre on the crop's."""
    angle = math.radians(degrees)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (np.array(image_shape[1::-1]) - 1) / 2
    return np.column_stack([turn, (np.array(size[::-1]) - 1) / 2 - turn @ middle])


def ramps(height, width):
    """A float picture of x, y and a mix of both. In floating point, so that nothing is rounded."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.dstack([x, y, 0.5 * x - 0.25 * y + 300])


def sources(affine, size=SIZE):
    """Where in the picture each crop pixel lies, (height, width, 2), by solving the affine for it."""
    v, u = np.mgrid[: size[0], : size[1]]
    crop = np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    return np.linalg.solve(matrix(affine), crop)[:2].T.reshape(*size, 2)


photo = np.ascontiguousarray(astronaut()[:, :, ::-1])


@settings(deadline=None)
@given(affines(), affines())
def test_compose_is_the_matrix_product(first, second):
    np.testing.assert_allclose(
        matrix(compose(second, first)), matrix(second) @ matrix(first), rtol=1e-12, atol=1e-9
    )


@settings(deadline=None)
@given(affines())
def test_invert_round_trips(affine):
    points = np.random.default_rng(0).uniform(-1000, 1000, (5, 68, 2))
    there_and_back = apply(invert(affine), apply(affine, points))
    np.testing.assert_allclose(there_and_back, points, atol=1e-9)
    np.testing.assert_allclose(compose(invert(affine), affine), np.eye(3)[:2], atol=1e-9)


def test_an_affine_without_an_inverse_is_refused():
    with pytest.raises(np.linalg.LinAlgError):
        invert(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]))


def test_edges_of_the_box_fall_on_edges_of_the_crop():
    """Of an image pixel's edges and a crop pixel's, which lie half a pixel from the centres."""
    affine = crop_transform(np.array([20.0, 10.0, 40.0, 50.0]), SIZE)  # its square is 10 10 50 50
    corners = np.array([[10, 10], [50, 10], [10, 50], [50, 50], [30, 30]])
    # The crop is 48 pixels wide, 64 high: of 40 pixels across it shows 30.
    expected = [[-8.5, -0.5], [55.5, -0.5], [-8.5, 63.5], [55.5, 63.5], [23.5, 31.5]]
    np.testing.assert_allclose(apply(affine, corners), expected, atol=1e-12)


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 900), st.floats(1, 900))
def test_a_crop_is_a_similarity_whatever_the_shape_of_box_and_crop(x, y, width, height):
    for size in (SIZE, SIZE[::-1], (64, 64)):
        linear = crop_transform(np.array([x, y, x + width, y + height]), size)[:, :2]
        np.testing.assert_allclose(linear, max(size) / max(width, height) * np.eye(2), rtol=1e-9)


def test_box_scale_and_shift_by_hand():
    # longer side 40: the square's is 60, its centre (30 + 4, 30 - 8)
    affine = crop_transform(np.array([20.0, 10.0, 40.0, 50.0]), SIZE, 1.5, (0.1, -0.2))
    np.testing.assert_allclose(
        apply(affine, np.array([[4, -8], [64, 52]])), [[-8.5, -0.5], [55.5, 63.5]], atol=1e-12
    )


@pytest.mark.parametrize("shrink", [0.4, 1, 1.7, 1.999, 2, 2.5, 3, 3.99, 4.6, 7.3])
@pytest.mark.parametrize("degrees", [0, 33, 90, -160])
def test_crop_pixels_come_from_where_the_affine_says(shrink, degrees):
    """Bilinear sampling and averages over blocks are exact on a ramp, so its grey levels are coordinates."""
    picture = ramps(700, 650)
    affine = centred(1 / shrink, degrees, picture.shape)
    affine[:, 2] += (0.3, -0.2)
    x, y = np.moveaxis(sources(affine), -1, 0)
    expected = np.dstack([x, y, 0.5 * x - 0.25 * y + 300])
    # OpenCV before 5 rounds places to 1/32 of a pixel, here of a block of int(shrink) pixels
    np.testing.assert_allclose(warp(picture, affine, SIZE), expected, atol=max(1.0, shrink) / 32)


@pytest.mark.parametrize("shrink", [1.5, 2, 3.4, 5.5])
def test_a_box_at_the_borders_is_sampled_from_the_same_places(shrink):
    """The picture's part that is averaged starts elsewhere, and is cut off, at the borders."""
    picture = ramps(331, 257)
    for corner in ((0, 0), (257, 0), (0, 331), (257, 331), (77, 331)):
        side = 64 * shrink
        affine = crop_transform(np.array([*corner, *corner]) + side / 2 * np.array([-1, -1, 1, 1]), (64, 64))
        places = sources(affine, (64, 64))
        inner = ((places > 2 * shrink) & (places < np.array([257, 331]) - 1 - 2 * shrink)).all(axis=-1)
        assert inner.sum() > 400
        found = warp(picture, affine, (64, 64))[inner][:, :2]
        np.testing.assert_allclose(found, places[inner], atol=max(1.0, shrink) / 32)


@pytest.mark.parametrize("shrink", [0.7, 1.3, 2.2, 3.7])
def test_bytes_are_rounded_and_nothing_else(shrink):
    y, x = np.mgrid[:300, :300]
    exact = 20.0 + 0.41 * x + 0.29 * y
    affine = centred(1 / shrink, 21, exact.shape)
    found = warp(np.dstack([exact.round().astype(np.uint8)] * 3), affine, SIZE)
    places = sources(affine)
    expected = 20 + 0.41 * places[..., 0] + 0.29 * places[..., 1]
    difference = found[..., 1] - expected
    assert found.dtype == np.uint8
    assert np.abs(difference).max() < 1.6  # rounded at most three times
    assert abs(difference.mean()) < 0.1


@pytest.mark.parametrize("shrink", [1.2, 2, 3.3, 6.9])
def test_outside_the_picture_is_black_and_inside_is_whole(shrink):
    """A crop pixel away from the border, a white picture is white and its surroundings are black."""
    white = np.full((150, 130, 3), 255, np.uint8)
    affine = centred(1 / shrink, 0, white.shape, (160, 160))
    affine[:, 2] += (7.3, -11.6)
    found = warp(white, affine, (160, 160))
    places = sources(affine, (160, 160))
    beyond = np.maximum(-places, places - (129, 149)).max(axis=-1)
    assert (found[beyond <= -shrink] == 255).all()
    assert (found[beyond > 1.5 * shrink + 1] == 0).all()
    assert (beyond <= -shrink).any()
    assert (beyond > 1.5 * shrink + 1).any()


@pytest.mark.parametrize("shrink", [3.3, 4, 9.1])
def test_fine_stripes_shrink_to_grey(shrink):
    """Without averaging they would come out as other stripes."""
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    found = warp(stripes, centred(1 / shrink, 0, stripes.shape, (48, 48)), (48, 48)).astype(float)
    assert np.abs(found - 127.5).max() <= 127.5 / int(shrink) + 1
    assert np.abs(found.mean() - 127.5) < 2


def test_a_crop_beside_the_picture_is_black():
    for side in (50, 500, 1e7):
        affine = crop_transform(np.array([2000.0, 2000.0, 2000 + side, 2000 + side]), SIZE)
        np.testing.assert_array_equal(warp(photo, affine, SIZE), np.zeros((*SIZE, 3)))


def test_a_box_of_ten_million_pixels_takes_no_memory():
    affine = crop_transform(np.array([-5e6, -5e6, 5e6, 5e6]), SIZE)
    assert warp(photo, affine, SIZE).shape == (*SIZE, 3)


def test_warp_leaves_its_input():
    before = photo.copy()
    for scale in (0.1, 0.9):
        warp(photo, centred(scale, 10, photo.shape), SIZE)
    np.testing.assert_array_equal(photo, before)


def test_crop_face_obeys_the_spec():
    spec = ModelSpec(input_height=70, input_width=60, box_scale=1.5, box_shift=(0.1, -0.2))
    picture = ramps(300, 300)
    crop, affine = crop_face(picture, np.array([120.0, 110.0, 160.0, 150.0]), spec)
    assert crop.shape == (70, 60, 3)
    # 60 pixels on 70 around (144, 122): pixel (u, v) is centred at 144 + (u - 29.5) 60 / 70 and so on
    v, u = np.mgrid[:70, :60]
    np.testing.assert_allclose(crop[..., 0], 144 + (u - 29.5) * 60 / 70, atol=0.05)
    np.testing.assert_allclose(crop[..., 1], 92 + (v + 0.5) * 60 / 70, atol=0.05)
    np.testing.assert_allclose(apply(affine, np.array([144.0, 122.0])), [29.5, 34.5])


def test_targets_by_hand():
    """All x, then all y; a whole crop pixel counted from 1, over the crop's side."""
    points = np.array([[0.0, 0.0], [59.0, 34.0], [29.0, 69.0]])
    targets = encode_targets(points, (70, 60))
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, [1 / 60, 1, 0.5, 1 / 70, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(encode_targets(points, (70, 60), origin=0)[1], 59 / 60, rtol=1e-6)
    np.testing.assert_allclose(decode_targets(targets, (70, 60)), points, atol=1e-5)


@pytest.mark.parametrize("origin", [0, 1])
def test_targets_of_many_faces_round_trip(origin):
    points = np.random.default_rng(0).uniform(-20, 90, (4, 68, 2))
    targets = encode_targets(points, (70, 60), origin)
    assert targets.shape == (4, 136)
    np.testing.assert_allclose(decode_targets(targets, (70, 60), origin), points, atol=2e-5)


# The reference demo's crop, written out once more in straight lines, of whole pictures.


def published_by_hand(image, box):
    """The 63x63 cut, and (scale, corner x, corner y, border)."""
    picture = image.astype(float)
    image_height, image_width = picture.shape[:2]
    x1, y1, x2, y2 = np.array(box, float) - 1
    w, h = x2 - x1 + 1, y2 - y1 + 1
    more_width, more_height = max(h - w, 0) / 2, max(w - h, 0) / 2
    x1, x2, y1, y2 = x1 - more_width, x2 + more_width, y1 - more_height, y2 + more_height
    W, H = x2 - x1, y2 - y1
    x1, x2, y2 = x1 - 0.05 * W, x2 + 0.05 * W, y2 + 0.10 * H
    pad = int(max(-x1, -y1, x2 - image_width, y2 - image_height, 0)) + 10
    padded = np.zeros((image_height + 2 * pad, image_width + 2 * pad, 3))
    padded[pad : pad + image_height, pad : pad + image_width] = picture
    scale = (x2 - x1) / 64
    left, top = math.floor((x1 + pad) / scale + 0.5), math.floor((y1 + pad) / scale + 0.5)
    size = (int(padded.shape[1] / scale), int(padded.shape[0] / scale))
    cut = cv2.resize(padded, size)[top : top + 63, left : left + 63]
    return cut, (scale, left, top, pad)


BOXES = {
    "square": [170, 65, 270, 165],
    "tall": [170.25, 65.5, 275, 190.125],
    "wide": [100, 200, 300, 260],
    "beyond left and top": [-40, -60, 100, 90],
    "beyond right and bottom": [400, 420, 600, 560],
    "beyond all": [-50, -90, 700, 640],
    "the picture": [1, 1, 512, 512],
    "small, enlarged": [230, 110, 250.5, 131],
    "of the size of the crop": [201, 101, 260, 160],
    "beside": [700, 700, 800, 810],
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_published_crop_is_the_demo_s(box):
    cut, record = published_by_hand(photo, box)
    assert cut.shape == (63, 63, 3)
    low, high = cut.min(), cut.max()
    # what caffe.io.resize_image does: order 1, what is outside counts as the darkest grey level
    expected = low + (high - low) * resize(
        (cut - low) / max(high - low, 1), (64, 64), order=1, mode="constant"
    )
    crop, found = published_crop(photo, np.array(box, float))
    assert crop.dtype == np.float32
    assert (found.scale, found.left, found.top, found.border) == pytest.approx(record)
    # OpenCV keeps places in single precision
    np.testing.assert_allclose(crop, expected, atol=0.02)


def test_published_crop_of_random_boxes_is_the_demo_s():
    rng = np.random.default_rng(8)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for _ in range(40):
        corner = rng.uniform(-40, 90, 2)
        box = np.concatenate([corner, corner + rng.uniform(15, 120, 2)])
        cut, record = published_by_hand(image, box)
        crop, found = published_crop(image, box)
        assert (found.scale, found.left, found.top, found.border) == pytest.approx(record)
        low, high = cut.min(), cut.max()
        expected = low + (high - low) * resize((cut - low) / (high - low), (64, 64), order=1, mode="constant")
        np.testing.assert_allclose(crop, expected, atol=0.05)


@pytest.mark.parametrize("box", [BOXES["tall"], BOXES["beyond left and top"]], ids=["tall", "beyond"])
def test_published_crop_is_fed_as_by_caffe_s_transformer(box):
    os.environ.setdefault("GLOG_minloglevel", "2")
    from caffe.io import Transformer

    transformer = Transformer({"data": (1, 3, 64, 64)})
    transformer.set_transpose("data", (2, 0, 1))
    fed = transformer.preprocess("data", (published_by_hand(photo, box)[0] - 127.5) / 128)
    crop, _ = published_crop(photo, np.array(box, float))
    np.testing.assert_allclose((crop.transpose(2, 0, 1) - 127.5) / 128, fed, atol=0.02 / 128)


def test_the_published_corner_is_rounded_half_up():
    """The demo is Python 2. Side 1280 makes the scale 22, and this corner lie at 11, half a crop pixel."""
    _, record = published_crop(np.zeros((1500, 1500, 3), np.uint8), np.array([66.0, 30.0, 1346.0, 1310.0]))
    assert (record.scale, record.border) == (22, 10)
    assert record.left == 1


def test_published_landmarks_by_hand():
    _, record = published_crop(photo, np.array([170.0, 65.0, 275.0, 190.0]))
    values = np.random.default_rng(0).uniform(0, 1, 136).astype(np.float32)
    _, (scale, left, top, border) = published_by_hand(photo, [170, 65, 275, 190])
    points = published_landmarks(values[None], record)
    assert points.shape == (68, 2)
    for index in (0, 30, 67):
        x, y = float(values[index]) * 64 - 1, float(values[68 + index]) * 64 - 1
        expected = [(x + left + 1) * scale - border - 1, (y + top + 1) * scale - border - 1]
        np.testing.assert_allclose(points[index], expected, atol=1e-9)


def test_published_landmarks_lie_where_the_crop_shows_them():
    """The demo's off-by-ones amount to less than two crop pixels."""
    image = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(image, (180, 230), 6, (255, 255, 255), cv2.FILLED)
    crop, record = published_crop(image, np.array([100.0, 120.0, 260.0, 300.0]))
    grey = crop.sum(axis=2)
    y, x = (np.indices(grey.shape) * grey).sum(axis=(1, 2)) / grey.sum()
    values = encode_targets(np.tile([x, y], (68, 1)), (64, 64))
    points = published_landmarks(values, record)
    assert np.abs(points - (180, 230)).max() < 2 * record.scale


def test_a_published_box_of_ten_million_pixels_takes_no_memory():
    crop, record = published_crop(photo, np.array([-5e6, -5e6, 5e6, 5e6]))
    assert crop.shape == (64, 64, 3)
    assert record.border > 5e5
