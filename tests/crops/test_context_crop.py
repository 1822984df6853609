"""Loose crops: a sample made from one is the sample made from the whole photo, however it is varied."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from facealign.crops.aligned import aligned_spec, aligned_transform
from facealign.crops.augmentation import Augmentation, Jitter, transform
from facealign.crops.context_crop import ERROR, ZOOM, context_crop, most_bytes, show
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import apply, compose, invert, shrinking, warp
from tests.upright_face import upright_face

SIZES = {"64x64": (64, 64), "70x60": (70, 60)}
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (700, 800, 3), dtype=np.uint8)


def smooth(height, width):
    """A picture without detail: what is left of it depends little on how pixels are averaged."""
    small = RNG.integers(0, 256, (height // 150, width // 150, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


SMOOTH = smooth(1500, 1700)
DEFAULT = Augmentation()
WIDE = Augmentation(shift=0.3, scale_range=(0.4, 2.0), rotate_range=(-180, 180))


def spec_for(size):
    return ModelSpec(input_height=size[0], input_width=size[1])


@st.composite
def variations(draw):
    """Settings, and any draw of them: their extremes most of all."""
    low, high = sorted((draw(st.floats(0.4, 2)), draw(st.floats(0.4, 2))))
    turn = draw(st.sampled_from([0.0, 30.0, 60.0, 180.0]))
    wanted = draw(
        st.sampled_from([DEFAULT, WIDE])
        | st.builds(
            Augmentation,
            shift=st.floats(0, 0.4),
            scale_range=st.just((low, high)),
            rotate_range=st.just((-turn, turn)),
        )
    )

    def within(low, high):
        return draw(st.sampled_from([low, high]) | st.floats(low, high))

    return wanted, Jitter(
        flip=draw(st.booleans()),
        shift_x=within(-wanted.shift, wanted.shift),
        shift_y=within(-wanted.shift, wanted.shift),
        scale=within(*wanted.scale_range),
        angle=within(*wanted.rotate_range),
    )


@st.composite
def boxes(draw, height, width, least, most):
    """A box of sides `least` to `most`, whose centre may lie outside the picture."""
    sides = np.array([draw(st.floats(least, most)), draw(st.floats(least, most))])
    centre = np.array([draw(st.floats(-0.2, 1.2)) * width, draw(st.floats(-0.2, 1.2)) * height])
    return np.concatenate([centre - sides / 2, centre + sides / 2])


def both(photo, box, size, wanted, jitter):
    """(crop, landmarks) of one draw from the whole photo, the same from the loose crop, and that crop."""
    spec = spec_for(size)
    points = upright_face((box[:2] + box[2:]) / 2, box[2] - box[0])
    cut = context_crop(photo, points, box, spec, wanted)
    affine = transform(box, jitter, size, spec.box_scale, spec.box_shift)
    whole = warp(photo, affine, size), apply(affine, points)
    affine = transform(cut.box, jitter, size, spec.box_scale, spec.box_shift)
    return whole, (shown(cut, affine, size), apply(affine, cut.points)), cut


def shown(cut, affine, size):
    """The sample that `show` cuts out of one loose crop, among others."""
    small = context_crop(NOISE, np.zeros((1, 2)), np.array([9.0, 9, 19, 19]), ModelSpec(), DEFAULT)
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    _, made, _ = show([small, cut, small], np.stack([still, affine, still]), size)
    assert made.shape == (*size, 4)
    return made[..., :3]


def kept(cut):
    """Bytes of a cut's pictures."""
    return cut.pixels.nbytes + (0 if cut.half is None else cut.half.nbytes)


def factor_of(box, cut):
    return round((box[2] - box[0]) / (cut.box[2] - cut.box[0]))


