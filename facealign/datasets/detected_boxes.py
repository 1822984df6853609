"""Boxes of the annotated faces, detected once by MTCNN and kept in one file with the detector's settings."""

import dataclasses
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign.arrays import FloatArray
from facealign.concurrency.pools import Where, ordered_map, read_map
from facealign.datasets.sample import Sample
from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings
from facealign.detection.mtcnn_weights import SHA256
from facealign.errors import FaceAlignError, attempted
from facealign.geometry.boxes import box_from_landmarks, landmark_box, overlap
from facealign.io.addresses import readers_of
from facealign.io.atomic import replacing
from facealign.io.growing import GrowingRecords
from facealign.io.images import decode_image
from facealign.io.reading import read_bytes, read_json
from facealign.io.schema import anything, list_of, map_of, maybe, number, record, string, text

MATCH_OVERLAP = 0.3
"""A detection is matched to the annotated face when its overlap with the landmarks' box exceeds this."""
SOURCES = ("mtcnn", "landmarks", "unreadable")


@dataclass(frozen=True)
class FaceBox:
    """The box of an annotated face.

    box: (4,) x1 y1 x2 y2, 0-based pixels; source: "mtcnn", or, where the box is derived from the landmarks,
    "landmarks" (the detector missed the face) or "unreadable" (the photo cannot be read); score: the
    detector's, 0..1; overlap: with the landmarks' box, 0..1; stamp: checksum of the photo and annotation.
    """

    box: FloatArray
    source: str
    score: float | None
    overlap: float
    stamp: str


def checksum_of(sample: Sample) -> str:
    """Checksum of the sample's photo and of its annotation; without a readable photo, of the latter alone."""
    return _checksum(sample, attempted(read_bytes, sample.path, "expected an image"))


def _checksum(sample: Sample, photo: bytes | FaceAlignError) -> str:
    return f"{photo_checksum(photo)}-{zlib.crc32(sample.points.tobytes()):08x}"


def photo_checksum(photo: bytes | FaceAlignError) -> str:
    """Checksum of a photo's file; that of one that cannot be read says so.

    >>> photo_checksum(b"photo"), photo_checksum(FaceAlignError("a.jpg: no such file"))
    ('14b78418', 'unreadable')
    """
    return "unreadable" if isinstance(photo, FaceAlignError) else f"{zlib.crc32(photo):08x}"


def checksums_of(samples: Sequence[Sample], where: Where = 1) -> Iterator[str]:
    """`checksum_of` of each sample, in order; where: a scheduler's workers read the photos, if it is one."""
    return read_map(
        checksum_of, samples, where, max((readers_of(sample.path) for sample in samples), default=1)
    )


def best_match(candidates: FloatArray, points: FloatArray) -> int | None:
    """Index of the candidate box (n, 4) that overlaps the landmarks' box most; None if none by over 0.3."""
    if len(candidates) == 0:
        return None
    overlaps = overlap(candidates, landmark_box(points))
    best = int(np.argmax(overlaps))
    return best if overlaps[best] > MATCH_OVERLAP else None


def find_box(sample: Sample, detector: MtcnnDetector) -> FaceBox:
    """The detected box of the sample's face. Raises FaceAlignError when the photo cannot be read."""
    photo = read_bytes(sample.path, "expected an image")
    found = detector.detect(decode_image(photo, sample.path, orient=False))
    best = best_match(np.array([face.box for face in found]).reshape(-1, 4), sample.points)
    box = box_from_landmarks(sample.points) if best is None else found[best].box
    return FaceBox(
        box=box,
        source="landmarks" if best is None else "mtcnn",
        score=None if best is None else found[best].score,
        overlap=0.0 if best is None else float(overlap(box, landmark_box(sample.points))),
        stamp=_checksum(sample, photo),
    )


def unreadable(sample: Sample) -> FaceBox:
    """The entry of a photo that cannot be read, so that later runs do not try it again."""
    return FaceBox(box_from_landmarks(sample.points), "unreadable", None, 0.0, checksum_of(sample))


