"""What a worker of a Dask cluster does: it checks that it is like the client, and computes shards."""

import dataclasses
import hashlib
import os
import pickle
import platform
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facealign.errors import FaceAlignError, StoreError

PACKAGE = Path(__file__).resolve().parents[1]
CONTEXTS = 4
"""Most contexts that a worker keeps, as for several commands that share a cluster."""


@dataclass(frozen=True)
class Shard:
    """A task: items, and how to compute their results.

    versions: of the client, as `versions` has them; name: of the context, the same for the same one; folder:
    the client's, for relative paths; inputs: paths that must be there, with `digest_of` each; made: the
    pickled function that makes the context, and its arguments; items: the pickled function and the items.
    """

    versions: dict[str, str]
    name: str
    folder: str
    inputs: tuple[tuple[str, str], ...]
    made: bytes
    items: bytes

    def of(self, items: bytes) -> "Shard":
        """The same with other items."""
        return dataclasses.replace(self, items=items)


@cache
def versions() -> dict[str, str]:
    """Of all that results and pickles depend on: Python, the libraries, and the code of this package."""
    code = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        code.update(f"{path.relative_to(PACKAGE)}\0".encode())
        code.update(path.read_bytes())
    return {
        "facealign of checksum": code.hexdigest()[:8],
        "OpenCV": cv2.__version__,
        "NumPy": np.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def digest_of(path: str | Path) -> str:
    """Checksum of a file's contents; of a folder, or of nothing, "".

    >>> digest_of("/")
    ''
    """
    if not os.path.isfile(path):
        return ""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_contexts: OrderedDict[str, Any] = OrderedDict()
_busy = threading.Lock()


def compute(shard: Shard) -> tuple[list[Any], FaceAlignError | None]:
    """The results of a shard, up to the FaceAlignError that an item raised, if one did.

    Raises FaceAlignError when this worker cannot compute it as the client would.
    """
    where = _this_worker()
    for name, theirs in shard.versions.items():
        ours = versions()[name]
        if ours != theirs:
            raise FaceAlignError(f"{where}: has {name} {ours}, the client {theirs}; install the same there")
    cv2.setNumThreads(1)
    with _alone(), chdir(shard.folder) if os.path.isdir(shard.folder) else nullcontext():
        results: list[Any] = []
        try:
            context = _context_of(shard, where)
            function, items = pickle.loads(shard.items)
            for item in items:
                results.append(function(context, item))
        except StoreError as error:
            return results, StoreError(f"{where}: {error}")
        except FaceAlignError as error:
            return results, error
        except (ImportError, AttributeError) as error:  # which else mean that there is no such code here
            raise RuntimeError(f"in a worker: {error!r}") from error
    return results, None


@contextmanager
def _alone() -> Iterator[None]:
    """One shard at a time: contexts and the working folder are the process's."""
    with _busy:
        yield


def _this_worker() -> str:
    """The address of this worker. Raises FaceAlignError when it has several threads."""
    from distributed import get_worker

    worker = get_worker()
    threads = worker.state.nthreads
    if threads > 1:
        raise FaceAlignError(
            f"{worker.address}: a worker with {threads} threads, and OpenCV's networks are not for several; "
            f"start it with --nthreads 1 --nworkers {threads}"
        )
    return str(worker.address)


def _context_of(shard: Shard, where: str) -> Any:
    """The context, made when the first shard needs it."""
    if shard.name not in _contexts:
        for path, digest in shard.inputs:
            if not os.path.exists(path):
                raise FaceAlignError(
                    f"{where}: has no {path}; share its folder with the workers, or put photos where all "
                    "reach them, such as s3://"
                )
            if digest_of(path) != digest:
                raise FaceAlignError(
                    f"{where}: its {path} has other contents than the client's; copy it there"
                )
        make_context, arguments = pickle.loads(shard.made)
        _contexts[shard.name] = make_context(*arguments)
        while len(_contexts) > CONTEXTS:
            _, oldest = _contexts.popitem(last=False)
            close = getattr(oldest, "close", None)
            if close is not None:
                close()
    _contexts.move_to_end(shard.name)
    return _contexts[shard.name]
