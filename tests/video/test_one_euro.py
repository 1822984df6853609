"""The one-euro filter against the formulas of its paper, a sample at a time."""

import itertools
import json
import math

import numpy as np
import pytest

from facealign.video.one_euro import OneEuroFilter, OneEuroSettings

RATE = 25.0
SIZE = 120.0


def by_the_paper(samples, times, size, min_cutoff, beta, derivative_cutoff):
    """Algorithm 1 of the paper for one point (n, 2), whose speed is that of the point, in sizes a second."""

    def alpha(cutoff, period):
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / period)

    kept, speed = None, (0.0, 0.0)
    filtered = []
    for index, sample in enumerate(samples):
        if kept is None:
            kept = tuple(sample)
        else:
            period = times[index] - times[index - 1]
            a = alpha(derivative_cutoff, period)
            change = [(new - old) / period for new, old in zip(sample, kept, strict=True)]
            speed = tuple(a * new + (1 - a) * old for new, old in zip(change, speed, strict=True))
            a = alpha(min_cutoff + beta * math.hypot(*speed) / size, period)
            kept = tuple(a * new + (1 - a) * old for new, old in zip(sample, kept, strict=True))
        filtered.append(kept)
    return np.array(filtered)


def run(points, times, settings, size=SIZE):
    smooth = OneEuroFilter(settings)
    return np.array([smooth(frame, time, size) for frame, time in zip(points, times, strict=True)])


@pytest.mark.parametrize("settings", [(1.0, 10.0, 1.0), (0.3, 0.0, 2.0), (5.0, 1.5, 0.5)])
def test_every_point_is_filtered_as_in_the_paper(settings):
    draw = np.random.default_rng(1)
    times = np.cumsum(draw.uniform(0.01, 0.2, 60))
    walks = np.cumsum(draw.normal(0, 4, (60, 7, 2)), axis=0) + 300
    found = run(walks, times, OneEuroSettings(*settings))
    for point in range(7):
        np.testing.assert_allclose(found[:, point], by_the_paper(walks[:, point], times, SIZE, *settings))


def test_a_still_point_stays():
    times = np.arange(50) / RATE
    points = np.tile([[12.5, -3.0], [0.0, 1e4]], (50, 1, 1))
    np.testing.assert_array_equal(run(points, times, OneEuroSettings()), points)


@pytest.mark.parametrize("beta", [0.0, 1.0, 10.0, 100.0])
def test_a_step_is_followed_without_turning_back_or_going_beyond(beta):
    times = np.arange(100) / RATE
    points = np.zeros((100, 1, 2))
    points[10:] = 40.0, -20.0
    found = run(points, times, OneEuroSettings(beta=beta))[:, 0]
    assert (np.diff(found[9:, 0]) >= 0).all()
    assert found[:, 0].max() <= 40.0
    assert found[-1] == pytest.approx([40.0, -20.0], abs=1e-3)
    np.testing.assert_allclose(found[:, 1], -found[:, 0] / 2)


@pytest.mark.parametrize("beta", [0.0, 2.0, 10.0])
def test_the_lag_on_a_ramp_is_that_of_the_formula(beta):
    """Behind by v / (2 pi c), with the cutoff c = min_cutoff + beta s, and the speed s that the filter sees:
    (lag + v T) / T, as it is taken to the last filtered point.
    """
    speed, period, min_cutoff = 90.0, 1 / RATE, 0.8
    times = np.arange(1500) * period
    points = np.stack([speed * times, np.zeros_like(times)], axis=-1)[:, None]
    found = run(points, times, OneEuroSettings(min_cutoff, beta, 1.0))
    lag = 0.0
    for _ in range(500):
        seen = (lag + speed * period) / period / SIZE
        lag = speed / (2 * math.pi * (min_cutoff + beta * seen))
    assert (points - found)[-1, 0] == pytest.approx([lag, 0.0], rel=1e-6)
    assert lag == pytest.approx(speed / (2 * math.pi * min_cutoff)) or beta > 0


def test_a_face_twice_as_large_is_filtered_alike():
    draw = np.random.default_rng(2)
    times = np.arange(80) / RATE
    walks = np.cumsum(draw.normal(0, 3, (80, 5, 2)), axis=0)
    once, twice = run(walks, times, OneEuroSettings()), run(2 * walks, times, OneEuroSettings(), 2 * SIZE)
    np.testing.assert_allclose(twice, 2 * once)


def test_noise_is_less_and_a_lower_cutoff_makes_it_still_less():
    times = np.arange(400) / RATE
    noise = np.random.default_rng(3).normal(0, 0.3, (400, 68, 2))
    left = [
        np.diff(run(noise, times, OneEuroSettings(min_cutoff=cutoff))[50:], axis=0).std()
        for cutoff in (4.0, 1.0, 0.3)
    ]
    left.insert(0, np.diff(noise, axis=0).std())
    assert all(more > 1.5 * less for more, less in itertools.pairwise(left))


def test_it_goes_on_from_its_state_in_json_to_the_bit():
    draw = np.random.default_rng(4)
    walks, times = np.cumsum(draw.normal(0, 3, (40, 68, 2)), axis=0), np.arange(40) / 29.97
    whole = run(walks, times, OneEuroSettings())
    smooth = OneEuroFilter(OneEuroSettings())
    for index in range(40):
        smooth = OneEuroFilter.restored(OneEuroSettings(), json.loads(json.dumps(smooth.state())))
        np.testing.assert_array_equal(smooth(walks[index], times[index], SIZE), whole[index])


def test_two_frames_of_the_same_time_are_no_division_by_zero():
    smooth = OneEuroFilter(OneEuroSettings())
    for time in (1.0, 1.0, 0.5):
        assert np.isfinite(smooth(np.array([[time, 3.0]]), time, SIZE)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_cutoff": 0.0},
        {"min_cutoff": math.nan},
        {"beta": -1.0},
        {"beta": math.inf},
        {"derivative_cutoff": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OneEuroSettings(**wrong)
