"""annotations.json, which describes a folder of predicted landmarks, and its growth while they are made."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.growing import GrowingRecords
from facealign.io.reading import read_json
from facealign.io.schema import WEIGHTS, anything, list_of, map_of, maybe, number, record, string, text

ANNOTATIONS = "annotations.json"
"""Name of the description in the folder."""
HINT = "make it with `facealign annotate`"
Record = Mapping[str, Any]
"""A photo's entry: stamp, error, and faces with file, box, score, confidence, disagreement and left_out."""
_MEMBER = record({"name": text(), "files": list_of(WEIGHTS)})
_DESCRIPTION = record({"settings": record({"members": list_of(_MEMBER)})}, {"photos": map_of(anything)})
_FACE = record(
    {
        "file": string,
        "box": list_of(number(), 4, 4),
        "score": maybe(number(0, 1)),
        "confidence": number(0, 1),
        "disagreement": maybe(number(0)),
        "left_out": string,
    }
)
_PHOTO = record({"stamp": string, "error": string, "faces": list_of(_FACE)})


def pts_names(photo: str, faces: int) -> list[str]:
    """Names of the .pts files of a photo's faces: NAME.pts, or of several NAME_1.pts, NAME_2.pts, ...

    >>> pts_names("lfw/anna.jpg", 1), pts_names("lfw/anna.jpg", 2)
    (['lfw/anna.pts'], ['lfw/anna_1.pts', 'lfw/anna_2.pts'])
    """
    path = PurePosixPath(photo)
    stems = [path.stem] if faces == 1 else [f"{path.stem}_{number}" for number in range(1, faces + 1)]
    return [str(path.with_name(f"{stem}.pts")) for stem in stems]


def read_description(folder: Path) -> tuple[dict[str, Any], dict[str, Record]]:
    """Settings, with the members, and each photo's entry, from the description of a folder.

    Raises FaceAlignError when it cannot be read or is none.
    """
    path = folder / ANNOTATIONS
    values = read_json(path, HINT)
    try:
        _DESCRIPTION(values, "")
        photos = {name: _photo(entry, name) for name, entry in values.get("photos", {}).items()}
    except ValueError as error:
        raise FaceAlignError(f"{path}: not a description of predicted landmarks ({error}); {HINT}") from error
    return values["settings"], photos


def write_description(folder: Path, settings: Mapping[str, Any], photos: Mapping[str, Record]) -> None:
    """Write the description, a line for each photo; it appears only when it is complete."""
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(photos.items())]
    listed = ",\n".join(lines)
    with replacing(folder / ANNOTATIONS) as partial:
        partial.write_text(
            f'{{"settings": {json.dumps(settings)},\n"photos": {{\n{listed}\n}}}}\n', encoding="utf-8"
        )


def photos_so_far(folder: Path, settings: Mapping[str, Any]) -> GrowingRecords[Record]:
    """The file beside the description that grows while photos are annotated with these settings."""
    return GrowingRecords(_growing(folder), json.dumps(settings), _photo, lambda entry: entry)


def is_unfinished(folder: Path) -> bool:
    """Whether the landmarks of some photos of the folder have still to be made, or described."""
    return _growing(folder).exists()


def _growing(folder: Path) -> Path:
    return folder / f"{ANNOTATIONS}.found"


def _photo(values: Any, name: str) -> Record:
    _PHOTO(values, ascii(name))
    entry: Record = values
    return entry
