"""Measuring: statistics against numpy, and processes of toys that are really started."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measure import Measurement, Peer, interleave, quartiles, ratio

TOYS = "tests.benchmarks.toys"
TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


@given(TIMES)
def test_quartiles_are_numpys(values):
    np.testing.assert_allclose(quartiles(values), np.percentile(values, [25, 50, 75]), rtol=1e-12)


def test_nothing_measured_is_nan():
    nothing = Measurement("task", "name", (), note="not installed")
    assert math.isnan(nothing.seconds)
    assert all(map(math.isnan, ratio(nothing, Measurement("task", "other", (1.0,)))))


def test_ratio_is_taken_round_by_round():
    # A machine that gets slower and slower: the ratio is 1/2 in each round, though the times overlap.
    theirs = np.array([1.0, 2.0, 4.0, 8.0])
    ours = Measurement("task", "ours", tuple(theirs / 2))
    assert ratio(ours, Measurement("task", "theirs", tuple(theirs))) == (0.5, 0.5, 0.5)
    uneven = Measurement("task", "uneven", (2.0, 2.0, 2.0, 2.0))
    np.testing.assert_allclose(
        ratio(uneven, Measurement("task", "theirs", tuple(theirs))),
        np.percentile([2, 1, 0.5, 0.25], [25, 50, 75]),
    )


def test_ratio_of_different_runs_is_refused():
    with pytest.raises(ValueError, match="same rounds"):
        ratio(Measurement("task", "a", (1.0, 2.0)), Measurement("task", "b", (1.0,)))
    with pytest.raises(ValueError, match="same rounds"):
        ratio(Measurement("task", "a", (1.0,)), Measurement("another", "b", (1.0,)))


def test_slices_are_interleaved_with_threads_and_environment(tmp_path):
    log = tmp_path / "log"
    peers = [
        Peer(name, f"{TOYS}:writer", {"path": str(log), "name": name}, environment={"TOY": name.upper()})
        for name in "ab"
    ]
    interleave("writing", peers, threads=3, rounds=4, slice_seconds=0.001)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert set(lines) == {"a 3 A", "b 3 B"}
    turns = [line[0] for index, line in enumerate(lines) if index == 0 or line != lines[index - 1]]
    # After getting ready, rounds of ab, ba, ab, ba, of which neighbours merge.
    assert "".join(turns).endswith("ababa")


def test_seconds_are_per_unit():
    # A sleep lasts at least as long as it is told, so this holds however busy the machine is.
    (slept,) = interleave(
        "sleeping",
        [Peer("sleeper", f"{TOYS}:sleeper", {"seconds": 0.02}, units=4, note="at rest")],
        threads=1,
        rounds=3,
        slice_seconds=0.001,
    )
    assert len(slept.rounds) == 3
    assert min(slept.rounds) >= 0.02 / 4
    assert (slept.task, slept.name, slept.note) == ("sleeping", "sleeper", "at rest")


def test_memory_is_the_peak_of_each_process_alone():
    ballast = bytearray(300_000_000)  # of this process: must not be counted
    ballast[:: 1 << 12] = b"x" * len(ballast[:: 1 << 12])
    small, large = interleave(
        "holding",
        [Peer(f"{size} MB", f"{TOYS}:hog", {"megabytes": size}) for size in (1, 150)],
        threads=1,
        rounds=1,
        slice_seconds=0.001,
    )
    assert small.memory < 100
    assert 148 < large.memory - small.memory < 152


def test_who_cannot_be_measured_says_why_and_the_others_go_on():
    peers = [
        Peer("absent", f"{TOYS}:chatty", python=Path("/nowhere/python")),
        Peer("broken", f"{TOYS}:broken"),
        Peer("dying", f"{TOYS}:dying"),
        Peer("slow to start", f"{TOYS}:sleeper", {"seconds": 60}, start_seconds=0.5),
        Peer("chatty", f"{TOYS}:chatty"),
    ]
    absent, broken, dying, slow, chatty = interleave("talking", peers, threads=1, rounds=2, slice_seconds=0)
    assert absent.note == "not installed"
    assert broken.note == "OSError: no such library"
    assert dying.note == "ended by itself: Check failed: this is fatal"
    assert slow.note == "gave no answer within 0.5 s"
    assert [one.rounds for one in (absent, broken, dying, slow)] == [()] * 4
    assert len(chatty.rounds) == 2
    assert chatty.note == ""
