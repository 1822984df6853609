"""What the programs say beside the files they write: notes, problems, results, figures and progress.

Each is said by its own function here, where --quiet and --json, which `commands.program` reads, have effect.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TextIO, TypeVar

from tqdm import tqdm

from facealign.io.atomic import replacing
from facealign.io.terminal import YELLOW, write_labelled

T = TypeVar("T")
STANDARD_OUTPUT = Path("-")
"""The value of --json that stands for standard output."""
LINE_EVERY = 60.0
"""Seconds between two lines of progress where standard error is no terminal."""
SHARE = "{desc}: {percentage:3.0f}%"
PACE = " {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
OPEN_PACE = "{desc}: {n_fmt} [{elapsed}, {rate_noinv_fmt}{postfix}]"
"""Parts of progress, as tqdm fills them in: with a total, and, the last one, without."""


class _Lock:
    """The lock of tqdm's bars, for the threads of this process.

    tqdm also releases it when Ctrl-C came before it was taken, which is no error here.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, *arguments: Any, **options: Any) -> bool:
        return self._lock.acquire(*arguments, **options)

    def release(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


tqdm.set_lock(_Lock())


@dataclass
class _Manner:
    quiet: bool = False
    json: Path | None = None


_manner = _Manner()


def choose_manner(quiet: bool, json_file: Path | None) -> None:
    """Set, for this process, what --quiet and --json ask for."""
    _manner.quiet, _manner.json = quiet, json_file


def note(text: str) -> None:
    """Say on standard error what goes on. Not with --quiet."""
    if not _manner.quiet:
        tqdm.write(text, file=sys.stderr)


def problem(label: str, text: str) -> None:
    """Say on standard error, even with --quiet, what could not be used as it is: "skipped: FILE: why"."""
    with tqdm.external_write_mode(file=sys.stderr):
        write_labelled(sys.stderr, label, text, YELLOW)


def skipped(file: str, reason: str) -> None:
    """Say that a file could not be used, naming it if the reason does not."""
    problem("skipped", reason if file in reason else f"{file}: {reason}")


def result(text: str) -> None:
    """Say on standard output what came of it. Not with --quiet."""
    if not _manner.quiet:
        tqdm.write(text, file=stream_of_results())
        sys.stdout.flush()


def figures(text: str) -> None:
    """Print on standard output, even with --quiet, what the program was run for."""
    if not (_manner.quiet and _manner.json == STANDARD_OUTPUT):
        tqdm.write(text, file=stream_of_results(), end="" if text.endswith("\n") else "\n")


def quietly() -> list[str]:
    """The option with which another program of this package talks as this one does."""
    return ["--quiet"] if _manner.quiet else []


def stream_of_results() -> TextIO:
    """Standard output, or standard error where the former holds JSON alone."""
    return sys.stderr if _manner.json == STANDARD_OUTPUT else sys.stdout


def json_files() -> list[Path]:
    """The file that --json names, if any, for `check_outputs`."""
    return [] if _manner.json in (None, STANDARD_OUTPUT) else [_manner.json]


def write_json(data: Mapping[str, Any]) -> None:
    """Write a result where --json says, if it is given."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    if _manner.json == STANDARD_OUTPUT:
        sys.stdout.write(text)
    for path in json_files():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Within, an interruption also says that the same command goes on where it was."""
    try:
        yield
    except KeyboardInterrupt:
        problem("stopped", f"{output}: the same command goes on where it was")
        raise


def progress(
    items: Iterable[T] = (), *, total: int | None, unit: str, what: str, done: int = 0
) -> "Progress[T]":
    """`items`, with their progress on standard error: a bar, or a line a minute where it is no terminal.

    total: number of items, with the `done` of an earlier run; unit: of the rate, as it stands before "/s".
    Not with --quiet.
    """
    if _manner.quiet:
        return tqdm(items, disable=True)
    if sys.stderr.isatty():
        return tqdm(
            items,
            total=total,
            initial=done,
            unit=f" {unit}",
            desc=what,
            mininterval=0.2,
            bar_format=OPEN_PACE if total is None else f"{SHARE}|{{bar}}|{PACE}",
        )
    return Lines(items, total, unit, what, done)


class Progress(Protocol[T]):
    """What `progress` gives, a context manager too: tqdm's methods that the programs use."""

    def __enter__(self) -> "Progress[T]": ...
    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None: ...
    def __iter__(self) -> Iterator[T]: ...
    def update(self) -> Any:
        """One more is done."""

    def set_postfix_str(self, text: str, /, refresh: bool) -> None:
        """Let a text stand at the end."""


class Lines(Generic[T]):
    """Progress as lines: number, time passed and left, and rate, at most one in `every` seconds."""

    def __init__(
        self,
        items: Iterable[T],
        total: int | None,
        unit: str,
        what: str,
        done: int = 0,
        every: float = LINE_EVERY,
    ) -> None:
        self._items, self._total, self._unit, self._what = items, total, unit, what
        self._done, self._number, self._every = done, done, every
        self._begun = self._said = time.monotonic()
        self._postfix = ""

    def __enter__(self) -> "Lines[T]":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None:
        pass

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            yield item
            self.update()

    def update(self) -> None:
        self._number += 1
        now = time.monotonic()
        if now - self._said >= self._every:
            self._said = now
            note(
                tqdm.format_meter(
                    n=self._number,
                    total=self._total,  # type: ignore[arg-type]  # which may be None
                    elapsed=now - self._begun,
                    prefix=self._what,
                    unit=f" {self._unit}",
                    bar_format=OPEN_PACE if self._total is None else SHARE + PACE,
                    initial=self._done,
                    postfix=self._postfix,
                )
            )

    def set_postfix_str(self, text: str, /, refresh: bool) -> None:
        self._postfix = text


def number_of(count: int, noun: str) -> str:
    """A number of things.

    >>> number_of(1, "image"), number_of(0, "face"), number_of(2, "copy")
    ('1 image', '0 faces', '2 copies')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
