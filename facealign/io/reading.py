"""Reading of files, with one-line errors."""

import json
import stat
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.addresses import is_remote, read_remote

DEEPEST = 64
"""Levels of objects and lists in a JSON file."""


def read_bytes(path: Path, hint: str) -> bytes:
    """The contents of a file, or of one in a store (`addresses`).

    hint: end of the error message: what was expected, or how to make the file ("expected an ONNX model").
    Raises FaceAlignError when the file is missing, a folder, or cannot be read.
    """
    if is_remote(path):
        return read_remote(path, hint)
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # reading from it might never end
            raise FaceAlignError(f"{path}: a device or pipe, not a file; {hint}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; {hint}") from error
    except IsADirectoryError as error:
        raise FaceAlignError(f"{path}: a folder, not a file; {hint}") from error
    except OSError as error:
        raise FaceAlignError(f"{path}: cannot be read ({error.strerror}); {hint}") from error


def read_text(path: Path, hint: str) -> str:
    """The text of a UTF-8 file, with lines ended by a newline and without a byte order mark.

    Raises FaceAlignError as `read_bytes` does, and when the file is not UTF-8.
    """
    try:
        text = read_bytes(path, hint).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FaceAlignError(f"{path}: not a text file ({error}); {hint}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, hint: str) -> dict[str, Any]:
    """The object in a JSON file. Raises FaceAlignError as `read_text` does, and on anything but an object."""
    try:
        return parse_json(read_text(path, hint))
    except ValueError as error:
        raise FaceAlignError(f"{path}: {error}; {hint}") from error


def parse_json(text: str) -> dict[str, Any]:
    """The object that a JSON text holds. Raises ValueError, with the reason in a line, on anything else.

    Objects and lists are nested DEEPEST times at most.

    >>> parse_json('{"box": [1, 2]}')
    {'box': [1, 2]}
    """
    try:
        values = json.loads(text)
        _check_depth(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON file ({error})") from error
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _check_depth(values: Any) -> None:
    """Raises ValueError when objects and lists are nested more than DEEPEST times."""
    level = [values]
    for _ in range(DEEPEST + 1):
        inside = (
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)
        )
        level = [one for children in inside for one in children if isinstance(one, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {DEEPEST} times")
