"""Output files that appear under their final name only when complete."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a write that the system reports without the file's name."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary sibling of `path` for the caller to create, file or directory; renamed to `path` on success.

    On any exception, including an interruption, the temporary is removed and `path` is left as it was. An
    OSError that names the temporary, or no file because the disk is full, is changed to name `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    former = path.with_name(f".{path.stem}.{os.getpid()}.former{path.suffix}")
    _remove(temporary)  # left by a killed process of the same number, as is usual in a container
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
    """Replace the directory `path` by `new`. os.replace alone requires the old one to be empty."""
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
    """Remove a file, a link or a directory, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
