"""Where work is done: in this process, in processes of this machine, or by the workers of a cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar

from facealign.concurrency.cluster import ClusterPool, Scheduler
from facealign.concurrency.processes import WorkerPool
from facealign.concurrency.threads import overlapped

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")
Where = int | Scheduler
"""A number of worker processes of this machine (1: this process), or a Dask scheduler."""


def pool_of(
    where: Where, make_context: Callable[..., Context], arguments: tuple[Any, ...] = ()
) -> WorkerPool[Context] | ClusterPool[Context]:
    """The pool of workers, for a `with` statement; both kinds have the same `ordered_map`."""
    if isinstance(where, Scheduler):
        return ClusterPool(where, make_context, arguments)
    return WorkerPool(where, make_context, arguments)


def ordered_map(
    function: Callable[[Context, Item], Result],
    items: Iterable[Item],
    where: Where,
    make_context: Callable[..., Context],
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Results of function(context, item), in the order of the items, computed by a pool of workers.

    Each worker has its own context, make_context(*arguments), for what takes long to make, such as an open
    network. `function`, `make_context`, arguments, items and results must be picklable; a context need not
    be. Raises what `make_context` or `function` raises, and FaceAlignError when a worker is killed (of a
    cluster: when one item ends several).
    """
    with pool_of(where, make_context, arguments) as pool:
        yield from pool.ordered_map(function, items)


def read_map(
    function: Callable[[Item], Result], items: Iterable[Item], where: Where, threads: int = 1
) -> Iterator[Result]:
    """Results of function(item), in the order of the items, of a function that mostly waits for files.

    It is called by a scheduler's workers, or else in this process, by a number of threads.
    """
    if isinstance(where, Scheduler):
        yield from ordered_map(_called, items, where, itself, (function,))
    elif threads == 1:
        yield from map(function, items)
    else:
        with closing(overlapped(items, (function, threads), ahead=4 * threads)) as coming:
            for _, future in coming:
                yield future.result()


def itself(context: Context) -> Context:
    """The function that makes a context, where there is nothing to make of its argument.

    >>> itself(7)
    7
    """
    return context


def _called(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