@settings(deadline=None, max_examples=200)
@given(boxes(500, 600, 8, 140), st.sampled_from(list(SIZES)), variations())
@example(np.array([150.0, 150.0, 281, 281]), "64x64", (WIDE, Jitter(False, 0.3, 0.3, 0.4, 45.0)))
@example(np.array([150.0, 150.0, 281, 281]), "70x60", (DEFAULT, Jitter(False, 0.08, 0.08, 0.9, -30.0)))
@example(np.array([150.0, 150.0, 226, 226]), "70x60", (WIDE, Jitter(True, 0.3, -0.3, 0.4, -45.0)))
def test_an_unreduced_cut_gives_the_sample_of_the_whole_photo(box, name, variation):
    photo = NOISE[:500, :600]
    # no larger than what is not reduced yet
    most = 1.99 * variation[0].scale_range[1] * max(SIZES[name]) / spec_for(SIZES[name]).box_scale
    box = box * min(1, most / max(box[2] - box[0], box[3] - box[1]))
    (whole, landmarks), (loose, loose_landmarks), cut = both(photo, box, SIZES[name], *variation)
    np.testing.assert_allclose(loose_landmarks, landmarks, atol=1e-6)
    assert factor_of(box, cut) == 1
    affine = transform(box, variation[1], SIZES[name], spec_for(SIZES[name]).box_scale, ModelSpec().box_shift)
    if shrinking(affine) >= 2:  # averaged from another corner: alike where there is less detail, see below
        assert cut.half is not None
        return
    off = np.abs(whole.astype(int) - loose)
    # OpenCV 5 computes places in single precision: from another corner, some pixels round otherwise.
    assert off.max() <= 1
    assert (off > 0).mean() < 0.02


@example(
    factor=5,
    place=np.array([0, 1649.4140625, 0, 1649.4140625]),
    name="64x64",
    variation=(Augmentation(shift=0.0, scale_range=(0.5, 1.25)), Jitter(scale=1.25, angle=-4.0)),
)
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), boxes(1500, 1700, 0, 1), st.sampled_from(list(SIZES)), variations())
def test_a_reduced_cut_gives_nearly_the_sample_of_the_whole_photo(factor, place, name, variation):
    wanted, jitter = variation
    size = SIZES[name]
    # a box whose crop is `factor` and a half times as large as the largest draw needs
    side = (factor + 0.5) * wanted.scale_range[1] * max(size) / spec_for(size).box_scale
    centre = (place[:2] + place[2:]) / 2
    box = np.concatenate([centre - side / 2, centre + side * np.array([0.5, 0.4])])
    (whole, landmarks), (loose, loose_landmarks), cut = both(SMOOTH, box, size, wanted, jitter)
    assert factor_of(box, cut) == factor or not whole.any()
    np.testing.assert_allclose(loose_landmarks, landmarks, atol=1e-6)
    off = np.abs(whole.astype(int) - loose).max(axis=2)
    # At the photo's border blocks are partly black, and which pixels share one differs: not beyond that.
    spec = spec_for(size)
    edge = 4 * math.ceil(side * spec.box_scale / (jitter.scale * min(size)))
    inside = np.full(SMOOTH.shape[:2], 128, np.uint8)
    inside[edge:-edge, edge:-edge] = 255
    affine = transform(box, jitter, size, spec.box_scale, spec.box_shift)
    # Also of a border just beside the sample, which a small angle leads along it.
    affine[:, 2] += 4
    seen = warp(np.dstack([inside] * 3), affine, (size[0] + 8, size[1] + 8))[..., 0]
    border = ((seen > 0) & (seen < 255)).astype(np.uint8)
    far = (cv2.dilate(border, np.ones((5, 5), np.uint8)) == 0)[4:-4, 4:-4]
    assert off[far].max(initial=0) <= 8
    assert off.mean() < 3


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("side", [500, 2500])
def test_a_huge_face_in_a_huge_photo_is_cut_small_and_shown_alike(size, side):
    """On a ramp any average is exact, wherever its blocks begin."""
    height, width = 3 * side, 4 * side
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(10, 240, width).round()
    ramp[..., 1] = np.linspace(10, 240, height).round()[:, None]
    middle = np.array([width, height]) / 2
    box = np.concatenate([middle - side / 2, middle + side / 2])
    for turn in (-30.0, 30.0):
        jitter = Jitter(True, 0.08, -0.08, 0.9, turn)
        (whole, landmarks), (loose, loose_landmarks), cut = both(ramp, box, size, DEFAULT, jitter)
        np.testing.assert_allclose(loose_landmarks, landmarks, atol=1e-6)
        assert np.abs(whole.astype(int) - loose).max() <= 1
        assert max(cut.pixels.shape) < 360
        assert whole[..., :2].min() > 10  # the crop is inside the photo


