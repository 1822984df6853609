"""A function in a process of its own: what it returns, raises and prints, and how it may end."""

import os
import signal
import sys
import time

import pytest

from facealign.concurrency.apart import CrashError, apart
from facealign.errors import FaceAlignError


def test_the_result_comes_from_another_process():
    assert apart(os.getpid) != os.getpid()
    assert apart(divmod, 7, 2) == (3, 1)


def test_what_it_raises_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        apart(divmod, 1, 0)
    with pytest.raises(FaceAlignError, match="named"):
        apart(raise_signalless)


def raise_signalless():
    raise FaceAlignError("named")


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_signal_is_an_error_that_names_it(number):
    with pytest.raises(CrashError, match=number.name):
        apart(signal.raise_signal, number)


def say_and_exit():
    print("on standard output")
    sys.stdout.flush()
    os.write(2, b"first\nlast words\n")
    os._exit(7)


def test_the_last_line_is_in_the_error_and_nothing_is_printed(capfd):
    with pytest.raises(CrashError, match=r"^exit code 7: last words$"):
        apart(say_and_exit)
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_does_not_disturb_the_answer(capfd):
    assert apart(print, "a line") is None
    assert capfd.readouterr() == ("", "")


def test_memory_may_be_limited():
    assert len(apart(bytes, 1 << 20, memory=1 << 30)) == 1 << 20
    with pytest.raises(MemoryError):
        apart(bytes, 4 << 30, memory=1 << 30)


def test_time_may_be_limited():
    with pytest.raises(CrashError, match=r"^took longer than 0\.5 s$"):
        apart(time.sleep, 600, seconds=0.5)


def test_without_an_interpreter_to_start_it_runs_here(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    assert apart(os.getpid) == os.getpid()
