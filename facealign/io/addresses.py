"""Addresses of files: paths, or addresses in an object store, such as s3://bucket/photos or gs://bucket/photos.

Those of a store are `UPath` objects of universal-pathlib, which have the methods of a Path and go through
fsspec: where it finds credentials, and other settings, is up to fsspec and the store's package (s3fs, gcsfs).
They pass for a Path here, but are none for `isinstance`, nor for functions of `os` and `open`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, cast

from facealign.errors import FaceAlignError, StoreError

READERS = 16
"""Threads that read from a store at a time, where nobody else does."""
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""Scheme of an address -> the package through which fsspec reads it."""

CONNECT_SECONDS, READ_SECONDS = 5, 10
"""Longest time for an S3 store to accept a connection, and to send the next bytes."""
ATTEMPTS, ROUNDS = 3, 2
"""Attempts of botocore at a request to it, and of s3fs at each of two levels above: 12 in all."""
FILE_ERRORS = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""Errors of one file of a store."""
FILE_CODES = ("InvalidObjectState", "InvalidRange", "KeyTooLongError", "NoSuchKey")
"""S3's names for such errors: an archived photo, an empty one, ..."""
STORE_CODES = ("NoSuchBucket", "404")
"""S3's names for what only passes for such an error; 404: what answers is no S3."""


def address(text: str) -> Path:
    """A path, or an address in a store. Raises FaceAlignError when a package for that store is missing.

    >>> address("photos/a.jpg")
    PosixPath('photos/a.jpg')
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme == "file":
        return Path(rest)
    if scheme in ("http", "https"):
        raise FaceAlignError(f"{text}: web addresses are not read; fetch the photos first")
    try:
        from upath import UPath

        made = UPath(text, **_limits(scheme))
        _ = made.fs  # imports the store's package
    except ImportError as error:
        package = PACKAGES.get(scheme, "")
        needed = f"pip install 'facealign[cluster]' {package}".rstrip()
        raise FaceAlignError(f"{text}: {_reason(error)}; {needed}") from error
    except ValueError as error:
        raise FaceAlignError(f"{text}: {_reason(error)}; expected a path, s3:// or gs://") from error
    return cast(Path, made)


def is_remote(path: Path) -> bool:
    """Whether an address is in a store.

    >>> is_remote(Path("photos"))
    False
    """
    return not isinstance(path, PurePath)


def readers_of(path: Path) -> int:
    """Number of threads by which files are read best: a store answers late, and many at a time."""
    return READERS if is_remote(path) else 1


def read_remote(path: Path, hint: str, most: int | None = None) -> bytes:
    """The contents of a file in a store, by one request, or its first `most` bytes.

    Raises FaceAlignError, with the hint of what was expected, when it is missing or cannot be read.
    """
    store, name = _parts(path)
    with _errors(path, hint):
        if most is not None:
            data: bytes = store.cat_file(name, 0, most)
        else:
            # s3fs would ask for the size first, to fetch large files in parts.
            data = store.cat_file(name, **({"max_concurrency": 1} if "s3" in store.protocol else {}))
        return data


def files_below(root: Path) -> list[tuple[PurePath, Path]]:
    """(place below the root, file) of every file of a store at or below an address, sorted.

    A file is at the place of its name. Raises FaceAlignError when the store refuses, or has no such bucket.
    """
    store, name = _parts(root)
    with _errors(root, "expected a folder of photos"):
        found = sorted(store.find(name))
    top = str(name).rstrip("/")
    if found == [top]:
        return [(PurePath(root.name), root)]
    places = [PurePath(one[len(top) + 1 :]) for one in found if not one.endswith("/")]
    return sorted((place, root / place.as_posix()) for place in places)


def matching(pattern: Path) -> list[tuple[PurePath, Path]]:
    """(place, file) of the files of a store that a pattern with `*`, `?` or `[` matches, but for hidden ones.

    A folder that it matches stands for the files below it, at their place there. Raises as `files_below`.
    """
    store, name = _parts(pattern)
    with _errors(pattern, "expected a pattern of photos"):
        found = store.glob(name, detail=True)
    named = PurePath(name).parts
    files: list[tuple[PurePath, Path]] = []
    for one, details in sorted(found.items()):
        if any(part.startswith(".") and part not in named for part in PurePath(one).parts):
            continue
        path = address(str(store.unstrip_protocol(one)))
        folder = details.get("type") == "directory"
        files += files_below(path) if folder else [(PurePath(path.name), path)]
    return files


def walk_remote(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """(folder, names of its folders, of its files) of a folder in a store and all below it, as by os.walk.

    What is removed from the names of folders is passed over.
    """
    folders: dict[PurePath, set[str]] = {PurePath(): set()}
    files: dict[PurePath, list[str]] = {}
    for place, _ in files_below(root):
        files.setdefault(place.parent, []).append(place.name)
        while place.parent != place:
            place = place.parent
            if place != PurePath():
                folders.setdefault(place.parent, set()).add(place.name)
    waiting = [PurePath()]
    while waiting:
        here = waiting.pop()
        below = sorted(folders.get(here, ()))
        yield (root if here == PurePath() else root / here.as_posix()), below, sorted(files.get(here, ()))
        waiting += [here / name for name in reversed(below)]


def _limits(scheme: str) -> dict[str, Any]:
    """Options of a store by which it fails within about two minutes when it does not answer.

    Those of fsspec's configuration and botocore's environment, if any, come first.
    """
    if PACKAGES.get(scheme) != "s3fs":
        return {}
    import fsspec

    given = {**fsspec.config.conf.get("s3a", {}), **fsspec.config.conf.get("s3", {})}
    limits: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if not os.environ.get("AWS_MAX_ATTEMPTS"):
        limits["retries"] = {"total_max_attempts": ATTEMPTS}
    return {"config_kwargs": {**limits, **given.get("config_kwargs", {})}}


def _parts(path: Path) -> tuple[Any, str]:
    """The file system of fsspec, and the name in it."""
    store: Any = path
    if hasattr(store.fs, "retries"):  # of s3fs, which has no option for it
        store.fs.retries = min(store.fs.retries, ROUNDS)
    return store.fs, store.path


@contextmanager
def _errors(path: Path, hint: str) -> Iterator[None]:
    """Errors of a store as one line; as StoreError, unless they are of this file alone.

    Each store's package has classes of its own for them.
    """
    try:
        yield
    except Exception as error:
        code = _code(error)
        if code in FILE_CODES or (isinstance(error, FILE_ERRORS) and code not in STORE_CODES):
            # The store's own words, or else those of Python: it may just repeat the name.
            words = _reason(error)
            missing = isinstance(error, FileNotFoundError) and " " not in words
            raise FaceAlignError(f"{path}: {'no such file' if missing else words}; {hint}") from error
        if isinstance(error, FileNotFoundError):
            raise StoreError(f"{path}: {_reason(error)}; see the address and the store's endpoint") from error
        if isinstance(error, PermissionError):
            raise StoreError(f"{path}: access denied ({_reason(error)}); see its credentials") from error
        raise StoreError(
            f"{path}: cannot be read ({type(error).__name__}: {_reason(error)}); see the store's endpoint "
            "and its credentials"
        ) from error


def _code(error: BaseException) -> str:
    """What S3 calls an error; "" for what comes from elsewhere."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
