"""Reading and writing evaluations as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.evaluation.metrics import NORMALISERS
from facealign.io.atomic import replacing
from facealign.io.reading import read_json
from facealign.io.schema import (
    Check,
    anything,
    either,
    list_of,
    map_of,
    maybe,
    number,
    record,
    string,
    text,
    whole,
)

FIGURES = (
    "images",
    "missed_detections",
    *[f"nme_{name}" for name in NORMALISERS],
    "failure_rate_08",
    "auc_08",
    "failure_rate_10",
    "auc_10",
)
"""Figures that every subset has."""


def write_results(path: Path, data: Mapping[str, Any]) -> None:
    """Write an evaluation as JSON; the file appears only when it is complete."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_results(path: Path) -> dict[str, Any]:
    """The evaluation in a file of `write_results`. Raises FaceAlignError when `path` is not one."""
    hint = "expected an evaluation, which `facealign evaluate` writes"
    data = read_json(path, hint)
    if not isinstance(data.get("subsets"), dict):
        raise FaceAlignError(f"{path}: not an evaluation: it has no `subsets`; {hint}")
    try:
        _EVALUATION(data, "")
        for name, paths in data["members"].items():
            for member in paths:
                if member not in data["errors"]:
                    raise ValueError(f"members[{name!a}] has {member!a}, which errors lacks")
    except ValueError as error:
        raise FaceAlignError(f"{path}: a damaged evaluation ({error}); {hint}") from error
    return data


def _figures(names: tuple[str, ...]) -> dict[str, Check]:
    """Checks of the figures of those names."""
    return {
        name: maybe(number())
        if name.startswith("nme")
        else number(0)
        if name.startswith(("failure", "auc"))
        else whole(0)
        for name in names
    }


_INTERVALS = {f"nme_{name}_interval": maybe(list_of(number(), 2, 2)) for name in NORMALISERS}
_ROW = either(
    record({"by": text("landmarks"), "name": text(), **_figures(FIGURES[:4])}, _INTERVALS),
    record({"by": text(), "name": text(), **_figures(FIGURES)}, _INTERVALS),
)
_EVALUATION = record(
    {
        "settings": record(
            {"method": text(), "input": text()},
            {
                "training_data": text(),
                "boxes": text(),
                "engine": text(),
                "weights": text(),
                "cascade": maybe(text()),
            },
        ),
        "subsets": map_of(record(_figures(FIGURES), _INTERVALS)),
        "members": map_of(list_of(string)),
        "errors": map_of(maybe(record({name: number() for name in NORMALISERS}))),
    },
    {
        "skipped": list_of(anything),
        "absent": list_of(text()),
        "breakdown": list_of(_ROW),
        "incomplete": map_of(record({"images": whole(0), "in_release": whole(0)})),
        "interval": text(),
    },
)
