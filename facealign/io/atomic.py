"""Outputs that appear under their final name only when they are whole."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a write, which the system reports without the file's name."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of `path` (file or directory, not yet made); rename it to `path` on success.

    On any exception, interruption included, the temporary is removed and `path` is left as it was. An OSError
    that names the temporary, or names nothing because the disk is full, names `path` instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    former = path.with_name(f".{path.stem}.{os.getpid()}.former{path.suffix}")
    _remove(temporary)  # of a killed process that had this number: always so in a container
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            _replace_directory(path, temporary, former)
        else:
            os.replace(temporary, path)
    except OSError as error:
        unnamed = error.filename is None and error.errno in _CANNOT_WRITE
        if unnamed or str(error.filename) == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        _remove(temporary)


def _replace_directory(path: Path, new: Path, former: Path) -> None:
    """Put the directory `new` where `path` is. os.replace alone cannot: it wants the old one empty."""
    _remove(former)
    try:
        os.replace(path, former)
        os.replace(new, path)
    except BaseException:
        if former.is_dir() and not path.exists():
            os.replace(former, path)
        raise
    _remove(former)


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
