"""The steps of `make tour`: what each does, its commands as one types them, and what to look at."""

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("steps.toml")
ITERATIONS = 3000
"""Of the tour's training."""
_WORDS = re.compile("OUT|ITERATIONS|HALF|EIGHTH")


@dataclass(frozen=True)
class Step:
    """A step of the tour.

    what: said before its commands; commands: their words; stop_at: the file at whose appearance Ctrl-C is
    pressed, None to let the commands end; look: what to look at, said after them.
    """

    title: str
    what: str
    commands: tuple[tuple[str, ...], ...]
    stop_at: Path | None
    look: str


def steps(
    out: Path, programs: str = ".venv/bin", iterations: int = ITERATIONS, path: Path = LIST
) -> list[Step]:
    """The whole tour, whose results go to the folder `out`.

    programs: folder of `python` and `facealign`; iterations: of the training, 2 or more; path: file of the
    steps.
    """
    meaning = {
        "OUT": str(out),
        "ITERATIONS": str(iterations),
        "HALF": str(iterations // 2),
        "EIGHTH": str(max(iterations // 8, 1)),
    }

    def filled(text: str) -> str:
        return _WORDS.sub(lambda word: meaning[word[0]], text)

    def words(command: str) -> tuple[str, ...]:
        program, *others = map(filled, shlex.split(command))
        return (f"{programs}/{program}", *others)

    return [
        Step(
            row["title"],
            " ".join(filled(row["what"]).split()),
            tuple(words(command) for command in row["commands"]),
            Path(filled(row["stop_at"])) if "stop_at" in row else None,
            " ".join(filled(row["look"]).split()),
        )
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["step"]
    ]
