"""Folders of outputs in the making, of which none outlives its process for long.

Each is named .NAME.PID-START-N.partial after what is made, and after the number and the start of the process
that makes it, which also holds its lock as long as it lives. Whoever next writes to the same place removes
those of processes that are gone. A folder is renamed to .complete when its contents are whole and need more
than one step to get to their places: those steps are then taken by whoever finds it.
"""

import errno
import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facealign.errors import FaceAlignError

_NAMED = re.compile(r"\..*\.(\d+)-(\d+)-\d+\.(partial|complete)", re.DOTALL)
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a write that the system reports without the file's name."""
_LONGEST = 40
"""Bytes of an output's name in that of its folder: file systems allow 255 in all."""
_numbers = itertools.count()
_made: set[str] = set()
_tidied: set[Path] = set()


@contextmanager
def unfinished(parent: Path, name: str) -> Iterator[Path]:
    """A new folder in the folder `parent` for making `name`; it is removed at the end.

    What dead processes left in `parent` is settled first, see `settle`.
    """
    settle(parent)
    short = os.fsencode(name)[:_LONGEST].decode(errors="ignore")
    process = f"{os.getpid()}-{_start(os.getpid())}"
    lock = None
    try:
        while lock is None:
            folder = parent / f".{short}.{process}-{next(_numbers)}.partial"
            lock = _create(folder)
        yield folder
    finally:
        try:
            remove(folder)
        except KeyboardInterrupt:  # in the middle of it
            remove(folder)
            raise
        finally:
            if lock is not None:
                os.close(lock)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder for temporary files, in the system's place for these."""
    place = temporary_place()
    folder = None
    try:
        with unfinished(place, "facealign") as folder:
            yield folder
    except OSError as error:
        unnamed = error.filename is None and error.errno in CANNOT_WRITE
        if unnamed or (folder is not None and str(error.filename).startswith(str(folder))):
            error.filename = str(place)
        raise


def temporary_place() -> Path:
    """As tempfile.gettempdir, which tries each place by a file that a crash could leave."""
    places = [os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    for place in [*filter(None, places), "/tmp", "/var/tmp", "/usr/tmp"]:
        if os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    return Path.cwd()


def complete(folder: Path) -> None:
    """Declare the contents of a folder of `unfinished` whole, and move all of `new` in it beside the folder.

    From the first step on, an interruption or even a crash only delays the others.
    """
    declared = folder.with_suffix(".complete")
    os.rename(folder, declared)
    try:
        _finish(declared)
    except BaseException:
        with suppress(OSError):
            _finish(declared)
        raise


def _finish(folder: Path) -> None:
    former = folder / "former"
    former.mkdir(exist_ok=True)
    # Without `new` all is in place, and its removal was interrupted.
    for new in sorted((folder / "new").iterdir()) if (folder / "new").is_dir() else []:
        final = folder.parent / new.name
        if new.is_dir() and final.is_dir():  # a folder is not replaced by a rename, unless it is empty
            remove(former / new.name)
            os.replace(final, former / new.name)
        os.replace(new, final)
    remove(folder)


def settle(parent: Path) -> None:
    """Remove what dead processes left unfinished in a folder, and put in place what they left complete.

    Done once by a process. Raises FaceAlignError when something complete cannot be put in place.
    """
    if parent.absolute() in _tidied:
        return
    _tidied.add(parent.absolute())
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if _NAMED.fullmatch(entry.name)]
    except OSError:  # not there yet, or not to be read
        return
    for folder in sorted(found):
        lock = _taken_over(folder)
        if lock is None:
            continue
        try:
            if folder.suffix == ".complete":
                _finish(folder)
            remove(folder)
        except OSError as error:
            raise FaceAlignError(
                f"{folder}: the files in it belong beside it, where an interrupted run could not put them "
                f"all ({error.strerror}); move them there, and remove it"
            ) from error
        finally:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _create(folder: Path) -> int | None:
    """Create a folder; a descriptor that holds its lock, or None when the name is taken.

    It also is when another container, where this process is not seen, was quicker and removed the folder.
    """
    _made.add(folder.name)
    try:
        folder.mkdir()
    except FileExistsError:
        return None
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if folder.is_dir():
        return lock
    os.close(lock)
    return None


def _taken_over(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder of this user; None when its process lives."""
    named = _NAMED.fullmatch(folder.name)
    if named is None or folder.name in _made:
        return None
    # In every container the number is the same, and by chance the start is too.
    if int(named[1]) != os.getpid() and named[2] == _start(int(named[1])):
        return None
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
    except BlockingIOError:  # its process lives in another container
        pass
    except OSError:  # a file system without locks
        return lock
    os.close(lock)
    return None


def _start(process: int) -> str | None:
    """When a process started, in ticks after the system's start; None when there is none of this number."""
    try:
        values = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *others = values.rpartition(")")[2].split()
    return None if state in "ZX" else others[18]
