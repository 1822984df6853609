"""A lock that one process at a time can hold, for folders that must not have two writers."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from facealign.errors import FaceAlignError


@contextmanager
def exclusive(directory: Path, use: str) -> Iterator[None]:
    """Hold the lock of a folder, which need not exist: a hidden file beside it.

    The system frees it when the process ends, however it does.

    use: what holds it, for the error of others: "a training". Raises FaceAlignError when it is not free.
    """
    place = directory.absolute()
    path = place.parent / f".{place.name}.lock"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise FaceAlignError(f"{directory}: cannot be written ({error.strerror})") from error
    stream = _locked(path)
    if stream is None:
        process, _, held_for = (
            (path.read_text(encoding="utf-8") if path.is_file() else "").strip().partition(" ")
        )
        raise FaceAlignError(
            f"{directory}: {held_for or use} is at work in it (process {process or '?'}); wait for its end, "
            "or give another folder"
        )
    with stream:
        try:
            try:
                os.truncate(stream.fileno(), 0)
                os.write(stream.fileno(), f"{os.getpid()} {use}\n".encode())
            except OSError as error:
                raise FaceAlignError(f"{directory}: cannot be written ({error.strerror})") from error
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO | None:
    """The open file, locked; None when another process holds the lock."""
    while True:
        stream = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        stream.close()  # removed by its last holder meanwhile
