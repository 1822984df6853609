"""Several steps at once, in threads: while one item is at a step, the next is at the one before.

It is worth it for what OpenCV does, which other threads do not wait for.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
ThreadedStep = tuple[Callable[[Any], Any], int]
"""What is done with an item, and by how many threads; one, if it must not be done twice at a time."""
ITEMS_UNDER_WAY = 8
"""Items under way or waiting to be taken."""


def overlapped(
    items: Iterable[Item], *steps: ThreadedStep, ahead: int = ITEMS_UNDER_WAY
) -> Generator[tuple[Item, Future[Any]], None, None]:
    """Each item and what becomes of it, in their order: the last step's value, or the error of any step.

    A step is given the value of the one before, the first one the item. No more than `ahead` items are begun
    before they are taken. Closing the iterator drops what is not begun and waits for what is.
    """
    pools = [ThreadPoolExecutor(threads, thread_name_prefix="overlapped") for _, threads in steps]
    window: deque[tuple[Item, Future[Any]]] = deque()

    def begin(item: Item) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(item)
        for pool, (function, _) in zip(pools, steps, strict=True):
            future = pool.submit(_after, function, future)
        return future

    try:
        for item in items:
            window.append((item, begin(item)))
            if len(window) >= ahead:
                yield window.popleft()
        while window:
            yield window.popleft()
    finally:
        for pool in pools:  # all at once: a later step may be waiting for an earlier one
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown(wait=True)


def _after(function: Callable[[Any], Any], before: Future[Any]) -> Any:
    return function(before.result())
