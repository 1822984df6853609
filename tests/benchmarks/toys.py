"""Peers for the tests of benchmarks.measure, made in processes of their own."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def writer(path: str, name: str) -> Callable[[], object]:
    """Appends a line to a file at each call."""

    def call() -> None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{name} {os.environ['OMP_NUM_THREADS']} {os.environ.get('TOY', '')}\n")

    return call


def sleeper(seconds: float) -> Callable[[], object]:
    return lambda: time.sleep(seconds)


def hog(megabytes: int) -> Callable[[], object]:
    """Takes memory once, and gives it back."""
    return lambda: len(b"x" * (megabytes * 1_000_000))


def chatty() -> Callable[[], object]:
    """Prints, as libraries do."""
    return lambda: print("hello from a library")


def broken() -> Callable[[], object]:
    raise OSError("no such\nlibrary")


def dying() -> Callable[[], object]:
    print("Check failed: this is fatal", file=sys.stderr, flush=True)
    os._exit(3)
