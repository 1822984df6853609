"""annotations.json, which describes a folder of predicted landmarks: its name, and what others read of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.reading import read_json
from facealign.io.schema import WEIGHTS, list_of, record, text

ANNOTATIONS = "annotations.json"
"""Name of the description in the folder."""
MEMBER = record({"name": text(), "files": list_of(WEIGHTS)})
_DESCRIPTION = record({"settings": record({"members": list_of(MEMBER)})})


def read_members(folder: Path) -> list[Mapping[str, Any]]:
    """The predictors whose landmarks a folder holds, as its description names them: name and files.

    Raises FaceAlignError when the description cannot be read or is none.
    """
    path = folder / ANNOTATIONS
    values = read_json(path, "make it with `facealign annotate`")
    try:
        _DESCRIPTION(values, "")
    except ValueError as error:
        raise FaceAlignError(
            f"{path}: not a description of predicted landmarks ({error}); make it with `facealign annotate`"
        ) from error
    members: list[Mapping[str, Any]] = values["settings"]["members"]
    return members
