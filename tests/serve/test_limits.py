"""Admission: counts of requests, and of the bytes that they hold."""

import contextlib

import pytest

from facealign.serve.limits import HELD_PHOTOS, Admission, Limits, RefusalError


@pytest.fixture
def admission():
    return Admission(Limits(max_bytes=100, max_requests=3, max_client_requests=2))


def test_the_third_of_a_client_and_the_fourth_of_all_are_refused(admission):
    with contextlib.ExitStack() as under_way:
        under_way.enter_context(admission.admitted("a"))
        under_way.enter_context(admission.admitted("a"))
        with pytest.raises(RefusalError) as refused, admission.admitted("a"):
            pass
        assert refused.value.status == 429
        under_way.enter_context(admission.admitted("b"))
        with pytest.raises(RefusalError) as refused, admission.admitted("c"):
            pass
        assert refused.value.status == 503
    assert admission.requests == {}
    with admission.admitted("a"), admission.admitted("a"):
        pass


def test_bytes_are_held_once_and_given_back(admission):
    with admission.admitted("a") as first, admission.admitted("b") as second:
        first.at_least(100)
        first.at_least(60)
        assert admission.held == 100
        second.at_least(100 * (HELD_PHOTOS - 1))
        with pytest.raises(RefusalError) as refused:
            second.at_least(100 * (HELD_PHOTOS - 1) + 1)
        assert refused.value.status == 503
    assert admission.held == 0
