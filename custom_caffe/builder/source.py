"""Gets upstream's source from one of several places and accepts it by one hash of its content."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, cast

from builder.common import HERE, BuildError, capture, hash_files, say, scratch

Place = dict[str, str]


class Lock(TypedDict):
    """What is fetched, where it may be taken from, and how it is recognised: see upstream.lock."""

    name: str
    commit: str
    files: list[str]
    sha256: str
    place: list[Place]


def read_lock(part: str | None = None) -> Lock:
    """The contents of upstream.lock; given a part, with its files and hash in place of the main ones."""
    lock = tomllib.loads((HERE / "upstream.lock").read_text())
    return cast(Lock, {**lock, **lock[part]} if part else lock)


def tree_hash(root: Path, entries: list[str]) -> str:
    """The hash of the files and directories `entries` below root, as upstream.lock describes it.

    Raises BuildError if one of them is missing.
    """
    files: list[Path] = []
    for entry in entries:
        path = root / entry
        if path.is_dir():
            files += [file for file in path.rglob("*") if file.is_file()]
        elif path.is_file():
            files.append(path)
        else:
            raise BuildError(f"{root} has no {entry}")
    return hash_files(root, files)


def verify(root: Path, place: str, lock: Lock) -> None:
    """Raise BuildError, naming the place, unless the tree at root is the locked one."""
    try:
        found = tree_hash(root, lock["files"])
    except BuildError as error:
        raise BuildError(f"{place}: not the source of {lock['name']}: {error}") from error
    if found != lock["sha256"]:
        raise BuildError(
            f"{place}: the source differs from {lock['name']} {lock['commit']}"
            f" (content hash {found[:12]}..., expected {lock['sha256'][:12]}...)"
        )


def fetch(destination: Path, lock: Lock | None = None) -> None:
    """Put the verified files of a lock, or else of upstream.lock, into the new directory `destination`.

    The places are tried in order. Raises BuildError, saying why each failed, if none serves. A local
    source named by the user is not passed over: if it is wrong, that is the error.
    """
    lock = lock or read_lock()
    destination.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    for place in lock["place"]:
        with scratch("fetch", destination.parent) as folder:
            try:
                found = FETCHERS[place["kind"]](place, folder)
                if found is None:
                    continue
                name, root = found
                verify(root, name, lock)
            except BuildError as error:
                if place["kind"] == "local":
                    raise
                say(str(error))
                failures.append(str(error))
                continue
            staged = folder / "verified"
            staged.mkdir()
            for entry in lock["files"]:
                copy = shutil.copytree if (root / entry).is_dir() else shutil.copy2
                copy(root / entry, staged / entry)
            if destination.exists():
                shutil.rmtree(destination)
            staged.rename(destination)
            say(f"source of {lock['name']} {lock['commit']} from {name}")
            return
    raise BuildError(
        f"no place gave the source of {lock['name']} {lock['commit']} ({'; '.join(failures)});"
        f" set {lock['place'][0].get('variable', 'CAFFE_SOURCE')} to a directory or archive that holds it"
    )


def unpack(archive: Path, directory: Path) -> Path:
    """Unpack a .tar.* or .zip file; returns the source root, which may be one folder down."""
    directory.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(directory)
        else:
            with tarfile.open(archive) as packed_tar:
                if hasattr(tarfile, "data_filter"):
                    packed_tar.extractall(directory, filter="data")
                else:  # Debian 12's Python 3.11.2 has no filters yet
                    packed_tar.extractall(directory, members=_plain_members(packed_tar))
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise BuildError(f"{archive.name}: not an archive that can be read ({error})") from error
    entries = list(directory.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else directory


def _plain_members(packed: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The files and folders of an archive. Raises tarfile.TarError at one that would lie outside."""
    members = [member for member in packed.getmembers() if member.isfile() or member.isdir()]
    for member in members:
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise tarfile.TarError(f"{member.name} is outside")
    return members


def _from_local(place: Place, scratch: Path) -> tuple[str, Path] | None:
    value = os.environ.get(place["variable"])
    if not value:
        return None
    path = Path(value).expanduser()
    name = f"{place['variable']}={value}"
    if path.is_dir():
        return name, path
    if path.is_file():
        return name, unpack(path, scratch / "tree")
    raise BuildError(f"{name}: no such file or directory")


def _from_url(place: Place, scratch: Path) -> tuple[str, Path]:
    archive = scratch / "archive"
    try:
        with urllib.request.urlopen(place["url"], timeout=60) as answer, archive.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise BuildError(f"{place['url']}: {getattr(error, 'reason', error)}") from error
    return place["url"], unpack(archive, scratch / "tree")


def _from_debian(place: Place, scratch: Path) -> tuple[str, Path]:
    archive = debian_archive(place, scratch)
    return _debian_name(place), unpack(archive, scratch / "tree")


def _debian_name(place: Place) -> str:
    return f"Debian source package {place['package']} {place['version']}"


def debian_archive(place: Place, scratch: Path) -> Path:
    """Download the original archive of a Debian source package; returns its path, below `scratch`.

    It comes through apt, which checks Debian's signature, with its lists and settings in `scratch` only.
    """
    name = _debian_name(place)
    if shutil.which("apt-get") is None:
        raise BuildError(f"{name}: no apt-get here")
    for directory in ("lists/partial", "archives/partial", "download"):
        (scratch / directory).mkdir(parents=True)
    sources = scratch / "sources.list"
    options = [
        f"Dir::Etc::SourceList={sources}",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State::Lists={scratch / 'lists'}",
        f"Dir::Cache={scratch}",
        "Dir::Cache::Archives=archives",
        "Acquire::Languages=none",
        "APT::Sandbox::User=root",
    ]
    apt = ["apt-get", "--quiet", "--quiet", *(f"--option={option}" for option in options)]
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    trust = f"[signed-by={keyring}] " if keyring.exists() else ""
    reason = "apt has no Debian mirror configured"
    for mirror in debian_mirrors():
        sources.write_text(f"deb-src {trust}{mirror} {place['suite']} main\n")
        try:
            capture([*apt, "update"])
            wanted = f"{place['package']}={place['version']}"
            get = [*apt, "--download-only", "--only-source", "source", wanted]
            capture(get, directory=scratch / "download")
        except BuildError as error:
            reason = str(error)
            continue
        return next((scratch / "download").glob("*.orig.tar.*"))
    raise BuildError(f"{name}: {reason}")


def debian_mirrors() -> list[str]:
    """The archives in this machine's apt configuration, without those for security and other updates."""
    # Asked for what an update would download, apt answers even when it has no lists yet.
    listed = capture(["apt-get", "--print-uris", "update"])
    releases = re.findall(r"'([^']+)/dists/([a-z]+)/InRelease'", listed)
    return list(dict.fromkeys(mirror for mirror, _ in releases))


FETCHERS: dict[str, Callable[[Place, Path], tuple[str, Path] | None]] = {
    "local": _from_local,
    "debian": _from_debian,
    "url": _from_url,
}
