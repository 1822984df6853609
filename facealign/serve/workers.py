"""Worker processes, each with an aligner of its own, for a server that runs in one thread.

Processes, not threads: a photo that crashes a decoder ends one request and not the server, one that takes too
long can be stopped, and the server answers while they work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from facealign.concurrency.standing_worker import StandingWorker
from facealign.serve.limits import RefusalError

Item = TypeVar("Item")
Result = TypeVar("Result")


class UnwantedError(Exception):
    """Nobody waits for the result any more."""


class Workers:
    """`count` worker processes with a context each, make_context(*arguments); to be used in a `with`."""

    def __init__(self, count: int, make_context: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> None:
        self.count = count
        self._make_context, self._arguments = make_context, arguments
        self._workers: list[StandingWorker] = []
        self._idle: asyncio.Queue[StandingWorker] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")

    def __enter__(self) -> "Workers":
        """Raises what `make_context` raises."""
        arguments = (self._make_context, self._arguments)
        starting = [self._threads.submit(StandingWorker, *arguments) for _ in range(self.count)]
        try:
            wait(starting)
            self._workers = [future.result() for future in starting if future.exception() is None]
            for future in starting:
                future.result()
        except BaseException:
            self.__exit__()
            raise
        for worker in self._workers:
            self._idle.put_nowait(worker)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    @property
    def process_ids(self) -> list[int]:
        """Of the worker processes that run."""
        return [number for worker in self._workers if (number := worker.process_id) is not None]

    async def call(
        self,
        function: Callable[[Any, Item], Result],
        item: Item,
        seconds: float,
        wanted: Callable[[], Awaitable[bool]],
    ) -> Result:
        """The result of function(context, item), computed by the first worker that is idle.

        seconds: to wait for a worker, and then for the result; wanted: asked when a worker is idle. Raises
        what `function` raises, CrashError when the worker dies or takes longer, RefusalError when none is
        idle in time, and UnwantedError.
        """
        try:
            async with asyncio.timeout(seconds):
                worker = await self._idle.get()
        except TimeoutError as error:
            raise RefusalError(
                503,
                "server_busy",
                f"The request waited {seconds:g} s for its turn.",
                "Try again later, or with a smaller photo.",
            ) from error
        if not await wanted():
            self._idle.put_nowait(worker)
            raise UnwantedError
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, worker.call, function, item, seconds)
        # When it is done, and not when nobody waits any more: until then the worker is at work.
        running.add_done_callback(lambda _: self._idle.put_nowait(worker))
        return await asyncio.shield(running)
