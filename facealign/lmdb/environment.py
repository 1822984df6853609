"""LMDB environments, opened for writing or reading; their errors name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError


@contextmanager
def open_new_lmdb(path: Path, room: int) -> Iterator[Any]:
    """The environment of a new LMDB of at most `room` bytes, to be written.

    Not safe against a crash before it is closed: the folder it is in is to get its name only then. Raises
    FaceAlignError when the disk is full, also while it is used.
    """
    lmdb = _lmdb()
    try:
        with lmdb.open(str(path), map_size=room, sync=False, metasync=False, readahead=False) as environment:
            yield environment
            environment.sync(True)
    except lmdb.Error as error:
        raise FaceAlignError(f"{path.parent}: cannot be written ({error}); is the disk full?") from error


@contextmanager
def open_lmdb(path: Path, made_by: str = "make lmdb DATA=ROOT", readahead: bool = False) -> Iterator[Any]:
    """The environment of an LMDB to be read; made_by: the command to tell when there is none.

    Raises FaceAlignError when it is missing or damaged, also while it is used.
    """
    lmdb = _lmdb()
    if not (path / "data.mdb").is_file():
        raise FaceAlignError(f"{path}: no LMDB; make it with `{made_by}`")
    try:
        with lmdb.open(str(path), readonly=True, lock=False, readahead=readahead) as environment:
            last, page = environment.info()["last_pgno"], environment.stat()["psize"]
            # Who reads a page beyond the file's end is killed by the system: LMDB maps the file into memory.
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