@settings(deadline=None, max_examples=100)
@given(boxes(700, 800, 8, 3000), st.sampled_from(list(SIZES)), variations())
def test_a_cut_takes_no_more_bytes_than_foretold(box, name, variation):
    spec = spec_for(SIZES[name])
    cut = context_crop(NOISE, box.reshape(2, 2), box, spec, variation[0])
    assert kept(cut) <= most_bytes(box, spec, variation[0])
    assert cut.pixels.flags["C_CONTIGUOUS"]


def test_the_bytes_foretold_are_those_of_a_face_far_from_the_border():
    for side in (30, 100, 130):
        box = np.array([400.0, 350, 400 + side, 350 + side])
        cut = context_crop(NOISE, box.reshape(2, 2), box, ModelSpec(), DEFAULT)
        assert kept(cut) == pytest.approx(most_bytes(box, ModelSpec(), DEFAULT), rel=0.1)


def test_a_cut_reduced_by_2_beforehand_is_the_mean_of_its_blocks():
    """Where a draw shrinks it by 2 to 4, whatever its detail."""
    box = np.array([300.0, 250, 430, 380])
    cut = context_crop(NOISE, box.reshape(2, 2), box, ModelSpec(), DEFAULT)
    assert cut.pixels.shape[0] % 2 == 1  # the last block is filled up
    even = np.zeros((*(np.array(cut.pixels.shape[:2]) + 1), 3))
    even[:-1, :-1] = cut.pixels
    means = even.reshape(len(even) // 2, 2, -1, 2, 3).mean(axis=(1, 3))
    assert np.abs(cut.half - means).max() <= 0.5
    for turn in (0.0, 20.0):
        affine = transform(cut.box, Jitter(scale=0.9, angle=turn), (64, 64), 1.05, (0.02, 0.09))
        assert 2 < shrinking(affine) < 4
        # a pixel of the half, at u, is of the pixels 2u and 2u + 1
        sampled = cv2.warpAffine(
            means.astype(np.float32),
            affine @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]),
            (64, 64),
            flags=cv2.INTER_LINEAR,
        )
        off = np.abs(shown(cut, affine, (64, 64)) - sampled)
        # places are rounded to a 32nd of a pixel by some versions of OpenCV
        assert np.median(off) < 1
        assert off.max() < 9


def test_a_face_that_no_draw_shrinks_so_far_is_kept_once():
    for side, halved in ((100, False), (130, True), (200, False)):
        box = np.array([200.0, 200, 200 + side, 200 + side])
        assert (context_crop(NOISE, box.reshape(2, 2), box, ModelSpec(), DEFAULT).half is not None) == halved


def test_a_small_face_is_neither_enlarged_nor_reduced():
    box = np.array([300.0, 300, 340, 350])
    cut = context_crop(NOISE, box.reshape(2, 2), box, ModelSpec(), DEFAULT)
    left, top = (box - cut.box)[:2].astype(int)
    height, width = cut.pixels.shape[:2]
    np.testing.assert_array_equal(cut.pixels, NOISE[top : top + height, left : left + width])
    np.testing.assert_allclose(cut.points, box.reshape(2, 2) - (left, top))
    assert max(width, height) < 50 * 1.05 * math.sqrt(2) * 1.16 / 0.9 + 8


