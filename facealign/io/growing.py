"""Files that grow by whole lines while a program runs, so that a kill loses none of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

Result = TypeVar("Result")


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


class GrowingRecords(Generic[Result]):
    """A file that grows by a line for each result of a long job.

    Its first line is `head`, each other one a name and its result as JSON, in the order they were added.
    """

    def __init__(
        self,
        path: Path,
        head: str,
        parse: Callable[[Any, str], Result],
        values_of: Callable[[Result], Any],
    ) -> None:
        """head: a line, such as the job's settings; results under another one are thrown away when one is
        added. parse: a result of its JSON values and its name, ValueError if it is none; values_of: the
        reverse.
        """
        self.path = path
        self._file = GrowingFile(path)
        self._head, self._parse, self._values_of = head, parse, values_of
        self._empty: bool | None = None  # whether no line is to be kept; None before the file was read

    @property
    def is_of_another(self) -> bool:
        """Whether the file is there, with another head, and a whole one."""
        first = next(self._file.lines(), None)
        return first is not None and first[1] != self._head.encode()

    def read(self) -> dict[str, Result]:
        """The results that an earlier process added under this head, by name."""
        results: dict[str, Result] = {}
        whole = 0
        for offset, line in self._file.lines():
            try:
                if offset:
                    name, values = json.loads(line)
                    results[str(name)] = self._parse(values, str(name))
                elif line != self._head.encode():
                    break
            except (ValueError, TypeError, RecursionError):
                break
            whole = offset + len(line) + 1
        self._file.keep(whole)
        self._empty = not whole
        return results

    def begin(self) -> None:
        """Write the first line if need be: what follows is then known to be unfinished."""
        if self._empty is None:
            self.read()
        if self._empty:
            self._file.add(self._head)
            self._empty = False

    def add(self, name: str, result: Result) -> None:
        """Append a result."""
        self.begin()
        self._file.add(json.dumps([name, self._values_of(result)]))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file: all is in the finished output."""
        self._file.remove()
