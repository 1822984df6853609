"""meta.json, the description of how a data set was made."""

import json
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.reading import read_json

META = "meta.json"


def default_directory(size: tuple[int, int], on_the_fly: bool = False, cascade: bool = False) -> Path:
    """Default folder of a data set.

    size: (height, width) of its crops; on_the_fly: it holds context crops, augmented on the fly; cascade: it
    is for a second cascade stage.
    """
    shape = "" if size == (64, 64) else f"_{size[0]}x{size[1]}"
    return Path(f"data/lmdb{shape}{'_cascade' if cascade else ''}{'_on_the_fly' if on_the_fly else ''}")


def write_meta(directory: Path, meta: dict[str, Any]) -> None:
    """Write meta.json into the folder of a data set."""
    (directory / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def read_meta(directory: Path) -> dict[str, Any]:
    """The contents of meta.json. Raises FaceAlignError when `directory` is not a data set of ours."""
    path = directory / META
    meta = read_json(path, "make the LMDBs with `make lmdb DATA=ROOT`")
    if "spec" not in meta or not _are_parts(meta.get("parts")):
        raise FaceAlignError(f"{path}: not a description of LMDBs; make them again")
    return meta


def _are_parts(parts: object) -> bool:
    return isinstance(parts, dict) and all(
        isinstance(part, dict) and "sha256" in part for part in parts.values()
    )
