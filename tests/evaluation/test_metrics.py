"""Errors of landmarks against loops and integrals written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign.evaluation.metrics import (
    auc,
    bootstrap_interval,
    ced,
    failure_rate,
    group_nme,
    nme,
    point_errors,
)

errors = st.lists(st.floats(0, 0.5), min_size=1, max_size=40).map(np.array)


def faces(n, seed=0):
    return np.random.default_rng(seed).uniform(0, 200, (n, 68, 2))


def nme_by_hand(predicted, truth, norm):
    if norm == "inter_ocular":
        distance = math.dist(truth[36], truth[45])
    else:
        left = [sum(truth[index][axis] for index in range(36, 42)) / 6 for axis in (0, 1)]
        right = [sum(truth[index][axis] for index in range(42, 48)) / 6 for axis in (0, 1)]
        distance = math.dist(left, right)
    return sum(math.dist(predicted[index], truth[index]) for index in range(68)) / 68 / distance


@pytest.mark.parametrize("norm", ["inter_pupil", "inter_ocular"])
def test_nme_by_hand(norm):
    truth, predicted = faces(5), faces(5, seed=1)
    expected = [nme_by_hand(p.tolist(), t.tolist(), norm) for p, t in zip(predicted, truth, strict=True)]
    np.testing.assert_allclose(nme(predicted, truth, norm), expected)


def test_nme_is_normalised_by_the_truth_and_not_by_the_prediction():
    truth = faces(3)
    np.testing.assert_allclose(
        nme(2 * truth, truth, "inter_ocular") * 2, nme(truth, 2 * truth, "inter_ocular") * 4
    )
    np.testing.assert_array_equal(nme(truth, truth, "inter_pupil"), 0)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 50), st.floats(0, 6.28), st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_nme_does_not_depend_on_size_place_and_angle(scale, angle, move):
    truth, predicted = faces(2), faces(2, seed=1)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = nme(predicted @ turn + move, truth @ turn + move, "inter_pupil")
    np.testing.assert_allclose(moved, nme(predicted, truth, "inter_pupil"), rtol=1e-6)


def test_point_errors_by_hand():
    truth = faces(2)
    moved = truth + np.array([3, -4])
    moved[1, 7] = truth[1, 7]
    expected = np.full((2, 68), 5.0)
    expected[1, 7] = 0
    np.testing.assert_allclose(point_errors(moved, truth), expected)


def test_what_has_no_nme_is_refused():
    truth = faces(2)
    with pytest.raises(ValueError, match="inter_brow"):
        nme(truth, truth, "inter_brow")
    with pytest.raises(ValueError, match="differ in shape"):
        nme(truth[:1], truth, "inter_pupil")
    truth[1, 36:48] = 7.0
    for norm in ("inter_pupil", "inter_ocular"):
        with pytest.raises(ValueError, match="distance 0"):
            nme(truth, truth, norm)


@given(errors, st.floats(0.01, 0.5), st.integers(0, 5))
def test_failure_rate_by_counting(values, threshold, missed):
    failures = sum(1 for value in values if value > threshold) + missed
    assert failure_rate(values, threshold, missed) == pytest.approx(failures / (len(values) + missed))


def test_an_error_at_the_threshold_is_no_failure_and_nan_is_one():
    assert failure_rate(np.array([0.08, 0.08]), 0.08) == 0
    assert failure_rate(np.array([0.01, np.nan]), 0.08) == 0.5
    assert failure_rate(np.array([]), 0.08, missed=2) == 1


@given(errors, st.lists(st.floats(0, 0.6), min_size=1, max_size=20))
def test_ced_by_counting(values, thresholds):
    expected = [sum(1 for value in values if value <= limit) / len(values) for limit in thresholds]
    np.testing.assert_allclose(ced(values, np.array(thresholds)), expected)


@given(errors, st.floats(0.02, 0.3))
def test_ced_and_failure_rate_add_up_to_one(values, threshold):
    assert ced(values, np.array([threshold]))[0] + failure_rate(values, threshold) == pytest.approx(1)


@settings(deadline=None, max_examples=40)
@given(errors, st.floats(0.02, 0.3))
def test_auc_is_the_integral_of_the_ced(values, threshold):
    """By the midpoint rule, which on a staircase errs by half a step of x a stair at most."""
    steps = 20000
    middles = (np.arange(steps) + 0.5) / steps * threshold
    assert auc(values, threshold) == pytest.approx(ced(values, middles).mean(), abs=1 / steps)


def test_auc_by_hand():
    assert auc(np.zeros(3), 0.1) == 1
    assert auc(np.array([0.1, 0.2]), 0.1) == 0
    # the CED is 0 to 0.02, a half to 0.06, and 1 to 0.1
    assert auc(np.array([0.02, 0.06]), 0.1) == pytest.approx((0.04 * 0.5 + 0.04) / 0.1)


def test_no_face_is_refused():
    for measure in (lambda e: failure_rate(e, 0.1), lambda e: ced(e, e), lambda e: auc(e, 0.1)):
        with pytest.raises(ValueError, match="no face"):
            measure(np.array([]))


def test_group_errors_by_hand():
    truth, predicted = faces(4), faces(4, seed=1)
    members = {
        "contour": range(17),
        "brows": range(17, 27),
        "nose": range(27, 36),
        "eyes": range(36, 48),
        "mouth": range(48, 68),
    }
    by_group = group_nme(predicted, truth, "inter_ocular")
    assert list(by_group) == list(members)
    for name, points in members.items():
        for index in range(4):
            distances = [math.dist(predicted[index, point], truth[index, point]) for point in points]
            expected = sum(distances) / len(points) / math.dist(truth[index, 36], truth[index, 45])
            assert by_group[name][index] == pytest.approx(expected)
    weighted = sum(len(points) * by_group[name] for name, points in members.items()) / 68
    np.testing.assert_allclose(weighted, nme(predicted, truth, "inter_ocular"))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_the_bootstrap_agrees_with_the_normal_approximation(level, shape):
    """Of many faces the mean is normal: its interval is z standard errors to either side."""
    rng = np.random.default_rng(5)
    values = rng.normal(6, 2, 2000) if shape == "normal" else rng.exponential(6, 2000)
    z = {0.5: 0.674490, 0.9: 1.644854, 0.95: 1.959964}[level]
    error = values.std() / math.sqrt(len(values))
    low, high = bootstrap_interval(values, level)
    # 10,000 resamples tell a quantile to about 0.03 of a standard error.
    assert low == pytest.approx(values.mean() - z * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + z * error, abs=0.1 * error)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    """300 samples of 100 faces from a skewed distribution whose mean is known."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.gamma(4, 1.5, 100), resamples=400)
        held += low <= 6 <= high
    # binomial: 300 x 0.95 = 285 +- 3.8; a few less, as 100 faces are not many
    assert 272 <= held <= 295


