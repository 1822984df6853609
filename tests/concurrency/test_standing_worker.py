"""StandingWorker with real processes: what dies or hangs is replaced, and signals do not reach it."""

import os
import signal
import subprocess
import sys
import time

import cv2
import pytest

from facealign.concurrency.apart import CrashError
from facealign.concurrency.standing_worker import StandingWorker
from facealign.errors import FaceAlignError

LONG = 60.0


def context(start):
    if start < 0:
        raise FaceAlignError(f"{start}: expected 0 or more")
    return [start]


def add(context, item):
    context[0] += item
    return context[0]


def process_id(context, item):
    return os.getpid()


def wrong(context, item):
    raise item


def end(context, item):
    os.kill(os.getpid(), item)
    return "still there"


def sleep(context, item):
    time.sleep(item)


@pytest.fixture(scope="module")
def worker():
    made = StandingWorker(context, (10,))
    yield made
    made.close()


def test_calls_are_answered_by_one_other_process_that_keeps_its_context(worker):
    before = worker.call(add, 0, LONG)
    assert [worker.call(add, item, LONG) for item in (1, 2)] == [before + 1, before + 3]
    assert worker.call(process_id, None, LONG) == worker.process_id != os.getpid()


def test_errors_come_back_and_the_process_stays(worker):
    before = worker.process_id
    with pytest.raises(FaceAlignError, match=r"^a bad face$"):
        worker.call(wrong, FaceAlignError("a bad face"), LONG)
    with pytest.raises(RuntimeError, match=r"in wrong\n.*\n+.*KeyError: 'nose'"):
        worker.call(wrong, KeyError("nose"), LONG)
    assert worker.process_id == before


def test_one_that_dies_is_named_and_replaced(worker):
    with pytest.raises(CrashError, match="the process ended: SIGKILL"):
        worker.call(end, signal.SIGKILL, LONG)
    assert worker.process_id is None
    assert worker.call(add, 1, LONG) == 11  # with a new context


def test_one_that_takes_too_long_is_ended_and_replaced(worker):
    before = worker.process_id
    with pytest.raises(CrashError, match=r"took longer than 0\.2 s"):
        worker.call(sleep, 3600, 0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    assert worker.call(add, 1, LONG) == 11


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_program_do_not_reach_it(worker, number):
    assert worker.call(end, number, LONG) == "still there"


def test_a_context_that_cannot_be_made_is_an_error_at_the_start():
    with pytest.raises(FaceAlignError, match=r"^-1: expected 0 or more$"):
        StandingWorker(context, (-1,))


def test_opencv_has_one_thread_there(worker):
    assert worker.call(threads, None, LONG) == 1


def threads(context, item):
    return cv2.getNumThreads()


def test_it_ends_when_its_parent_is_killed():
    code = (
        "import os, signal\n"
        "from facealign.concurrency.standing_worker import StandingWorker\n"
        "from tests.concurrency.test_standing_worker import context\n"
        "if __name__ == '__main__':\n"
        "    print(StandingWorker(context, (0,)).process_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # Its standard output is the worker's too: `run` returns when both have ended.
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=LONG)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0
