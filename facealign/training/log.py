"""Log of a training run: a CSV file that grows, and its plot."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.figures import figure_in
from facealign.io.reading import read_text

LOG = "log.csv"
"""Name of the log in a run's folder."""


@dataclass(frozen=True)
class LogRow:
    """State after an iteration.

    seconds: of training, over all sessions; loss: mean since the previous row; rate: learning rate; nme_*: of
    the validation part in %; values that were not measured are None.
    """

    iteration: int
    seconds: float
    loss: float | None = None
    rate: float | None = None
    nme_inter_pupil: float | None = None
    nme_inter_ocular: float | None = None


COLUMNS = [field.name for field in fields(LogRow)]


def read_log(path: Path, until: int | None = None) -> list[LogRow]:
    """Rows of a log, up to iteration `until`; none if there is no file.

    A last line cut short by a crash is left out. Raises FaceAlignError when the file is not a log.
    """
    if not path.exists():
        return []
    text = read_text(path, "expected a training log; move it away")
    lines = [line.split(",") for line in text.split("\n")]
    lines.pop()  # empty, or cut short by a crash
    if not lines or lines[0] != COLUMNS:
        raise FaceAlignError(f"{path}: not a training log; move it away")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            numbers = [float(cell) if cell else None for cell in line]
            if len(numbers) != len(COLUMNS) or numbers[0] is None or numbers[1] is None:
                raise ValueError("a cell is missing")
            if not all(number is None or math.isfinite(number) for number in numbers):
                raise ValueError("a number is not finite")
            row = LogRow(int(numbers[0]), numbers[1], *numbers[2:])
        except (ValueError, OverflowError) as error:
            raise FaceAlignError(f"{path}, line {number}: {error}; move the file away") from error
        if until is None or row.iteration <= until:
            rows.append(row)
    return rows


def write_log(path: Path, rows: Sequence[LogRow]) -> None:
    """Write a whole log."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in rows)


def append_row(path: Path, row: LogRow) -> None:
    """Append a row to an existing log."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(_cells(row))


def _cells(row: LogRow) -> list[str]:
    values = [getattr(row, name) for name in COLUMNS]
    return [
        "" if value is None else f"{value:d}" if isinstance(value, int) else f"{value:.8g}"
        for value in values
    ]


def plot_log(path: Path, rows: Sequence[LogRow], title: str) -> None:
    """Plot loss (left axis, logarithmic) and validation NME (right axis) over the iterations into a PNG.

    Raises FaceAlignError when matplotlib is not installed.
    """
    with figure_in(path, (9, 4.5)) as figure:
        left = figure.add_subplot()
        right = left.twinx()
        losses = [(row.iteration, row.loss) for row in rows if row.loss is not None]
        errors = [(row.iteration, row.nme_inter_pupil) for row in rows if row.nme_inter_pupil is not None]
        (loss_line,) = (
            left.plot(*zip(*losses, strict=True), "C0-", lw=1) if losses else left.plot([], [], "C0-")
        )
        (nme_line,) = (
            right.plot(*zip(*errors, strict=True), "C1o-", ms=3) if errors else right.plot([], [], "C1o-")
        )
        if losses:
            left.set_yscale("log")
        left.set(xlabel="iteration", ylabel="training loss", title=title)
        right.set(ylabel="validation NME, % of the inter-pupil distance")
        right.set_ylim(bottom=0, top=min(40, max((error for _, error in errors), default=10) * 1.1))
        left.legend([loss_line, nme_line], ["loss", "validation NME"], loc="upper right")
