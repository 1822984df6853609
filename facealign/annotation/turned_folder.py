"""A folder of turned training faces: which faces, their images and annotations, and its description."""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facealign.annotation.turned_faces import MeshPredictor, TurnedFace, TurnSettings, turned_face
from facealign.arrays import Image
from facealign.concurrency.pools import ordered_map
from facealign.datasets.duplicates import find_copies
from facealign.datasets.pts import write_pts
from facealign.datasets.sample import Sample, is_turned, turned_name
from facealign.datasets.split import split
from facealign.errors import FaceAlignError, attempted
from facealign.geometry.boxes import box_from_landmarks
from facealign.io.atomic import replacing, write_together
from facealign.io.images import read_image
from facealign.io.reading import read_json
from facealign.io.unfinished import settle

DESCRIPTION = "turned.json"
"""Name of the folder's description."""
QUALITY = 95
"""Of written JPEG images."""


@dataclass(frozen=True)
class Turn:
    """A face to turn. number: 1 for its first turn; seed: of its random choices, with the face and number."""

    sample: Sample
    number: int
    settings: TurnSettings
    seed: int

    @property
    def name(self) -> str:
        """Path of the image in the folder."""
        return turned_name(self.sample.relative, self.number)


def trainable(samples: Sequence[Sample], workers: int) -> list[Sample]:
    """The faces that may be trained on, in order: no test, validation or held-out photo, nor a copy of one,
    nor a face that was turned already, as where an earlier output is among the data.

    Turned, a copy would not be recognised by its looks any more. Raises FaceAlignError when none is left.
    """
    photos = [sample for sample in samples if not is_turned(sample.relative)]
    training, _ = split(photos, 0.0, 0)
    kept = {sample.relative for sample in training}
    apart = [sample for sample in photos if sample.relative not in kept]
    copies = {copy.sample.relative for copy in find_copies(training, apart, workers)}
    return [sample for sample in training if sample.relative not in copies]


def turned_faces(
    turns: Sequence[Turn],
    workers: int,
    open_predictor: Callable[..., MeshPredictor],
    arguments: tuple[Any, ...],
) -> Iterator[TurnedFace | str | FaceAlignError]:
    """For each turn, in order: the turned face, why there is none, or the error of its photo.

    open_predictor, arguments: the predictor of each worker process is open_predictor(*arguments).
    """
    return ordered_map(_turned, turns, workers, open_predictor, arguments)


def _turned(predictor: MeshPredictor, turn: Turn) -> TurnedFace | str | FaceAlignError:
    sample = turn.sample
    image = attempted(read_image, sample.path, orient=False)
    if isinstance(image, FaceAlignError):
        return image
    mesh = predictor.mesh(image, box_from_landmarks(sample.points))
    if mesh is None:
        return "no mesh"
    rng = np.random.default_rng([turn.seed, turn.number, zlib.crc32(sample.relative.encode())])
    return turned_face(image, sample.points, mesh, predictor, turn.settings, rng)


def still_to_do(folder: Path, turns: Sequence[Turn]) -> list[Turn]:
    """The turns of which a folder has not both image and annotation, in order.

    A pair that was interrupted on its way to its place is put there first; raises FaceAlignError when it
    cannot be.
    """
    images = [folder / turn.name for turn in turns]
    for place in sorted({image.parent for image in images}):
        settle(place)
    return [
        turn
        for turn, image in zip(turns, images, strict=True)
        if not (image.exists() and image.with_suffix(".pts").exists())
    ]


def write_turned(folder: Path, turn: Turn, face: TurnedFace) -> None:
    """Write image and annotation of a turned face, both or none."""
    image = folder / turn.name
    write_together(
        {
            image: lambda path: path.write_bytes(_encoded(face.image, image)),
            image.with_suffix(".pts"): lambda path: write_pts(path, face.points),
        }
    )


def _encoded(image: Image, path: Path) -> bytes:
    done, data = cv2.imencode(path.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise FaceAlignError(f"{path}: OpenCV writes no images with this suffix")
    return data.tobytes()


def described(settings: TurnSettings, seed: int, predictor: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the folder's description keeps them; predictor: what predicts the meshes."""
    return {
        "seed": seed,
        **{name: list(values) for name, values in asdict(settings).items()},
        "mesh": dict(predictor),
    }


def check_description(folder: Path, settings: dict[str, Any]) -> None:
    """Raise FaceAlignError when a folder's description cannot be read or has other settings."""
    path = folder / DESCRIPTION
    hint = "give another folder"
    if path.exists() and read_json(path, hint).get("settings") != settings:
        raise FaceAlignError(f"{path}: the faces there were turned with other settings; {hint}")


def write_description(folder: Path, settings: dict[str, Any], counts: Mapping[str, int]) -> None:
    """Write the folder's description. counts: faces by what became of them."""
    with replacing(folder / DESCRIPTION) as partial:
        text = json.dumps({"settings": settings, "counts": dict(counts)}, indent=2)
        partial.write_text(text + "\n", encoding="utf-8")
