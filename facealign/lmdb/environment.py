"""Opening LMDB environments for writing or reading; their errors name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

    Raises FaceAlignError when it is missing or damaged, also while the environment is in use.
    """
    lmdb = _lmdb()
    if not (path / "data.mdb").is_file():
        raise FaceAlignError(f"{path}: no LMDB; make it with `{made_by}`")
    try:
        with lmdb.open(str(path), readonly=True, lock=False, readahead=readahead) as environment:
            last, page = environment.info()["last_pgno"], environment.stat()["psize"]
            # LMDB maps the file into memory: reading a page beyond its end would kill the process.
            if (path / "data.mdb").stat().st_size < (last + 1) * page:
                raise FaceAlignError(f"{path}: its data.mdb is cut short; make it again")
            yield environment
    except lmdb.Error as error:
        raise FaceAlignError(f"{path}: cannot be read ({error}); make it again") from error


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise FaceAlignError("lmdb is not installed; pip install 'facealign[train]'") from error
    return lmdb