def find_boxes(
    samples: Iterable[Sample], settings: MtcnnSettings, engine: str = "auto", where: Where = 1
) -> Iterator[FaceBox | FaceAlignError]:
    """The box of each sample, or the error of its photo, in order.

    engine: as for MtcnnDetector.open, except that "auto" means "onnx": boxes, and all data made with them,
    are then the same with and without Caffe, and OpenCV keeps to the one thread of each worker; where: number
    of worker processes, or a scheduler.
    """
    engine = "onnx" if engine == "auto" else engine
    return ordered_map(_find, samples, where, MtcnnDetector.open, (engine, settings))


def _find(detector: MtcnnDetector, sample: Sample) -> FaceBox | FaceAlignError:
    return attempted(find_box, sample, detector)


def described(settings: MtcnnSettings) -> dict[str, Any]:
    """The detector's settings as stored in the file: all that the boxes depend on besides the photos."""
    weights = {name: digest[:16] for name, digest in SHA256.items()}
    plain = {**dataclasses.asdict(settings), "thresholds": list(settings.thresholds)}
    return {"detector": "MTCNN", **plain, "match_overlap": MATCH_OVERLAP, "weights": weights}


def write_boxes(path: Path, settings: dict[str, Any], faces: dict[str, FaceBox]) -> None:
    """Write a file of boxes, one line per face; the file appears only when it is complete."""
    lines = [
        f"{json.dumps(name)}: {json.dumps({**dataclasses.asdict(face), 'box': face.box.round(3).tolist()})}"
        for name, face in sorted(faces.items())
    ]
    text = f'{{"settings": {json.dumps(settings)},\n"faces": {{\n' + ",\n".join(lines) + "\n}}\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_boxes(path: Path) -> tuple[dict[str, Any], dict[str, FaceBox]]:
    """Settings, and boxes by `Sample.relative`, from a file of `write_boxes`.

    Raises FaceAlignError when the file is missing or is not a file of boxes.
    """
    data = read_json(path, "make it with `facealign detect-faces`")
    try:
        _FILE(data, "")
        return data["settings"], {name: _face(values, name) for name, values in data["faces"].items()}
    except ValueError as error:
        raise FaceAlignError(
            f"{path}: not a file of boxes ({error}); make it with `facealign detect-faces`"
        ) from error


_FILE = record({"settings": map_of(anything), "faces": map_of(anything)})
_FACE = record(
    {
        "box": list_of(number(-1e6, 1e6), 4, 4),
        "source": text(*SOURCES),
        "score": maybe(number(0, 1)),
        "overlap": number(0, 1),
        "stamp": string,
    },
    others=False,
)


def _face(values: Any, name: str) -> FaceBox:
    """A box from a file. Raises ValueError when it is none."""
    _FACE(values, ascii(name))
    box = np.array(values["box"], dtype=np.float64)
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"{name!a}.box is {values['box']}, expected x1 < x2 and y1 < y2")
    return FaceBox(**{**values, "box": box})


class BoxesSoFar(GrowingRecords[FaceBox]):
    """File beside a file of boxes that grows while these are found, so that a kill loses none.

    Its first line holds the detector's settings, each other one a name and its box, as they were found.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        """path: of the file of boxes. Boxes found with other settings are thrown away when one is added."""
        super().__init__(path.with_name(f"{path.name}.found"), json.dumps(settings), _face, _values_of)


def _values_of(face: FaceBox) -> dict[str, Any]:
    return {**dataclasses.asdict(face), "box": face.box.tolist()}


def boxes_for(
    samples: Sequence[Sample], faces: Mapping[str, FaceBox], file: str, where: Where = 1
) -> list[FaceBox]:
    """The box of each sample; file: where they come from; where: as for `find_boxes`.

    Raises FaceAlignError, naming the photo, when one is missing or out of date.
    """
    result = []
    for sample, checksum in zip(samples, checksums_of(samples, where), strict=True):
        face = faces.get(sample.relative)
        if face is None or face.stamp != checksum:
            state = "no box" if face is None else "the box of another image or annotation"
            raise FaceAlignError(
                f"{sample.path}: {state} in {file}; run `facealign detect-faces` on this data"
            )
        result.append(face)
    return result
