"""An evaluation as a JSON file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing


def write_results(path: Path, data: Mapping[str, Any]) -> None:
    """Write an evaluation as JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_results(path: Path) -> dict[str, Any]:
    """Read what `write_results` wrote. Raises FaceAlignError when `path` is no evaluation."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; facealign evaluate writes it") from error
    except (OSError, ValueError) as error:
        raise FaceAlignError(f"{path}: not an evaluation ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("subsets"), dict):
        raise FaceAlignError(f"{path}: not an evaluation: it has no `subsets`; facealign evaluate writes it")
    return data
