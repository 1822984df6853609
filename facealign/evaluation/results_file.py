"""Reading and writing evaluations as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facealign.errors import FaceAlignError
from facealign.evaluation.metrics import NORMALISERS
from facealign.geometry.landmarks import N_LANDMARKS
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
        partial.write_text(results_text(data), encoding="utf-8")


def results_text(data: Mapping[str, Any]) -> str:
    """An evaluation as JSON, one line per face."""
    text = json.dumps({name: data[name] for name in data if name != "faces"}, indent=1, allow_nan=False)
    if "faces" in data:
        faces = ",\n".join(
            f"  {json.dumps(name)}: {json.dumps(face, allow_nan=False)}"
            for name, face in data["faces"].items()
        )
        text = f'{text.removesuffix(chr(10) + "}")},\n "faces": {{\n{faces}\n }}\n}}'
    return f"{text}\n"


def read_results(path: Path) -> dict[str, Any]:
    """The evaluation in a file of `write_results`. Raises FaceAlignError when `path` is not one.

    A file of an earlier version has no "faces".
    """
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
        for name, face in data.get("faces", {}).items():
            _check_face(name, face, data["errors"])
    except ValueError as error:
        raise FaceAlignError(f"{path}: a damaged evaluation ({error}); {hint}") from error
    return data


def _check_face(name: str, face: Mapping[str, Any], errors: Mapping[str, Any]) -> None:
    """Raise ValueError when a face is not one of those with errors, or has no size."""
    if name not in errors:
        raise ValueError(f"faces has {name!a}, which errors lacks")
    found = errors[name] is not None
    if (face["predicted"] is not None, face["box"] is not None) != (found, found):
        raise ValueError(f"faces[{name!a}] and errors differ on whether it was found")
    truth = np.array(face["truth"])
    if any(distance(truth) <= 0 for distance in NORMALISERS.values()):
        raise ValueError(f"faces[{name!a}].truth has its eyes in one place")


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
_LANDMARKS = list_of(list_of(number(-1e6, 1e6), 2, 2), N_LANDMARKS, N_LANDMARKS)
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
        "faces": map_of(
            record(
                {
                    "truth": _LANDMARKS,
                    "predicted": maybe(_LANDMARKS),
                    "box": maybe(list_of(number(-1e6, 1e6), 4, 4)),
                }
            )
        ),
    },
)
