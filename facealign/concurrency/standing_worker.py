"""A process that stays and answers one call at a time, and is started anew when it dies or hangs."""

import atexit
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import cv2

from facealign.concurrency.apart import CrashError
from facealign.concurrency.processes import ENDING, signals_blocked
from facealign.errors import FaceAlignError

Item = TypeVar("Item")
Result = TypeVar("Result")
START_SECONDS = 120.0
"""Longest time for a worker to make its context."""


class StandingWorker:
    """A worker process with its own context, make_context(*arguments).

    make_context, arguments, the functions called, items and results must be picklable; the context need not
    be. Ctrl-C and other signals that end a program are its parent's business: they do not reach it. It ends
    with `close`, or when its parent ends. Use it from one thread at a time.
    """

    def __init__(self, make_context: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> None:
        """Raises as `call` does, of `make_context`."""
        self._make_context, self._arguments = make_context, arguments
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._start()

    @property
    def process_id(self) -> int | None:
        """Of the process, or None when it has died and waits to be started anew."""
        return None if self._process is None else self._process.pid

    def call(self, function: Callable[[Any, Item], Result], item: Item, seconds: float) -> Result:
        """The result of function(context, item), computed in the process.

        Raises the FaceAlignError that `function` raises, RuntimeError for what else it raises, and CrashError
        when the process dies, or takes longer and is ended. The next call starts a new one.
        """
        if self._process is None:
            self._start()
        answer: Result = self._ask((function, item), seconds)
        return answer

    def close(self) -> None:
        """End the process, whatever it does; a call under way raises CrashError."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if process is not None and connection is not None:
            atexit.unregister(process.kill)
            process.kill()  # first: a thread that waits for its answer then wakes up
            process.join()
            connection.close()

    def _start(self) -> None:
        context = get_context("spawn")  # not forked: the threads of OpenCV and Caffe do not survive a fork
        self._connection, its_end = context.Pipe()
        self._process = context.Process(
            target=_answer_calls, args=(its_end, self._make_context, self._arguments), daemon=True
        )
        with signals_blocked(ENDING):
            self._process.start()
        atexit.register(self._process.kill)  # Python would wait for it: its own signal for this is blocked
        its_end.close()
        try:
            self._ask(None, START_SECONDS)
        except BaseException:
            self.close()
            raise

    def _ask(self, call: Any, seconds: float) -> Any:
        """The process's answer to a call, or to its start (None)."""
        process, connection = self._process, self._connection  # `close` may be called meanwhile
        assert process is not None
        assert connection is not None
        try:
            if call is not None:
                connection.send(call)
            if not connection.poll(seconds):
                self.close()
                raise CrashError(f"took longer than {seconds:g} s")
            succeeded, result = connection.recv()
        except (EOFError, OSError) as error:
            process.join(1.0)
            code = process.exitcode
            self.close()
            raise CrashError(_reason(code)) from error
        if not succeeded:
            raise result
        return result


def _reason(code: int | None) -> str:
    if code is None:
        return "the process was ended"
    return f"the process ended: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _answer_calls(
    connection: Connection, make_context: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """The worker process: its context first, then calls, until the parent closes the connection or ends."""
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):  # the parent has ended
        succeeded, context = _outcome(make_context, *arguments)
        connection.send((succeeded, None if succeeded else context))
        while succeeded:
            function, item = connection.recv()
            connection.send(_outcome(function, context, item))


def _outcome(function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    try:
        return True, function(*arguments)
    except FaceAlignError as error:
        return False, error
    except Exception as error:
        # As text: its traceback does not travel, and its class may not be picklable.
        return False, RuntimeError("in a worker process: " + "".join(traceback.format_exception(error)))
