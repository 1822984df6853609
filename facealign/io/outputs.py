"""Outputs are tried before the work, so that none is in vain."""

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.addresses import is_remote
from facealign.io.images import SUFFIXES
from facealign.io.unfinished import unfinished

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+")
"""Of an address, such as s3://bucket/photos."""


def check_outputs(
    files: Sequence[Path] = (), folders: Sequence[Path] = (), inputs: Sequence[Path] = ()
) -> None:
    """Raise FaceAlignError, which names the output, when one cannot be written; leaves no trace.

    files, folders: what the program will write or replace, and the folders that it will write into or
    replace; their parents need not exist. What earlier processes left unfinished there is settled.
    inputs: files and folders that it reads, of which no output file may take the place: of a folder not that
    of an annotated image, a .pts file or an LMDB, at any depth. Those in a store cannot be replaced.
    """
    for path in (*files, *folders):
        _check_local(path)
    given: set[str] = set()
    for path in files:
        kind = _kind(path)
        name = os.path.join(os.path.realpath(path.parent), path.name)
        if name in given:
            raise FaceAlignError(f"{path}: given for two outputs; give each a name of its own")
        given.add(name)
        if kind is not None and stat.S_ISDIR(kind):
            raise FaceAlignError(f"{path}: a folder; expected the name of a file to write")
        if kind is not None and not stat.S_ISREG(kind):
            raise FaceAlignError(f"{path}: a device or pipe; expected the name of a file to write")
    for path in folders:
        kind = _kind(path)
        if kind is not None and not stat.S_ISDIR(kind):
            raise FaceAlignError(f"{path}: not a folder; expected one to write into")
    _check_inputs([path for path in files if _kind(path) is not None], inputs)
    tried: set[Path] = set()
    for path in (*folders, *files):
        _check_names(path)
        # A folder may be written into, or be replaced, which takes place beside it.
        for place in {path.parent, path} if path in folders else {path.parent}:
            existing = _existing(place)
            if existing not in tried:
                tried.add(existing)
                _try(existing, path)


def check_own(folder: Path, marks: Sequence[str], option: str) -> None:
    """Raise FaceAlignError when a folder is of something else, whose files might be replaced.

    It is when it holds anything but hidden files, and none of `marks`, names of which a program that writes
    there makes one first. option: by which another folder is given.
    """
    if any((folder / mark).exists() for mark in marks) or not folder.is_dir():
        return
    others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if others:
        raise FaceAlignError(
            f"{folder}: holds {others[0]} and no {' or '.join(marks)}: a folder of something else; give "
            f"another {option}"
        )


def _check_inputs(files: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raise FaceAlignError when one of the files, all of which exist, is an input."""
    local = [path for path in inputs if files and not is_remote(path)]
    states = [path.stat() for path in local if path.exists()]
    read = {(state.st_dev, state.st_ino) for state in states if stat.S_ISREG(state.st_mode)}
    roots = {place for path in local if path.is_dir() for place in (path.resolve(), _plain(path))}
    for path in files:
        state = path.stat()
        above = {*path.resolve().parents, *_plain(path).parents}
        if (state.st_dev, state.st_ino) in read or (_is_data(path) and not roots.isdisjoint(above)):
            raise FaceAlignError(f"{path}: the output would replace an input; give it another name or folder")


def _is_data(path: Path) -> bool:
    """Whether a file in a folder of data is read, and is not just beside it."""
    suffix = path.suffix.lower()
    return suffix in (".pts", ".mdb") or (suffix in SUFFIXES and path.with_suffix(".pts").exists())


def _plain(path: Path) -> Path:
    """The absolute path without `..`, links not followed."""
    return Path(os.path.abspath(path))


def _check_local(path: Path) -> None:
    """Raise FaceAlignError for an address in a store, of which a Path keeps one slash."""
    scheme, separator, rest = str(path).partition(":/")
    if separator and _SCHEME.fullmatch(scheme):
        raise FaceAlignError(
            f"{scheme}://{rest.lstrip('/')}: outputs are written to this machine; give a path, and copy "
            "what is written there"
        )


def _kind(path: Path) -> int | None:
    """The mode of what is there, links followed; None when there is nothing. Raises FaceAlignError."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise FaceAlignError(f"{path}: cannot be written ({_reason(error)})") from error


def _check_names(path: Path) -> None:
    """Raise FaceAlignError when a name that is to be made is too long for the file system."""
    existing = _existing(path)
    longest = os.pathconf(existing, "PC_NAME_MAX") if existing.is_dir() else 255
    for name in path.absolute().relative_to(existing).parts:
        if len(os.fsencode(name)) > longest:
            raise FaceAlignError(f"{path}: cannot be written ({os.strerror(errno.ENAMETOOLONG)})")


def _existing(path: Path) -> Path:
    """The nearest of a path and its parents that is there, be it a link to nothing."""
    place = path.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    return place


def _try(folder: Path, output: Path) -> None:
    """Raise FaceAlignError, naming `output`, when nothing can be made in a folder."""
    try:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
        with unfinished(folder, output.name):
            pass
    except OSError as error:
        raise FaceAlignError(f"{output}: cannot be written ({_reason(error)})") from error


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
