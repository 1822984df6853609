"""Measurements as a CSV file: a head of `# name: value` lines, then a row for each engine and task."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Measurement

COLUMNS = ("task", "name", "microseconds", "low", "high", "memory_mb", "note", "rounds")


def to_csv(measurements: Sequence[Measurement], head: Mapping[str, str]) -> str:
    """Median and quartiles in microseconds a unit, and all rounds, so that ratios can be taken again."""
    output = io.StringIO()
    for name, value in head.items():
        output.write(f"# {name}: {' '.join(value.split())}\n")
    rows = csv.writer(output, lineterminator="\n")
    rows.writerow(COLUMNS)
    for one in measurements:
        low, median, high = (_number(value * 1e6) for value in one.spread)
        rounds = " ".join(_number(value * 1e6) for value in one.rounds)
        rows.writerow([one.task, one.name, median, low, high, _number(one.memory), one.note, rounds])
    return output.getvalue()


def from_csv(text: str) -> tuple[list[Measurement], dict[str, str]]:
    """What `to_csv` wrote, to its 6 digits. Raises ValueError when the columns are others."""
    head, lines = {}, text.splitlines()
    while lines and lines[0].startswith("# "):
        name, _, value = lines.pop(0)[2:].partition(": ")
        head[name] = value
    rows = csv.DictReader(lines)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    found = []
    for row in rows:
        rounds = tuple(float(value) / 1e6 for value in row["rounds"].split())
        memory = float(row["memory_mb"]) if row["memory_mb"] else math.nan
        found.append(Measurement(row["task"], row["name"], rounds, memory, row["note"]))
    return found, head


def read(path: Path) -> tuple[list[Measurement], dict[str, str]]:
    return from_csv(path.read_text(encoding="utf-8"))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
