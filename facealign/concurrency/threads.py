"""Pipeline of steps in threads: while one item is at a step, the next item is at the step before.

It saves time where the steps run in OpenCV, which releases Python's global lock.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
ThreadedStep = tuple[Callable[[Any], Any], int]
"""A function of an item, and the number of threads that run it; 1 if its calls must not overlap."""
ITEMS_UNDER_WAY = 8
"""Items in progress or whose results wait to be taken."""


def overlapped(
    items: Iterable[Item], *steps: ThreadedStep, ahead: int = ITEMS_UNDER_WAY
) -> Generator[tuple[Item, Future[Any]], None, None]:
    """Each item with the future of its result, in order: the last step's value, or the error of any step.

    A step is called with the value of the one before, the first step with the item. At most `ahead` items are
    started before they are taken. Closing the iterator drops what has not started and waits for the rest.
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
