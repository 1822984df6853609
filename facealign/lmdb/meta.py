"""meta.json, the description of how a data set was made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.errors import FaceAlignError
from facealign.io.reading import read_json
from facealign.io.schema import (
    WEIGHTS,
    anything,
    either,
    list_of,
    map_of,
    maybe,
    number,
    record,
    string,
    text,
    truth,
    whole,
)
from facealign.io.unfinished import settle

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


@dataclass(frozen=True)
class DataSetMeta:
    """How a data set was made, as far as others build on it.

    spec: of the network that its crops are for; digests: part -> SHA-256 of its samples; augmentation: of the
    samples, or what context crops have room for, where it is stated; validation_faces: `Sample.relative` of
    those set apart; values: all that meta.json holds.
    """

    spec: ModelSpec
    digests: Mapping[str, str]
    augmentation: Augmentation | None
    validation_faces: frozenset[str]
    values: Mapping[str, Any]


def read_meta(directory: Path) -> DataSetMeta:
    """The contents of meta.json. Raises FaceAlignError when `directory` is not a data set of ours."""
    path = directory / META
    if not directory.exists():
        settle(directory.parent)  # a run that was killed may have left it unnamed
    values = read_json(path, "make the LMDBs with `make lmdb DATA=ROOT`")
    try:
        _META(values, "")
        return DataSetMeta(
            spec=ModelSpec.from_json(json.dumps(values["spec"]), str(path)),
            digests={name: part["sha256"] for name, part in values["parts"].items()},
            augmentation=_augmentation(values.get("augmentation")),
            validation_faces=frozenset(values.get("validation_faces", ())),
            values=values,
        )
    except ValueError as error:
        raise FaceAlignError(f"{path}: not a description of LMDBs ({error}); make them again") from error


_RANGE = list_of(number(), 2, 2)
_AUGMENTATION = record(
    {},
    {
        "flip": number(),
        "shift": number(),
        "scale_range": _RANGE,
        "rotate_range": _RANGE,
        "noise_std": _RANGE,
    },
    others=False,
)
_BY_POINTS = record(
    {
        "points": record(
            {"folder": string, "moved": whole(0), "kept": whole(0)},
            {"description": WEIGHTS, "members": list_of(text())},
        ),
        "share": number(0, 1),
    }
)
_META = record(
    {
        "spec": map_of(anything),
        "parts": map_of(record({"sha256": text()}, {"samples": whole(0), "faces": map_of(whole(0))})),
    },
    {
        "augmentation": maybe(_AUGMENTATION),
        "validation_faces": list_of(string),
        "after": WEIGHTS,
        "teacher": either(_BY_POINTS, record({"networks": list_of(WEIGHTS), "share": number(0, 1)})),
        "seed": whole(0, 2**64),
        "fresh": maybe(either(truth, map_of(anything))),
        "copies": whole(0),
        "copies_of": map_of(whole(0)),
        "source_sha256": text(),
    },
)


def _augmentation(values: Mapping[str, Any] | None) -> Augmentation | None:
    if values is None:
        return None
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return Augmentation(**given)
