"""Paths, the error every step raises, and how commands are run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
"""The custom_caffe directory."""


class BuildError(Exception):
    """A failure the user can act on; its text is one line."""


def build_directory() -> Path:
    """Where everything that is made goes: $CAFFE_BUILD_DIR, or build/caffe beside custom_caffe."""
    return Path(os.environ.get("CAFFE_BUILD_DIR") or HERE.parent / "build" / "caffe").resolve()


@contextmanager
def scratch(prefix: str, parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed at the end. Those that killed builds left there are removed first:
    the caller holds the lock of the build directory.
    """
    for left in parent.glob(f"{prefix}-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-", dir=parent) as made:
        yield Path(made)


def say(text: str) -> None:
    """Tell the user what goes on. Standard output stays free for results."""
    print(f"caffe build: {text}", file=sys.stderr, flush=True)


def capture(command: Sequence[str | Path], *, directory: Path | None = None) -> str:
    """Run a command and return its standard output.

    Raises BuildError with the last line of what it said if it fails or does not exist.
    """
    try:
        done = subprocess.run(
            [str(part) for part in command], cwd=directory, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise BuildError(f"{Path(str(command[0])).name} failed: {lines[-1]}")
    return done.stdout


def run_logged(
    command: Sequence[str | Path], log: Path, *, directory: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run a long command with its output in the file `log`; BuildError names it and the first error line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        try:
            code = subprocess.run(
                [str(part) for part in command],
                cwd=directory,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                check=False,
            ).returncode
        except FileNotFoundError as error:
            raise BuildError(f"{command[0]} is not installed") from error
    if code != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        # A compiler's "error: ...", rather than a warning about something whose name has "error" in it.
        errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
        telling = next(iter([line for line in errors if "rror: " in line] or errors or lines[-1:]), "")
        raise BuildError(f"{Path(str(command[0])).name} failed: {telling} (all of it: {log})")


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 over files, sorted by their path below root: path, 0, length in decimal, 0, bytes of each."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
