"""The figures of parts of the faces, by pose, box and so on: rows of a table, each with a bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facealign.evaluation.figures import RANGES
from facealign.evaluation.metrics import NORMALISERS
from facealign.evaluation.report_tables import figure_text, part_title, with_interval

FIRST = ("data set", "landmarks", "yaw", "pitch", "box overlap", "face size")
"""What faces are divided by, in the order in which it is shown."""


@dataclass(frozen=True)
class PartRow:
    """A part of the faces of one evaluation.

    bar: low end of the confidence interval of the inter-pupil NME, NME, and high end, as percentages of the
    longest bar; None where every face was missed.
    """

    part: str
    evaluation: int
    faces: int
    missed: int
    cells: tuple[str, ...]
    failures: str
    bar: tuple[float, float, float] | None


def parts(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, list[PartRow]]:
    """What faces are divided by -> its parts, those of the same name of all evaluations beside each other."""
    everything = [
        (index, row)
        for index, evaluation in enumerate(evaluations)
        for row in evaluation.get("breakdown", [])
    ]
    intervals = [interval for _, row in everything if (interval := _interval(row)) is not None]
    longest = max((high for _, _, high in intervals), default=0.0) or 1.0
    names = [*FIRST, *[row["by"] for _, row in everything if row["by"] not in FIRST]]
    result: dict[str, list[PartRow]] = {}
    for by in dict.fromkeys(names):
        found = [(index, row) for index, row in everything if row["by"] == by]
        order = list(dict.fromkeys([*RANGES.get(by, ()), *[row["name"] for _, row in found]]))
        found.sort(key=lambda one: (order.index(one[1]["name"]), one[0]))
        if found:
            result[by] = [_row(index, row, longest) for index, row in found]
    return result


def _interval(row: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Low end, mean and high end of the inter-pupil NME of a row; None where every face was missed."""
    mean = row["nme_inter_pupil"]
    if mean is None:
        return None
    low, high = row.get("nme_inter_pupil_interval") or (mean, mean)
    return (low, mean, high)


def _row(index: int, row: Mapping[str, Any], longest: float) -> PartRow:
    failures = row.get("failure_rate_08")
    interval, scale = _interval(row), 100 / longest
    return PartRow(
        part=part_title(row),
        evaluation=index,
        faces=row["images"],
        missed=row["missed_detections"],
        cells=tuple(with_interval(row, f"nme_{name}") for name in NORMALISERS),
        failures="" if failures is None else f"{figure_text(100 * failures, 1)} %",
        bar=None if interval is None else (interval[0] * scale, interval[1] * scale, interval[2] * scale),
    )
