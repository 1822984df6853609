"""Confidence: its shape, and what disagreement measures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign.inference.confidence import HALF, confidence, disagreement
from tests.upright_face import upright_face


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_disagreement_is_never_more_confidence(first, second):
    low, high = sorted((first, second))
    assert 0 <= confidence(high) <= confidence(low) <= 1


def test_half_is_half():
    assert confidence(HALF) == pytest.approx(0.5)
    assert confidence(HALF / 3) > 0.95
    assert confidence(3 * HALF) < 0.05


def test_disagreement_is_a_fraction_of_the_face_s_size_whatever_that_is():
    face = upright_face((50.0, 60.0), 100.0)
    width, height = np.ptp(face, axis=0)
    moved = face + np.array([3.0, 4.0])
    for scale in (0.1, 1, 20):
        (found,) = disagreement(scale * moved[None], scale * face[None])
        assert found == pytest.approx(5 / np.sqrt(width * height))


@pytest.mark.parametrize("second", [np.zeros((68, 2)), np.full((68, 2), np.nan)])
def test_what_is_no_face_disagrees_infinitely(second):
    (found,) = disagreement(upright_face()[None], second[None])
    assert found == np.inf
    assert confidence(float(found)) == 0
