"""Files read, or one line that says why not."""

import json
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError


def read_bytes(path: Path, hint: str) -> bytes:
    """The contents of a file.

    hint: what was expected there, or what makes it, for errors: "expected an ONNX model".
    Raises FaceAlignError when it is missing, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; {hint}") from error
    except IsADirectoryError as error:
        raise FaceAlignError(f"{path}: a folder, not a file; {hint}") from error
    except OSError as error:
        raise FaceAlignError(f"{path}: cannot be read ({error.strerror}); {hint}") from error


def read_text(path: Path, hint: str) -> str:
    """The text of a UTF-8 file, lines ended by a newline, without a byte order mark.

    Raises FaceAlignError as `read_bytes`, and when it is no UTF-8.
    """
    try:
        text = read_bytes(path, hint).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FaceAlignError(f"{path}: not a text file ({error}); {hint}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, hint: str) -> dict[str, Any]:
    """The object that a JSON file holds. Raises as `read_text`, and on what is no JSON object."""
    try:
        values = json.loads(read_text(path, hint))
    except (ValueError, RecursionError) as error:
        raise FaceAlignError(f"{path}: not a JSON file ({error}); {hint}") from error
    if not isinstance(values, dict):
        raise FaceAlignError(f"{path}: not a JSON object; {hint}")
    return values
