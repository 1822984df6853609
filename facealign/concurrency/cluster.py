"""Map over the workers of a Dask scheduler, as `processes` does over processes of this machine.

Items travel in shards, so that the scheduler's work for each item vanishes. A shard is a task without side
effects: when its worker is killed, another one does it anew, and its results come once.
"""

import asyncio
import hashlib
import logging
import os
import pickle
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from facealign.concurrency.cluster_worker import Shard, compute, digest_of, versions
from facealign.errors import FaceAlignError

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
SHARD_ITEMS = 64
"""Most items in a shard."""
SHARDS_A_WORKER = 3
"""Shards per worker that are in progress or whose results wait to be taken."""
CONNECT_SECONDS = 10.0
"""Longest time for a scheduler to answer."""
LOST_SECONDS = 120.0
"""Longest time without any worker."""
COUNT_SECONDS = 2.0
"""Pause between two counts of the workers, which may come and go."""
AGAIN = "then run the same command again: it goes on where it was"


@dataclass(frozen=True)
class Scheduler:
    """A Dask scheduler whose workers compute.

    address: such as "tcp://10.0.0.1:8786"; inputs: files and folders of this machine that every worker must
    have under the same path, as in a shared folder; files with the same contents.
    """

    address: str
    inputs: tuple[Path, ...] = ()


