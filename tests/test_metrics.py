"""Errors of landmarks against loops and integrals written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign.metrics import auc, ced, failure_rate, nme, point_errors

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
