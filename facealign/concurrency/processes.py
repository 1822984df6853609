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
from typing import Any, TypeVar

import cv2

from facealign.errors import FaceAlignError

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
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    setup: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """function(item) of each item, in their order, computed by `workers` processes (1: by this one).

    setup(*arguments) runs first in every process. `function`, `setup` and all that passes must be picklable.
    Raises what `setup` or `function` raises, and FaceAlignError when a worker is killed.
    """
    with WorkerPool(workers, setup, arguments) as crew:
        yield from crew.ordered_map(function, items)


class WorkerPool:
    """Worker processes for several maps one after the other, as it takes them long to start.

    workers, setup, arguments: as `ordered_map` has them. To be used in a `with`.
    """

    def __init__(
        self, workers: int, setup: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
    ) -> None:
        self.workers = workers
        self._setup, self._arguments = setup, arguments
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "WorkerPool":
        if self.workers > 1:
            # Not forked: OpenCV's and Caffe's threads would not survive it.
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=get_context("spawn"),
                initializer=_start,
                initargs=(self._setup, self._arguments),
            )
        elif self._setup is not None:
            self._setup(*self._arguments)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            # Left half-way, this ends with the interpreter, when Python 3.11.2 has closed the pool already.
            with suppress(OSError):
                self._pool.shutdown(wait=True, cancel_futures=True)

    def ordered_map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """function(item) of each item, in their order. Raises as the function `ordered_map` does."""
        if self._pool is None:
            yield from map(function, items)
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
    """Delay an interruption. Workers that are started meanwhile inherit this: it is the parent's business."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_failure: Exception | None = None
"""What `setup` raised in this worker. The pool would hide it; its first item raises it instead."""


def _start(setup: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    global _failure
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    try:
        if setup is not None:
            setup(*arguments)
    except Exception as error:
        _failure = error


def _end_with_parent() -> None:
    """Without this, the workers of a parent that is killed would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    if _failure is not None:
        raise _failure
    return function(item)
