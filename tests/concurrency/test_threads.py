"""Steps that overlap: the order, the errors, how much is under way, and that nothing is left running."""

import threading
from collections import Counter
from contextlib import closing

import pytest

from facealign.concurrency.threads import overlapped


def test_the_order_is_kept_whichever_item_is_done_first():
    """Even items wait at the first step until the odd one after them has passed it."""
    passed = [threading.Event() for _ in range(20)]

    def first(item):
        if item % 2 == 0:
            assert passed[item + 1].wait(10)
        passed[item].set()
        return item * 10

    results = overlapped(range(20), (first, 2), (lambda value: value + 1, 1), (str, 3))
    assert [(item, future.result()) for item, future in results] == [
        (item, str(item * 10 + 1)) for item in range(20)
    ]


def test_all_steps_are_at_work_at_once():
    """Each waits for the others, on an item of its own."""
    meeting = threading.Barrier(3, timeout=10)

    def step(item):
        meeting.wait()
        return item

    def pausing(at):
        return lambda item: step(item) if item == at else item

    results = overlapped(range(3), (pausing(2), 1), (pausing(1), 1), (pausing(0), 1))
    assert [future.result() for _, future in results] == [0, 1, 2]


def test_a_step_with_one_thread_has_one_item_at_a_time():
    busy = threading.Lock()

    def alone(item):
        assert busy.acquire(blocking=False)
        threading.Event().wait(0.001)
        busy.release()
        return item

    assert [future.result() for _, future in overlapped(range(30), (abs, 4), (alone, 1))] == list(range(30))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_error_is_its_item_s_and_no_other_s(at):
    def failing(item):
        if item == 3:
            raise ValueError(f"no {item}")
        return item

    steps = [(failing if index == at else abs, 2) for index in range(3)]
    found = {}
    for item, future in overlapped(range(6), *steps):
        try:
            found[item] = future.result()
        except ValueError as error:
            found[item] = str(error)
    assert found == {0: 0, 1: 1, 2: 2, 3: "no 3", 4: 4, 5: 5}


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_is_begun_than_ahead(ahead):
    begun, taken = Counter(), 0

    def items():
        for item in range(20):
            begun["items"] += 1
            assert begun["items"] <= taken + ahead + 1
            yield item

    for _, future in overlapped(items(), (abs, 2), (abs, 2), ahead=ahead):
        future.result()
        taken += 1
    assert taken == 20


def test_no_item_is_no_work():
    assert list(overlapped([], (abs, 1))) == []


def test_left_half_way_it_ends_its_threads_and_begins_nothing_more():
    before = threading.active_count()
    at_work, go_on = threading.Event(), threading.Event()
    done = []

    def slow(item):
        if item == 1:
            at_work.set()
            assert go_on.wait(10)
        done.append(item)
        return item

    with closing(overlapped(range(100), (slow, 1), (abs, 1), ahead=5)) as results:
        assert next(results)[1].result() == 0
        assert at_work.wait(10)
        go_on.set()
    assert 1 in done
    assert len(done) <= 5
    assert threading.active_count() == before
