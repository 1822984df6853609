"""Reading and writing evaluations as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.reading import read_json


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
    return data