def test_a_box_outside_the_photo_gives_black_as_the_whole_photo_does():
    for corner in ((-900.0, -900.0), (2000.0, 100.0), (100.0, 5000.0)):
        box = np.array([*corner, corner[0] + 300, corner[1] + 300])
        (whole, _), (loose, _), cut = both(NOISE, box, (64, 64), DEFAULT, Jitter(scale=0.9))
        assert not whole.any()
        assert not loose.any()
        assert cut.pixels.size > 0


def test_a_box_far_larger_than_the_photo_does_not_take_more_memory_than_the_photo():
    box = np.array([-4e5, -4e5, 4e5, 4e5])
    cut = context_crop(NOISE, box.reshape(2, 2), box, ModelSpec(), DEFAULT)
    assert cut.pixels.nbytes <= NOISE.nbytes


def test_nothing_passed_in_is_changed():
    photo, box = NOISE.copy(), np.array([100.0, 100, 400, 400])
    points = upright_face((250, 250), 300)
    before = points.copy(), box.copy()
    cut = context_crop(photo, points, box, ModelSpec(), dataclasses.replace(DEFAULT, shift=0.2))
    cut.pixels[:] = 0
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(box, before[1])
    np.testing.assert_array_equal(photo, NOISE)


@settings(deadline=None, max_examples=150)
@given(
    boxes(500, 600, 40, 140),
    st.sampled_from(list(SIZES)),
    st.sampled_from([1 / ZOOM, 1.0, ZOOM]) | st.floats(1 / ZOOM, ZOOM),
    st.floats(-math.pi, math.pi),
    st.sampled_from([0.0, ERROR]) | st.floats(0, ERROR),
    st.floats(-math.pi, math.pi),
)
@example(np.array([150.0, 150.0, 210, 210]), "64x64", ZOOM, math.pi / 4, ERROR, 0.0)
def test_a_second_crop_by_wrong_landmarks_is_that_of_the_whole_photo(box, name, zoom, turn, far, way):
    """The crop turned, off by `far`, a share of its side, and too small or too large by `zoom`."""
    size, photo, still = SIZES[name], NOISE[:500, :600], Augmentation(0, 0, (1, 1), (0, 0))
    # The detector's box lies beside the face.
    points = upright_face(box[2:], (box[2] - box[0]) * 0.9)
    second = aligned_spec(spec_for(size), points[None], 0.1)
    cut = context_crop(photo, points, box, spec_for(size), still, second)
    assert kept(cut) <= most_bytes(box, spec_for(size), still, points, second)
    right = aligned_transform(points, second)
    centre = np.array([size[1] - 1, size[0] - 1]) / 2
    middle = apply(invert(right), centre) + far * max(size) * shrinking(right) * np.array(
        [math.cos(way), math.sin(way)]
    )
    linear = right[:, :2] / zoom @ [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    affine = np.column_stack([linear, centre - linear @ middle])
    # The loose crop is a part of the photo, not reduced.
    move = box[:2] - cut.box[:2]
    np.testing.assert_allclose(cut.points + move, points, atol=1e-9)
    whole, loose = warp(photo, affine, size), shown(cut, compose(affine, _shift(move)), size)
    if shrinking(affine) >= 2:  # averaged from another corner
        assert cut.half is not None
        return
    off = np.abs(whole.astype(int) - loose)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.02


def _shift(move):
    return np.column_stack([np.eye(2), move])


def test_a_second_crop_is_not_enlarged_from_a_reduced_loose_one():
    """However tight it is, and the first network's too small by `ZOOM`."""
    box, still = np.array([300.0, 300, 1300, 1300]), Augmentation(0, 0, (1, 1), (0, 0))
    points = upright_face((800.0, 800.0), 500)
    for margin in (0.0, 0.1, 0.3):
        second = aligned_spec(ModelSpec(), points[None], margin)
        cut = context_crop(SMOOTH, points, box, ModelSpec(), still, second)
        assert factor_of(box, cut) > 1
        assert shrinking(aligned_transform(cut.points, second)) / ZOOM >= 1
