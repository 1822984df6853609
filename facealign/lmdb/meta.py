"""meta.json: how a data set was made."""

import json
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.reading import read_json

META = "meta.json"


def default_directory(size: tuple[int, int], on_the_fly: bool = False, cascade: bool = False) -> Path:
    """Where a data set lives if nobody says: crops of (height, width), or loose ones, to be varied.

    cascade: crops for the second network of a cascade.
    """
    shape = "" if size == (64, 64) else f"_{size[0]}x{size[1]}"
    return Path(f"data/lmdb{shape}{'_cascade' if cascade else ''}{'_on_the_fly' if on_the_fly else ''}")


def write_meta(directory: Path, meta: dict[str, Any]) -> None:
    """Write how the data set was made."""
    (directory / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def read_meta(directory: Path) -> dict[str, Any]:
    """What `write_meta` wrote. Raises FaceAlignError when `directory` is no data set of ours."""
    path = directory / META
    meta = read_json(path, "make the LMDBs with `make lmdb DATA=ROOT`")
    if "spec" not in meta or not _are_parts(meta.get("parts")):
        raise FaceAlignError(f"{path}: not a description of LMDBs; make them again")
    return meta


def _are_parts(parts: object) -> bool:
    return isinstance(parts, dict) and all(
        isinstance(part, dict) and "sha256" in part for part in parts.values()
    )
