"""Output files that appear under their final name only when complete."""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.unfinished import complete, remove, unfinished

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a write that the system reports without the file's name."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Of Linux's renameat2."""
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP, errno.EPERM}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary name for `path`, for the caller to create, file or directory; renamed to `path` on success.

    On any exception, including an interruption, the temporary is removed and `path` is left as it was. After
    a crash `path` is the old or the new one, and what is left beside it is removed by the next process that
    writes there. An error that names the temporary, or no file because the disk is full, is changed to name
    `path`.
    """
    with replacing_all([path]) as (partial,):
        yield partial


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The same for several paths in one directory that belong together: all are replaced, or none.

    After a crash between their renames, the next process that reads or writes there does the rest. Raises
    ValueError when they are in several directories.
    """
    parent = paths[0].parent
    if any(path.parent != parent for path in paths):
        raise ValueError(f"{', '.join(map(str, paths))}: not in one directory")
    parent.mkdir(parents=True, exist_ok=True)
    folder = None
    try:
        with unfinished(parent, paths[0].name) as folder:
            (folder / "new").mkdir()
            temporary = [folder / "new" / path.name for path in paths]
            yield temporary
            if len(paths) == 1:
                _replace(temporary[0], paths[0])
            else:
                complete(folder)
    except (OSError, FaceAlignError) as error:
        _name_final(error, folder, paths)
        raise


def write_together(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write files that belong together: path -> function that writes such a file to the path it is given.

    Those in one directory are replaced together, see `replacing_all`.
    """
    for parent in {path.parent: None for path in writers}:
        paths = [path for path in writers if path.parent == parent]
        with replacing_all(paths) as partials:
            for path, partial in zip(paths, partials, strict=True):
                writers[path](partial)


def discard(directory: Path) -> None:
    """Remove a directory in one step: after a crash meanwhile it is whole, or gone."""
    with unfinished(directory.parent, directory.name) as folder:
        os.replace(directory, folder / "former")


def _replace(new: Path, path: Path) -> None:
    """Replace `path` by `new`. os.replace alone requires a directory to be empty."""
    if not (new.is_dir() and path.is_dir()):
        os.replace(new, path)
    elif _exchanged(new, path):
        remove(new)  # now the old one
    else:
        complete(new.parent.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _name_final(error: OSError | FaceAlignError, folder: Path | None, paths: Sequence[Path]) -> None:
    """Change an error that names a temporary, or no file because the disk is full, to name the final path."""
    names = {} if folder is None else {str(folder / "new" / path.name): str(path) for path in paths}
    if isinstance(error, FaceAlignError):
        text = str(error)
        for temporary, final in names.items():
            text = text.replace(temporary, final)
        error.args = (text,)
        return
    named = "" if error.filename is None else os.fsdecode(error.filename)
    for temporary, final in names.items():
        if named == temporary or named.startswith(f"{temporary}/"):
            error.filename, error.filename2 = final + named.removeprefix(temporary), None
            return
    unnamed = error.filename is None and error.errno in _CANNOT_WRITE
    if unnamed or Path(named).name.endswith((".partial", ".complete")):
        error.filename, error.filename2 = str(paths[0]), None
