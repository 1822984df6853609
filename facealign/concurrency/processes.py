"""A map over worker processes that keeps the order and holds only a few results at a time."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from types import FrameType
from typing import Any, Generic, TypeVar, cast

import cv2

from facealign.errors import FaceAlignError

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
ITEMS_A_WORKER = 4
"""Items a worker that are under way or waiting to be taken."""


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV computes in one thread meanwhile, as it always does in a worker process."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def ordered_map(
    function: Callable[[Context, Item], Result],
    items: Iterable[Item],
    workers: int,
    make_context: Callable[..., Context],
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """function(context, item) of each item, in their order, computed by `workers` processes (1: by this one).

    Each process has a context of its own, make_context(*arguments): what takes long to make, such as an open
    network. `function`, `make_context`, arguments, items and results must be picklable; a context need not.
    Raises what `make_context` or `function` raises, and FaceAlignError when a worker is killed.
    """
    with WorkerPool(workers, make_context, arguments) as pool:
        yield from pool.ordered_map(function, items)


class WorkerPool(Generic[Context]):
    """Worker processes for several maps one after the other, as it takes them long to start.

    workers, make_context, arguments: as `ordered_map` has them. To be used in a `with`, at whose end the
    context of this process, if it is the worker, is closed if it can be.
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
            # Not forked: OpenCV's and Caffe's threads would not survive it.
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
            # Left half-way, this ends with the interpreter, when Python 3.11.2 has closed the pool already.
            with suppress(OSError):
                self._pool.shutdown(wait=True, cancel_futures=True)
        close = getattr(self._context, "close", None)
        if close is not None:
            close()

    def ordered_map(
        self, function: Callable[[Context, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """function(context, item) of each item, in their order. Raises as the function `ordered_map` does."""
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
    """Delay an interruption. Workers that are started meanwhile block it: it is the parent's business."""
    # A mask is a thread's own, and another thread may take the signal: Python then calls the handler in the
    # main thread all the same. So that one is delayed too.
    came: list[tuple[int, FrameType | None]] = []
    handler = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread() and callable(handler)
    if in_main:
        signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if in_main:
            signal.signal(signal.SIGINT, handler)
            if came and callable(handler):
                handler(*came[0])


_context: Any = None
"""Of this worker process."""
_failure: Exception | None = None
"""What `make_context` raised in this worker. The pool would hide it; its first item raises it instead."""


def _start(make_context: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _context, _failure
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    try:
        _context = make_context(*arguments)
    except Exception as error:
        _failure = error


def _end_with_parent() -> None:
    """Without this, the workers of a parent that is killed would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(function: Callable[[Any, Item], Result], item: Item) -> Result:
    if _failure is not None:
        raise _failure
    return function(_context, item)
