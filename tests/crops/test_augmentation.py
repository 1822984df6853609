"""Augmentation: the landmarks go where the picture goes, and every draw keeps within its range."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from facealign.crops.augmentation import (
    Augmentation,
    Jitter,
    Noise,
    add_noise,
    augment,
    draw_jitter,
    jitter_transform,
    moved,
    standard_normal,
    transform,
)
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_transform
from facealign.geometry.affine import apply, compose
from tests.upright_face import upright_face

SAMPLE = {36: 45, 39: 42, 17: 26, 0: 16, 48: 54, 30: 30, 8: 8}
"""Landmarks and, by hand, which they become in the mirror."""
STILL = Augmentation(flip=0, shift=0, scale_range=(1, 1), rotate_range=(0, 0), noise_std=(0, 0))
PHOTO = np.ascontiguousarray(astronaut()[:, :, ::-1])


def blob(place, height, width, radius):
    """A black picture with one round spot whose centre of mass is `place`."""
    y, x = np.mgrid[:height, :width]
    spot = 250 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * radius**2))
    return np.dstack([spot.round().astype(np.uint8)] * 3)


def centre_of_mass(picture):
    weight = picture[..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("flip", [0.0, 1.0], ids=["unflipped", "flipped"])
@pytest.mark.parametrize(("side", "crop"), [(160, 200), (280, 64)], ids=["enlarged", "averaged"])
def test_every_landmark_lies_where_the_crop_shows_it(flip, side, crop):
    """One spot at one landmark at a time; flipped, it is found at the landmark of the other side."""
    spec = ModelSpec(input_height=crop, input_width=crop, box_scale=2.0)
    augmentation = Augmentation(flip=flip, noise_std=(0, 0))
    middle = np.array([1.02, 0.98]) * side
    face = upright_face(middle, side)
    box = np.concatenate([middle - side / 2, middle + side / 2])
    for seed, (index, mirrored) in enumerate(SAMPLE.items()):
        picture = blob(face[index], 2 * side, 2 * side + 9, side / 50)
        shown, landmarks = augment(picture, face, box, augmentation, np.random.default_rng(seed), spec)
        found = landmarks[mirrored if flip else index]
        assert shown.shape == (crop, crop, 3)
        np.testing.assert_allclose(centre_of_mass(shown), found, atol=0.1)
        # upright still, the left of the face is on the left of the crop
        assert landmarks[36, 0] < landmarks[45, 0]
        assert landmarks[48, 0] < landmarks[54, 0]


def test_without_variation_it_is_the_plain_crop():
    spec = ModelSpec()
    box = np.array([170.0, 65.0, 275.0, 190.0])
    face = upright_face((220, 130), 100)
    _, landmarks = augment(PHOTO, face, box, STILL, np.random.default_rng(0), spec)
    plain = crop_transform(box, (64, 64), spec.box_scale, spec.box_shift)
    np.testing.assert_allclose(landmarks, apply(plain, face))


def test_a_flip_alone_mirrors_the_pixels():
    box, rng = np.array([170.0, 65.0, 298.0, 193.0]), np.random.default_rng(0)
    face = upright_face((230, 130), 100)
    spec = ModelSpec(box_scale=1.0, box_shift=(0.0, 0.0))
    plain, _ = augment(PHOTO, face, box, STILL, rng, spec)
    flipped, _ = augment(PHOTO, face, box, dataclasses.replace(STILL, flip=1), rng, spec)
    np.testing.assert_array_equal(flipped, plain[:, ::-1])


def by_hand(jitter, size, x, y):
    """About the centre: scale, turn clockwise on the screen, move, flip; one point."""
    height, width = size
    right, down = (x - (width - 1) / 2) * jitter.scale, (y - (height - 1) / 2) * jitter.scale
    radius, angle = math.hypot(right, down), math.atan2(down, right)
    angle += jitter.angle * math.pi / 180  # y points down: a growing angle is clockwise
    x = (width - 1) / 2 + radius * math.cos(angle) + jitter.shift_x * width
    y = (height - 1) / 2 + radius * math.sin(angle) + jitter.shift_y * height
    return [width - 1 - x if jitter.flip else x, y]


jitters = st.builds(
    Jitter,
    flip=st.booleans(),
    shift_x=st.floats(-0.5, 0.5),
    shift_y=st.floats(-0.5, 0.5),
    scale=st.floats(0.3, 3),
    angle=st.floats(-180, 180),
)


@settings(deadline=None)
@given(jitters, st.integers(16, 256), st.integers(16, 256))
def test_jitter_by_hand(jitter, height, width):
    affine = jitter_transform(jitter, (height, width))
    for x, y in ((0.0, 0.0), (width - 1.0, 5.0), (17.5, 80.0)):
        np.testing.assert_allclose(
            apply(affine, np.array([x, y])), by_hand(jitter, (height, width), x, y), atol=1e-6
        )


def test_a_positive_angle_is_clockwise_on_the_screen():
    """What was right of the centre goes down, what was above goes right."""
    affine = jitter_transform(Jitter(angle=90), (65, 65))
    np.testing.assert_allclose(apply(affine, np.array([[42.0, 32.0], [32.0, 12.0]])), [[32, 42], [52, 32]])


@settings(deadline=None)
@given(jitters)
def test_one_transform_does_crop_and_jitter(jitter):
    box, size = np.array([10.0, 20.0, 130.0, 160.0]), (70, 60)
    affine = transform(box, jitter, size, 1.2, (0.0, 0.05))
    expected = compose(jitter_transform(jitter, size), crop_transform(box, size, 1.2, (0.0, 0.05)))
    np.testing.assert_allclose(affine, expected)


@st.composite
def ranges(draw_jitter, low, high):
    return tuple(sorted((draw_jitter(st.floats(low, high)), draw_jitter(st.floats(low, high)))))


@settings(deadline=None)
@given(
    st.builds(
        Augmentation,
        flip=st.floats(0, 1),
        shift=st.floats(0, 0.5),
        scale_range=ranges(0.3, 3),
        rotate_range=ranges(-180, 180),
        noise_std=ranges(0, 30),
    ),
    st.integers(0, 2**32),
)
def test_draws_keep_within_their_ranges(augmentation, seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        jitter = draw_jitter(augmentation, rng)
        assert abs(jitter.shift_x) <= augmentation.shift
        assert abs(jitter.shift_y) <= augmentation.shift
        for value, (low, high) in (
            (jitter.scale, augmentation.scale_range),
            (jitter.angle, augmentation.rotate_range),
            (jitter.noise_std, augmentation.noise_std),
        ):
            assert low <= value <= high
        assert jitter.flip <= (augmentation.flip > 0)
        assert jitter.flip >= (augmentation.flip == 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flip", -0.1),
        ("flip", 1.1),
        ("flip", math.nan),
        ("shift", -0.1),
        ("shift", 1.0),
        ("scale_range", (0.0, 1.0)),
        ("scale_range", (1.2, 0.8)),
        ("scale_range", (1.0, math.inf)),
        ("rotate_range", (30.0, -30.0)),
        ("rotate_range", (-math.inf, 0.0)),
        ("rotate_range", (-181.0, 0.0)),
        ("noise_std", (-1.0, 3.0)),
        ("noise_std", (0.0, math.nan)),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Augmentation(**{name: value})


def test_draws_fill_their_ranges_evenly_and_independently():
    augmentation = Augmentation(flip=0.25)
    rng = np.random.default_rng(0)
    drawn = np.array([dataclasses.astuple(draw_jitter(augmentation, rng)) for _ in range(4000)], float)
    assert drawn[:, 0].mean() == pytest.approx(0.25, abs=0.03)
    low = np.array([-0.08, -0.08, 0.9, -30, 0])
    width = np.array([0.16, 0.16, 0.25, 60, 6])
    share = (drawn[:, 1:] - low) / width
    for column in share.T:
        np.testing.assert_allclose(np.histogram(column, 4, (0, 1))[0] / 4000, 0.25, atol=0.03)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.06


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    box, face = np.array([170.0, 65.0, 275.0, 190.0]), upright_face((220, 130), 100)

    def made(seed):
        rng = np.random.default_rng(seed)
        return [augment(PHOTO, face, box, Augmentation(), rng, ModelSpec()) for _ in range(3)]

    for (crop, landmarks), (again, landmarks_again) in zip(made(5), made(5), strict=True):
        assert crop.tobytes() == again.tobytes()
        assert landmarks.tobytes() == landmarks_again.tobytes()
    assert made(5)[0][0].tobytes() != made(6)[0][0].tobytes()
    assert made(5)[0][0].tobytes() != made(5)[1][0].tobytes()


def test_global_random_state_is_neither_used_nor_changed():
    before = np.random.get_state()[1].copy()
    augment(
        PHOTO,
        upright_face(),
        np.array([0, 0, 9.0, 9.0]),
        Augmentation(),
        np.random.default_rng(1),
        ModelSpec(),
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_inputs_are_left_as_they_are():
    picture, face, box = PHOTO.copy(), upright_face((220, 130), 100), np.array([170.0, 65.0, 275.0, 190.0])
    before = face.copy(), box.copy()
    augment(picture, face, box, Augmentation(flip=1), np.random.default_rng(1), ModelSpec())
    np.testing.assert_array_equal(picture, PHOTO)
    np.testing.assert_array_equal(face, before[0])
    np.testing.assert_array_equal(box, before[1])


@pytest.mark.parametrize("std", [1.0, 5.0, 12.0])
def test_noise_has_its_deviation_no_bias_and_no_pattern(std):
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = add_noise(grey, std, np.random.default_rng(0)).astype(float) - 128
    # rounding to whole grey levels adds a twelfth to the variance
    assert noise.std() == pytest.approx(math.sqrt(std**2 + 1 / 12), rel=0.01)
    assert abs(noise.mean()) < 4 * std / math.sqrt(noise.size)
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.02
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.02 * std**2
    assert (grey == 128).all()


def test_a_draw_of_many_is_as_many_draws():
    """Transforms, landmarks and affines of n draws are those of each, one by one."""
    jitters = draw_jitter(Augmentation(), np.random.default_rng(0), 20)
    assert jitters.flip.any()
    assert not jitters.flip.all()
    box = np.random.default_rng(1).uniform(0, 100, (20, 4)) + np.array([0, 0, 100, 120])
    faces = np.stack([upright_face((100 + index, 100), 80) for index in range(20)])
    affines = transform(box, jitters, (70, 60), 1.2, (0.0, 0.05))
    landmarks = moved(faces, affines, jitters)
    assert landmarks.shape == (20, 68, 2)
    for index in range(20):
        one = Jitter(*(values[index] for values in dataclasses.astuple(jitters)))
        affine = transform(box[index], one, (70, 60), 1.2, (0.0, 0.05))
        np.testing.assert_allclose(affines[index], affine, rtol=1e-12)
        np.testing.assert_allclose(landmarks[index], moved(faces[index], affine, one), rtol=1e-9)


def test_the_normal_distribution_is_the_normal_distribution():
    """Against the distribution function and the moments, and no number hangs on its neighbours."""
    rng = np.random.Generator(np.random.SFC64(3))
    drawn = standard_normal(rng, (1000, 1001)).astype(float)
    values = np.sort(drawn.ravel())
    expected = scipy.special.ndtr(values)
    steps = np.arange(1, values.size + 1) / values.size
    assert np.abs(expected - steps).max() < 1.95 / math.sqrt(values.size)  # Kolmogorov-Smirnov, 0.1 %
    assert values.var() == pytest.approx(1, abs=0.006)
    assert (values**4).mean() == pytest.approx(3, abs=0.04)
    assert 4 < values[-1] < 4.4
    for first, second in (
        (drawn[:, 1:], drawn[:, :-1]),
        (drawn[:, 4:], drawn[:, :-4]),
        (drawn[1:], drawn[:-1]),
    ):
        assert abs((first * second).mean()) < 0.005


def test_noise_goes_where_it_is_told_and_is_of_the_generator_s_bits_alone():
    greys = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 3), np.uint8)
    before = greys.copy()
    place = greys[1]  # not a multiple of the four numbers that 64 bits make
    noise = Noise(np.random.Generator(np.random.SFC64(1)), 3 + place.size)
    noise.add(place, 30, 3)
    bits = np.random.SFC64(1).random_raw(27)
    shares = [int(word) >> shift & 0xFFFF for word in bits for shift in (0, 16, 32, 48)][3:108]
    expected = before[1].ravel() + 30 * scipy.special.ndtri((np.array(shares) + 0.5) / 65536)
    assert np.abs(place.ravel() - expected.clip(0, 255)).max() <= 0.501
    np.testing.assert_array_equal(greys[::2], before[::2])
    noise.add(greys[0], 0)
    np.testing.assert_array_equal(greys[0], before[0])


@pytest.mark.parametrize("std", [0.05, 0.4, 1.0, 3.3, 6.0, 40.0])
def test_noise_is_the_normal_distribution_rounded(std):
    """As often each number of grey levels as scipy says, also where it is cut off at black and white."""
    for grey in (0, 3, 128, 250, 255):
        picture = np.full((1000, 1000), grey, np.uint8)
        Noise(np.random.Generator(np.random.SFC64(4)), picture.size).add(picture, std)
        found = np.bincount(picture.ravel(), minlength=256)
        borders = np.arange(255) + 0.5 - grey
        expected = np.diff(scipy.stats.norm(scale=std).cdf(borders), prepend=0, append=1) * picture.size
        often = expected > 20
        assert found[~often].sum() <= 2 * expected[~often].sum() + 20
        if often.sum() > 1:
            off = ((found - expected)[often] ** 2 / expected[often]).sum()
            assert off < scipy.stats.chi2(often.sum()).isf(1e-4)


def test_noise_in_a_crop_is_drawn_up_to_its_range():
    grey = np.full((400, 400, 3), 128, np.uint8)
    box = np.array([150.0, 150.0, 250.0, 250.0])
    only_noise = dataclasses.replace(STILL, noise_std=(4, 4))
    crop, _ = augment(grey, upright_face(), box, only_noise, np.random.default_rng(0), ModelSpec())
    assert crop.astype(float).std() == pytest.approx(math.sqrt(16 + 1 / 12), rel=0.03)


def test_noise_is_cut_off_at_black_and_white():
    for level in (0, 255):
        noisy = add_noise(np.full((100, 100, 3), level, np.uint8), 10, np.random.default_rng(0))
        off = np.abs(noisy.astype(float) - level)
        assert (off == 0).mean() == pytest.approx(0.5, abs=0.04)
        assert off.max() < 60


def test_no_noise_changes_nothing():
    np.testing.assert_array_equal(add_noise(PHOTO, 0.0, np.random.default_rng(0)), PHOTO)
