"""Results while they come: landmarks.jsonl, from which a run that was stopped goes on."""

import hashlib
import json
import re
import zlib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from facealign.io.growing import GrowingFile
from facealign.results.record import Record

_BEGIN = b'{"key": "'
_HEAD = re.compile(rb'\{"key": "([^"\\]*)", "sum": "([0-9a-f]{8})", ')


def fingerprint(*parts: object) -> str:
    """A checksum of what a result depends on: settings and the state of files, as JSON holds them.

    >>> fingerprint("a.jpg", 1000, {"flip": False}) == fingerprint("a.jpg", 1000, {"flip": True})
    False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def stamp(path: Path) -> list[int] | None:
    """Size and time of change of a file; None when there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


def is_closed(path: Path) -> bool:
    """Whether a file has results in the format jsonl of a run that ended, or anything else not growing."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        first = stream.read(len(_BEGIN))
    return first != _BEGIN[: len(first)]


class GrowingResults:
    """A file of one entry a line, in the order in which they came.

    Before the entry, a line has its key, the fingerprint of what the entry depends on, and a checksum. After
    a stop, entries are kept whose key is still the same. A frame's line may have the tracker's state too.
    """

    def __init__(self, path: Path) -> None:
        """path: of the file. What is in it is dropped when an entry is added, unless `resume` keeps it."""
        self._file = GrowingFile(path)
        self._places: dict[str, int] = {}

    def resume(self, keys: Container[str]) -> int:
        """Keep the entries that have one of these keys; their number."""
        size = 0
        for key, offset, line in self._whole():
            size = offset + len(line) + 1
            if key in keys:
                self._places[key] = offset
        self._file.keep(size if self._places else 0)
        return len(self._places)

    def resume_frames(self, run: str) -> tuple[int, Any]:
        """Keep the frames of a run up to the last one with a state; their number, and that state."""
        kept, size, state = 0, 0, None
        places = {}
        for number, (key, offset, line) in enumerate(self._whole()):
            if key != frame_key(run, number):
                break
            places[key] = offset
            if b'"state": {' in line:
                kept, size, state = number + 1, offset + len(line) + 1, line
        self._places = {key: places[key] for key in (frame_key(run, number) for number in range(kept))}
        self._file.keep(size)
        return kept, None if state is None else json.loads(state)["state"]

    def _whole(self) -> Iterator[tuple[str, int, bytes]]:
        """(key, offset, line) of the lines, up to the first that is not as it was written."""
        for offset, line in self._file.lines():
            head = _HEAD.match(line)
            if head is None or int(head[2], 16) != zlib.crc32(head[1] + line[head.end() :]):
                return
            yield head[1].decode(errors="replace"), offset, line

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, record: Record, state: Any = None) -> None:
        """Append an entry. An OSError names the file."""
        self.add_text(key, entry_text(record if state is None else {**record, "state": state}))

    def add_text(self, key: str, text: str) -> None:
        """Append an entry as `entry_text` has it. An OSError names the file."""
        body = text[1:]
        line = f'{{"key": "{key}", "sum": "{zlib.crc32((key + body).encode()):08x}", {body}'
        self._places[key] = self._file.add(line)

    def records(self, keys: Iterable[str]) -> Iterator[Record]:
        """The entries of these keys, in this order."""
        with self._file.path.open("rb") as stream:
            for key in keys:
                stream.seek(self._places[key])
                record: Record = json.loads(stream.readline())
                for name in ("key", "sum", "state"):
                    record.pop(name, None)
                yield record

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file: all is in another one."""
        self._file.remove()


def entry_text(record: Record) -> str:
    """An entry as JSON, which takes longer to make than to write."""
    return json.dumps(record, allow_nan=False)


def frame_key(run: str, number: int) -> str:
    """The key of a frame's entry; run: fingerprint of the video and the settings."""
    return f"{run}-{number}"
