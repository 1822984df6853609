"""What reaches a terminal: control characters shown instead of obeyed, and labels in colour."""

import os
import re
import sys
from typing import Any, TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and those that turn the direction of writing."""
_OBEYED = re.compile(r"(?:\r|\n|\x1b\[A|\x1b\[\d*m)*")
"""How tqdm gets to the line of one of several bars, and colours."""
RED, YELLOW, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Escaping:
    """A terminal's stream, on which control characters in what is printed, such as in a file's name, are
    shown instead of obeyed. Line ends, colours and the moves of progress bars, which are written alone, are
    obeyed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        inner = "" if _OBEYED.fullmatch(text) else text.removeprefix("\r").removesuffix("\r")
        shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), inner)
        self._stream.write(text.replace(inner, shown, 1) if inner else text)
        return len(text)


def escape_on_terminals() -> None:
    """Let standard output and error be an Escaping where they are terminals."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            setattr(sys, name, Escaping(stream))


def shows_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and NO_COLOR (no-color.org) is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_labelled(stream: TextIO, label: str, text: str, colour: str) -> None:
    """Write the line `label: text`, its label in a colour where the stream shows colours."""
    if shows_colours(stream):
        for part in (colour, f"{label}:", PLAIN, f" {text}\n"):
            stream.write(part)
    else:
        stream.write(f"{label}: {text}\n")