class ClusterPool(Generic[Context]):
    """The workers of a scheduler, for several maps one after the other; see `processes.WorkerPool`.

    A worker has one thread, keeps its context for later shards, and must run the same version of facealign.
    """

    def __init__(
        self, scheduler: Scheduler, make_context: Callable[..., Context], arguments: tuple[Any, ...] = ()
    ) -> None:
        self.address = scheduler.address
        inputs = tuple((os.path.abspath(path), digest_of(path)) for path in scheduler.inputs)
        made = pickle.dumps((make_context, arguments))
        name = hashlib.sha256(made + repr((os.getcwd(), inputs)).encode()).hexdigest()
        self._shard = Shard(versions(), name, os.getcwd(), inputs, made, b"")
        self._client: Any = None
        self._workers, self._counted, self._seen = 0, 0.0, 0.0

    def __enter__(self) -> "ClusterPool[Context]":
        """Raises FaceAlignError when Dask is not installed, or the scheduler does not answer."""
        self._client = _connected(self.address)
        self._seen = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # the scheduler is gone
            self._client.close()  # which also cancels what is under way

    def ordered_map(
        self, function: Callable[[Context, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Results of function(context, item), in the order of the items; str(item) names it in errors.

        Raises what `make_context` or `function` raises, and FaceAlignError when the scheduler is lost, no
        worker is left, a worker has another version, or an item ends every worker that takes it.
        """
        window: deque[tuple[Any, list[Item]]] = deque()
        try:
            for shard in _shards(items, SHARDS_A_WORKER * max(1, self._count())):
                window.append((self._submitted(function, shard), shard))
                if len(window) >= SHARDS_A_WORKER * max(1, self._count()):
                    yield from self._results(function, *window.popleft())
            while window:
                yield from self._results(function, *window.popleft())
        finally:
            for future, _ in window:
                future.release()

    def _submitted(self, function: Callable[[Context, Item], Result], shard: Sequence[Item]) -> Any:
        task = self._shard.of(pickle.dumps((function, shard)))
        with self._errors():
            return self._client.submit(compute, task, key=f"facealign-{uuid.uuid4().hex}", pure=False)

    def _results(
        self, function: Callable[[Context, Item], Result], future: Any, shard: Sequence[Item]
    ) -> Iterator[Result]:
        """The results of a shard; when it ends its workers, of its items one by one, to find which does."""
        from distributed.scheduler import KilledWorker

        with self._errors():
            failure = self._failure(future)
        if isinstance(failure, KilledWorker):
            if len(shard) == 1:
                raise FaceAlignError(
                    f"{shard[0]}: {failure.allowed_failures + 1} workers ended, each while it had this: "
                    f"is it broken, or too large for their memory? Remove it, or give them more, {AGAIN}"
                )
            for item in shard:  # one at a time: of several, a worker's end would be blamed on all that it had
                yield from self._results(function, self._submitted(function, [item]), [item])
        elif isinstance(failure, ImportError | AttributeError):
            raise FaceAlignError(
                f"{self.address}: a worker cannot run this ({failure}); install the same facealign there"
            ) from failure
        elif failure is not None:
            raise failure
        else:
            with self._errors():
                results, error = future.result()
            yield from results
            if error is not None:
                raise error

    def _failure(self, future: Any) -> BaseException | None:
        """What a task raised, if anything, when it has ended.

        Raises FaceAlignError when there has been no worker for long.
        """
        while True:
            with suppress(TimeoutError):
                failure: BaseException | None = future.exception(timeout=COUNT_SECONDS)
                return failure
            if not self._count() and time.monotonic() - self._seen > LOST_SECONDS:
                raise FaceAlignError(
                    f"{self.address}: no worker for {LOST_SECONDS:.0f} s; start some (dask worker "
                    f"{self.address} --nthreads 1 --nworkers N), {AGAIN}"
                )

    def _count(self) -> int:
        """The number of workers, a moment ago."""
        if time.monotonic() - self._counted > COUNT_SECONDS or not self._workers:
            with self._errors():
                about = self._client.scheduler_info(n_workers=0)
                if "n_workers" not in about:  # the client has given up
                    raise ConnectionError("the connection is closed")
                self._workers = about["n_workers"]
            self._counted = time.monotonic()
            if self._workers:
                self._seen = self._counted
        return self._workers

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Failures of the cluster as one line."""
        from concurrent.futures import CancelledError

        try:
            yield
        except CancelledError as error:
            raise FaceAlignError(
                f"{self.address}: the scheduler was lost, or has cancelled the work; see that it and its "
                f"workers run, {AGAIN}"
            ) from error
        except OSError as error:
            raise FaceAlignError(
                f"{self.address}: the scheduler is lost ({error}); start it, {AGAIN}"
            ) from error


def _connected(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise FaceAlignError(f"{address}: needs Dask ({error}); pip install 'facealign[cluster]'") from error
    for name in ("distributed", *list(logging.root.manager.loggerDict)):
        if name.partition(".")[0] == "distributed":  # some have levels of their own
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # our errors say it
    try:
        # A client that fails to connect would try for long to say goodbye.
        asyncio.run(asyncio.wait_for(_greet(address), CONNECT_SECONDS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions of any package; those that matter are checked
            return Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="facealign")
    except (OSError, ValueError, TypeError, ImportError) as error:
        why = (str(error).splitlines() or [f"none within {CONNECT_SECONDS:.0f} s"])[0]
        raise FaceAlignError(
            f"{address}: no Dask scheduler answers ({why}); start one with `dask scheduler`, or give "
            "--scheduler its address, such as tcp://host:8786"
        ) from error


async def _greet(address: str) -> None:
    """Raises OSError, ValueError or TypeError when there is no scheduler at an address."""
    from distributed.comm.core import connect
    from distributed.security import Security

    comm = await connect(address, CONNECT_SECONDS, **Security().get_connection_args("client"))
    try:
        await comm.write({"op": "identity", "reply": True})
        answer = await comm.read()
        if not isinstance(answer, dict) or answer.get("type") != "Scheduler":
            raise ValueError("something else is there")
    finally:
        comm.abort()


def _shards(items: Iterable[Item], wanted: int) -> Iterator[list[Item]]:
    """The items in shards; of few, `wanted` shards."""
    size = SHARD_ITEMS
    if isinstance(items, Sequence):
        size = min(size, max(1, -(-len(items) // wanted)))
    coming = iter(items)
    while shard := list(islice(coming, size)):
        yield shard
