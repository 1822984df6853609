"""The map over processes: order, errors, how far it looks ahead, and how it ends. The processes are real."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facealign.concurrency.pools import ordered_map
from facealign.concurrency.processes import ITEMS_A_WORKER, WorkerPool, cores
from facealign.errors import FaceAlignError
from tests.parallel_tasks import (
    Pair,
    die_at_five,
    fail_at_five,
    nothing,
    pair_of,
    refuse,
    square,
    where,
    where_with_another,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers):
    assert list(ordered_map(square, range(40), workers, nothing)) == [number * number for number in range(40)]
    assert list(ordered_map(square, [], workers, nothing)) == []


def test_one_worker_is_this_process_and_more_are_others(tmp_path):
    assert {pid for pid, *_ in ordered_map(where, range(3), 1, nothing)} == {os.getpid()}
    others = set(ordered_map(where_with_another, [tmp_path] * 4, 2, tuple, (("a", 2),)))
    assert len(others) == 2
    assert os.getpid() not in {pid for pid, *_ in others}
    assert {context for *_, context in others} == {("a", 2)}
    # Else each would start a thread for every core.
    assert {threads for _, threads, _ in others} == {1}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_process_has_a_context_of_its_own(workers):
    assert list(ordered_map(pair_of, range(5), workers, Pair, ("b", 3))) == [("b", 3)] * 5


@pytest.mark.parametrize(("workers", "closed"), [(1, True), (2, False)])
def test_the_context_of_this_process_is_closed_at_the_end(workers, closed):
    seen = []

    class Closing:
        def close(self):
            seen.append(True)

    with WorkerPool(workers, Closing if workers == 1 else tuple) as pool:
        assert list(pool.ordered_map(square, range(3))) == [0, 1, 4]
        assert list(pool.ordered_map(square, range(2))) == [0, 1]
        assert not seen
    assert bool(seen) == closed


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_making_a_context_is_the_caller_s(workers, capfd):
    with pytest.raises(FaceAlignError, match="no such weights"):
        list(ordered_map(fail_at_five, range(20), workers, refuse))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_an_item_comes_in_its_turn(workers):
    results = ordered_map(fail_at_five, range(20), workers, nothing)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="five"):
        next(results)
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_an_error_with_a_remedy():
    with pytest.raises(FaceAlignError, match=r"killed.*--workers"):
        list(ordered_map(die_at_five, range(1000), 2, nothing))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_pulled_only_a_little_ahead(workers):
    """Of items without end, and never more than are wanted soon."""
    pulled = 0

    def items():
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled + 10

    results = ordered_map(fail_at_five, items(), workers, nothing)
    ahead = 0 if workers == 1 else ITEMS_A_WORKER * workers - 1
    for taken in range(1, 60):
        assert next(results) == taken + 10
        assert pulled == taken + ahead
    results.close()
    assert pulled == 59 + ahead
    assert multiprocessing.active_children() == []


def test_an_error_of_the_items_themselves_is_the_caller_s():
    def items():
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        list(ordered_map(square, items(), 2, nothing))


def test_cores_are_those_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    try:
        os.sched_setaffinity(0, {one})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def program():
    """A tool that maps over numbers without end and prints the results; in a process group of its own."""
    body = (
        "import itertools\n"
        "from facealign.concurrency.pools import ordered_map\n"
        "from tests.parallel_tasks import nothing, where\n"
        "from facealign.console import run\n"
        "def main():\n"
        "    print('started', flush=True)\n"
        "    for pid, *_ in ordered_map(where, itertools.count(), 2, nothing): print(pid, flush=True)\n"
        "if __name__ == '__main__': run(main)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", body],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def members(session):
    """The processes of a session that still run: a tool, its workers and what Python starts beside them."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, leader = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if int(leader) == session and state != "Z":
                found.add(int(entry.name))
    return found


def ends(session, seconds=20):
    end = time.monotonic() + seconds
    while members(session):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("moment", "to_all"), [(0, True), (0.3, True), ("working", True), ("working", False)]
)
def test_ctrl_c_is_one_word_at_any_moment_and_leaves_no_process(moment, to_all):
    """A terminal sends it to all processes of the group, a supervisor to the parent alone."""
    tool = program()
    try:
        assert tool.stdout.readline() == "started\n"
        if moment == "working":
            pids = {int(tool.stdout.readline()) for _ in range(20)}
            assert {tool.pid, *pids} <= members(tool.pid)
        else:
            time.sleep(moment)
        assert tool.pid in members(tool.pid)
        os.killpg(tool.pid, signal.SIGINT) if to_all else tool.send_signal(signal.SIGINT)
        _, messages = tool.communicate(timeout=30)
        assert (tool.returncode, messages) == (130, "interrupted\n")
        assert ends(tool.pid)
    finally:
        end(tool)


@pytest.mark.parametrize("tracker", ["not started yet", "killed"])
@pytest.mark.parametrize("kind", ["pool", "standing"])
def test_workers_block_signals_whenever_python_starts_its_resource_tracker(kind, tracker):
    """It unblocks them in the thread that starts it, at the first spawned process or when it has died."""
    code = f"""
import os, signal, time
from multiprocessing import resource_tracker
from facealign.concurrency.processes import WorkerPool
from facealign.concurrency.standing_worker import StandingWorker
from tests.parallel_tasks import blocked, nothing

def kill_the_tracker():
    resource_tracker.ensure_running()
    os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)
    while resource_tracker._resource_tracker._check_alive():
        time.sleep(0.01)

if __name__ == "__main__":
    if {kind!r} == "standing":
        if {tracker!r} == "killed":
            kill_the_tracker()
        worker = StandingWorker(nothing)
        print(worker.call(blocked, None, 60.0))
        worker.close()
    else:
        with WorkerPool(2, nothing) as pool:
            if {tracker!r} == "killed":
                kill_the_tracker()
            print(*pool.ordered_map(blocked, [None]))
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    signals = {"pool": ["SIGINT"], "standing": ["SIGHUP", "SIGINT", "SIGTERM"]}
    assert done.stdout == f"{signals[kind]}\nset()\n"


def test_workers_do_not_outlive_a_killed_parent():
    tool = program()
    try:
        assert tool.stdout.readline() == "started\n"
        pids = set()
        while len(pids) < 2:  # the second is slow to start on a busy machine
            pids.add(int(tool.stdout.readline()))
        assert pids <= members(tool.pid)
        tool.kill()
        tool.wait()
        assert ends(tool.pid)
    finally:
        end(tool)


def end(tool):
    """So that a test that fails leaves nothing behind."""
    for pid in members(tool.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    tool.communicate()