def test_the_bootstrap_is_seeded_and_does_not_depend_on_how_much_is_drawn_at_a_time():
    values = np.random.default_rng(1).normal(5, 1, 300)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)
    assert bootstrap_interval(np.full(7, 3.0)) == (3.0, 3.0)
    many = np.random.default_rng(1).normal(5, 1, 200_000)
    low, high = bootstrap_interval(many, resamples=200)
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(200_000), rel=0.25)


def test_the_bootstrap_is_the_percentiles_of_as_many_means_as_asked_for():
    """Of 300 values, not all 10,000 draws are made at once; by plain NumPy, they are."""
    values = np.random.default_rng(2).exponential(1, 300)
    for resamples, level in ((10_000, 0.95), (4_000, 0.5), (3_333, 0.9)):
        drawn = np.random.default_rng(7).integers(0, 300, (resamples, 300))
        expected = np.percentile(values[drawn].mean(axis=1), [50 - 50 * level, 50 + 50 * level])
        assert bootstrap_interval(values, level, resamples, seed=7) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("norm", ["inter_pupil", "inter_ocular"])
def test_errors_of_a_face_smaller_than_a_pixel_are_those_of_a_large_one(norm):
    large = np.random.default_rng(0).uniform(0, 100, (2, 3, 68, 2))
    small = large / 1000
    np.testing.assert_allclose(nme(*small, norm), nme(*large, norm))
    for name, errors in group_nme(*large, norm).items():
        np.testing.assert_allclose(group_nme(*small, norm)[name], errors)


@pytest.mark.parametrize(("values", "level"), [([], 0.95), ([[1.0]], 0.95), ([1.0], 0), ([1.0], 1)])
def test_what_cannot_be_bootstrapped_is_refused(values, level):
    with pytest.raises(ValueError, match=r"values of shape|level is"):
        bootstrap_interval(np.array(values), level)
