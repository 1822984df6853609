"""Opening LMDB environments for writing or reading; their errors name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from facealign.concurrency.apart import CrashError, apart
from facealign.errors import FaceAlignError


@contextmanager
def open_new_lmdb(path: Path, room: int) -> Iterator[Any]:
    """Environment of a new LMDB of at most `room` bytes, to be written.

    Not safe against a crash before it is closed, so the caller renames the folder above it only afterwards.
    Raises FaceAlignError when the disk is full, also while the environment is in use.
    """
    lmdb = _lmdb()
    try:
        # Without a lock, of which no other process could know: its file would differ from run to run.
        with lmdb.open(
            str(path), map_size=room, sync=False, metasync=False, readahead=False, lock=False
        ) as environment:
            yield environment
            environment.sync(True)
    except lmdb.Error as error:
        raise FaceAlignError(f"{path.parent}: cannot be written ({error}); is the disk full?") from error


@contextmanager
def open_lmdb(path: Path, made_by: str = "make lmdb DATA=ROOT", readahead: bool = False) -> Iterator[Any]:
    """Environment of an LMDB to be read; made_by: the command that the error for a missing one names.

    All its pages are visited in another process before: on a damaged one LMDB ends the process.
    Raises FaceAlignError when it is missing or damaged, also while the environment is in use.
    """
    file = path / "data.mdb"
    if not file.is_file():
        raise FaceAlignError(f"{path}: no LMDB; make it with `{made_by}`")
    state = file.stat()
    _visit_once(path.absolute(), path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
    with _opened(path, readahead) as environment:
        yield environment


@contextmanager
def _opened(path: Path, readahead: bool) -> Iterator[Any]:
    lmdb = _lmdb()
    try:
        with lmdb.open(str(path), readonly=True, lock=False, readahead=readahead) as environment:
            last, page = environment.info()["last_pgno"], environment.stat()["psize"]
            # LMDB maps the file into memory: reading a page beyond its end would kill the process.
            if (path / "data.mdb").stat().st_size < (last + 1) * page:
                raise FaceAlignError(f"{path}: its data.mdb is cut short; make it again")
            yield environment
    except lmdb.Error as error:
        raise FaceAlignError(f"{path}: cannot be read ({error}); make it again") from error


@lru_cache
def _visit_once(absolute: Path, path: Path, state: tuple[int, ...]) -> None:
    """Visit an LMDB in another process, once as long as its file's `state` is the same."""
    _lmdb()
    try:
        apart(_visit, path)
    except CrashError as error:
        raise FaceAlignError(f"{path}: its data.mdb is damaged ({error}); make it again") from error


def _visit(path: Path) -> None:
    """Find every record of an LMDB in order and by its key, and touch both ends of its value.

    Raises FaceAlignError when one is not found.
    """
    with _opened(path, readahead=True) as environment, environment.begin(buffers=True) as transaction:
        expected, count, before = environment.stat()["entries"], 0, b""
        for view, value in transaction.cursor():
            key, found = bytes(view), transaction.get(bytes(view))
            if (count and key <= before) or found is None or len(found) != len(value):
                raise FaceAlignError(f"{path}: its data.mdb is damaged (key {key!r}); make it again")
            bytes(value[:1]), bytes(value[-1:])  # beyond the file's end there is no memory behind them
            count, before = count + 1, key
        if count != expected:
            raise FaceAlignError(
                f"{path}: its data.mdb is damaged ({count} records of {expected}); make it again"
            )


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise FaceAlignError("lmdb is not installed; pip install 'facealign[train]'") from error
    return lmdb
