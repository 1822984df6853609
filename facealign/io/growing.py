"""A file that grows by whole lines while a program runs, so that a kill loses none of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO


class GrowingFile:
    """Lines of text, each written at once. What a killed process left, but for half a line, can be kept."""

    def __init__(self, path: Path) -> None:
        """path: of the file, which need not exist. Nothing is changed before a line is added."""
        self.path = path
        self._whole = 0
        self._stream: IO[bytes] | None = None

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(offset, line without its end) of each whole line that is in the file."""
        if not self.path.is_file():
            return
        offset = 0
        with self.path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                yield offset, line[:-1]
                offset += len(line)

    def keep(self, size: int) -> None:
        """Keep the first `size` bytes, by default none; the others are dropped when a line is added."""
        self._whole = size

    def add(self, line: str) -> int:
        """Append a line; its offset. An OSError names the file."""
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab", buffering=0)
            self._stream.truncate(self._whole)
        start = self._whole
        rest = f"{line}\n".encode()
        self._whole += len(rest)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            error.filename = str(self.path)
            raise
        return start

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def remove(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)
