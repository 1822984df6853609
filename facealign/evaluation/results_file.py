"""Reading and writing evaluations as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.evaluation.metrics import NORMALISERS
from facealign.io.atomic import replacing
from facealign.io.reading import read_json

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
        _check(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise FaceAlignError(f"{path}: a damaged evaluation ({reason}); {hint}") from error
    return data


def _check(data: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError where an evaluation lacks what reports are made of."""
    for name in ("method", "input"):
        _is(str, data["settings"][name], name)
    for name in ("skipped", "absent", "breakdown"):
        _is(list, data.get(name, []), name)
    for name in ("incomplete", "members", "errors"):
        _is(dict, data.get(name, {}), name)
    for figures in data["subsets"].values():
        _check_figures(figures, FIGURES)
    for row in data.get("breakdown", []):
        _is(str, row["by"], "by")
        _is(str, row["name"], "name")
        _check_figures(row, FIGURES if row["by"] != "landmarks" else FIGURES[:4])
    for paths in data["members"].values():
        for path in paths:
            error = data["errors"][path]
            if error is not None:
                for name in NORMALISERS:
                    _is(float | int, error[name], path)
    for name, part in data.get("incomplete", {}).items():
        _is(int, part["in_release"], name)
        _is(int, part["images"], name)
    for name in data.get("absent", []):
        _is(str, name, "absent")


def _check_figures(figures: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        optional = name.startswith("nme")
        if not (optional and figures[name] is None):
            _is(float | int, figures[name], name)
        if optional:
            interval = figures.get(f"{name}_interval")
            if interval is not None:
                low, high = interval
                _is(float | int, low, name)
                _is(float | int, high, name)


def _is(kind: Any, value: Any, name: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}")
