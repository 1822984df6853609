"""Running the commands of the tour, one of which is stopped on purpose."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from facealign.console import Ended
from facealign.errors import FaceAlignError

STOPPED = 130
"""Exit code of a program that Ctrl-C stopped."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets at its parent's end."""


def run_command(words: Sequence[str], stop: Callable[[], bool] | None = None) -> bool:
    """Run a command to its end; with `stop`, press Ctrl-C as soon as that is true. Whether that stopped it.

    An interruption of the tour is passed on to the command, whose end is waited for; Ctrl-Z suspends both.
    Raises FaceAlignError when the command cannot be run, or fails.
    """
    with obeying_ctrl_c():
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                process_group=0,  # so that a terminal's Ctrl-C does not reach it twice
                preexec_fn=ending_with_this_process(),
            )
        except OSError as error:
            raise FaceAlignError(
                f"{words[0]}: cannot be run ({error.strerror}); `make tour` sets it up"
            ) from error
    pressed = False
    with suspended_together(process):
        try:
            while process.poll() is None:
                if stop is not None and not pressed and stop():
                    process.send_signal(signal.SIGINT)
                    pressed = True
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        except KeyboardInterrupt as error:
            process.send_signal(signal.SIGTERM if isinstance(error, Ended) else signal.SIGINT)
            process.wait()
            raise
    if process.returncode not in ((0, STOPPED) if pressed else (0,)):
        raise FaceAlignError("the command above failed; mended, `make tour` goes on from there")
    return process.returncode == STOPPED


@contextmanager
def suspended_together(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Within, Ctrl-Z suspends this process and the process's group, and both go on with `fg` or `bg`."""

    def suspend(number: int, frame: FrameType | None) -> None:
        to_group(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)  # returns when it goes on
        to_group(signal.SIGCONT)

    def to_group(number: int) -> None:
        if process.poll() is None:  # its number may be another's after its end
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    before = signal.getsignal(signal.SIGTSTP)
    if before != signal.SIG_DFL:  # ignored, as by a shell without job control
        yield
        return
    signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def ending_with_this_process() -> Callable[[], None] | None:
    """What a new process calls so that it is killed when this one ends, be it by `kill -9`; None where the
    system is not Linux, which alone has this.

    Not in a group of this process, it would go on otherwise, and the next tour find it at work.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def bind() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # which ended before
            os.kill(os.getpid(), signal.SIGKILL)

    return bind


@contextmanager
def obeying_ctrl_c() -> Iterator[None]:
    """Programs that are started obey Ctrl-C, also where the tour ignores it, as it does behind `&`."""
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: None)  # a handler is not inherited, but SIG_IGN is
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
