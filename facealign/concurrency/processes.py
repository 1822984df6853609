"""Map over worker processes that keeps the order and holds few results at a time."""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from types import FrameType
from typing import Any, Generic, TypeVar, cast

import cv2

from facealign.errors import FaceAlignError

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a program."""
QUIET = "ignore::UserWarning:multiprocessing.resource_tracker"
"""For Python's process that removes what interrupted ones left, of which it would warn."""
ITEMS_A_WORKER = 4
"""Items per worker that are in progress or whose results wait to be taken."""


def cores() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits OpenCV to one thread meanwhile, as in every worker process."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def signals_blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Processes that this thread starts meanwhile block these signals, for as long as they live."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        # Python starts its resource tracker before the first spawned process, or when it has died, and then
        # unblocks Ctrl-C and SIGTERM in this thread.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerPool(Generic[Context]):
    """Worker processes that are started once, for several maps one after the other.

    workers: number of processes; 1: this one; make_context, arguments: see `pools.ordered_map`. Use it in a
    `with` statement; at its end, if this process is the worker, its context is closed if it has a method
    `close`.
    """

    def __init__(
        self, workers: int, make_context: Callable[..., Context], arguments: tuple[Any, ...] = ()
    ) -> None:
        self.workers = workers
        self._make_context, self._arguments = make_context, arguments
        self._pool: ProcessPoolExecutor | None = None
        self._context: Context | None = None

    def __enter__(self) -> "WorkerPool[Context]":
        if self.workers > 1:
            if QUIET not in sys.warnoptions:
                sys.warnoptions.append(QUIET)
            # Not forked: the threads of OpenCV and Caffe do not survive a fork.
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=get_context("spawn"),
                initializer=_start,
                initargs=(self._make_context, self._arguments),
            )
        else:
            self._context = self._make_context(*self._arguments)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            # A map left half-way ends with the interpreter; Python 3.11.2 has closed the pool by then.
            with suppress(OSError):
                self._pool.shutdown(wait=True, cancel_futures=True)
        close = getattr(self._context, "close", None)
        if close is not None:
            close()

    def ordered_map(
        self, function: Callable[[Context, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Results of function(context, item), in the order of the items; see `pools.ordered_map`."""
        if self._pool is None:
            for item in items:
                yield function(cast(Context, self._context), item)
            return
        window: deque[Future[Result]] = deque()
        try:
            for item in items:
                with _interrupts_held():
                    window.append(self._pool.submit(_call, function, item))
                if len(window) >= ITEMS_A_WORKER * self.workers:
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        except BrokenProcessPool as error:
            raise FaceAlignError("a worker process was killed: out of memory? try fewer --workers") from error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delays Ctrl-C, SIGTERM and SIGHUP. Workers started meanwhile block Ctrl-C, the parent's business."""
    # A mask is a thread's own, and another thread may take the signal: Python then calls the handler in the
    # main thread all the same. So the handlers are delayed too.
    came: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
    for ending in handlers:
        signal.signal(ending, lambda number, frame: came.append((number, frame)))
    try:
        with signals_blocked([signal.SIGINT]):
            yield
    finally:
        for ending, kept in handlers.items():
            signal.signal(ending, kept)
        if came:
            handlers[came[0][0]](*came[0])


_context: Any = None
"""The context of this worker process."""
_failure: Exception | None = None
"""What `make_context` raised in this worker. The pool would hide it, so the first item raises it."""


def _start(make_context: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _context, _failure
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    try:
        _context = make_context(*arguments)
    except Exception as error:
        _failure = error


def _end_with_parent() -> None:
    """Ends this worker when its parent ends; it would wait forever for work of a killed parent."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(function: Callable[[Any, Item], Result], item: Item) -> Result:
    if _failure is not None:
        raise _failure
    return function(_context, item)
