"""LMDB of context crops and landmarks, one record per face: the input of Caffe's AugmentedFaceData layer.

A part ("train") of a data set is one folder, PART_faces. A key is the face's number, a space and the folder
of its photo ("000000012 helen/trainset"). A value is a Datum with the crop, channels first, and 140 numbers:
the upper left and lower right corners, x1 y1 x2 y2, of the square that the unaugmented crop shows, then the
landmarks, 68 x and 68 y, in 0-based pixels of the context crop. For a second cascade stage the square is
rotated as the face is.
"""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.caffe_files.proto import caffe_pb2
from facealign.concurrency.pools import itself, ordered_map
from facealign.crops.aligned import aligned_square, upright_box
from facealign.crops.context_crop import ContextCrop, context_crop, most_bytes
from facealign.crops.model_spec import ModelSpec
from facealign.errors import FaceAlignError, attempted
from facealign.geometry.boxes import square
from facealign.geometry.landmarks import N_LANDMARKS
from facealign.io.images import read_image
from facealign.lmdb.datum import key_of, shown_key
from facealign.lmdb.environment import open_lmdb, open_new_lmdb
from facealign.lmdb.jobs import Job, PartRequest, SampleSettings, UsedFaces, Written
from facealign.lmdb.pairs import PAGE

FARTHEST = 1e6
"""Coordinates of a record are nearer to 0 than this, pixels."""
FACES_A_COMMIT = 64
"""Number of faces in one LMDB transaction."""


@dataclass(frozen=True)
class FaceRecord:
    """A record of the LMDB.

    pixels: BGR (h, w, 3); square: (4,), upper left and lower right corners of the square that the unaugmented
    crop shows; points: (68, 2); both in 0-based pixels of the context crop.
    """

    pixels: Image
    square: FloatArray
    points: FloatArray


def encode_face(cut: ContextCrop, spec: ModelSpec) -> bytes:
    """A context crop as the serialized Datum of a record, for the network of `spec`."""
    pixels = cut.pixels[..., :3]
    if spec.is_second_stage:
        shown = aligned_square(cut.points, spec)
    else:
        shown = square(cut.box, spec.box_scale, spec.box_shift)
    height, width = pixels.shape[:2]
    return caffe_pb2.Datum(
        channels=3,
        height=height,
        width=width,
        data=np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes(),
        float_data=[*shown.tolist(), *cut.points.T.ravel().tolist()],
    ).SerializeToString()


def decode_face(data: bytes) -> FaceRecord:
    """The face of a serialized record. Raises ValueError when `data` is not such a record."""
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(data)
    except Exception as error:
        raise ValueError("not a Datum") from error
    shape, numbers = (3, datum.height, datum.width), np.array(datum.float_data, dtype=np.float64)
    if datum.channels != 3 or not datum.data or min(shape) < 1 or len(datum.data) != math.prod(shape):
        raise ValueError("not an image of 3 channels")
    empty = numbers[:2].tolist() == numbers[2:4].tolist()
    if numbers.size != 4 + 2 * N_LANDMARKS or not (np.abs(numbers) < FARTHEST).all() or empty:
        raise ValueError(f"not a square and {N_LANDMARKS} landmarks")
    pixels = np.frombuffer(datum.data, np.uint8).reshape(shape).transpose(1, 2, 0)
    return FaceRecord(pixels, numbers[:4], numbers[4:].reshape(2, -1).T)


def write_faces(request: PartRequest) -> Written:
    """Write the context crop of every face, in order, into the LMDB of a part.

    For a second cascade stage they surround the crops by the annotated landmarks; the layer's augmentation
    stands for the errors of the first stage.
    Raises FaceAlignError when no photo can be read, or the disk is full.
    """
    settings, faces = request.settings, UsedFaces(request)
    total = hashlib.sha256()

    def records() -> Iterator[tuple[bytes, bytes]]:
        crops = ordered_map(_cut, request.jobs, request.where, itself, (settings,))
        for number, (sample, crop) in enumerate(faces.of(crops, request.part)):
            key = key_of(number) + f" {sample.subset}".encode()
            value = encode_face(crop, settings.spec)
            total.update(key)
            total.update(value)
            yield key, value

    room = 2 * sum(face_record_bytes(job, settings) for job in request.jobs) + (1 << 20)
    with open_new_lmdb(request.directory / f"{request.part}_faces", room) as environment:
        waiting = records()
        more = True
        while more:
            more = False
            with environment.begin(write=True) as transaction:
                for _, (key, value) in zip(range(FACES_A_COMMIT), waiting, strict=False):
                    transaction.put(key, value, append=True)
                    more = True
    return faces.written(len(faces.samples), total.hexdigest())


def _cut(settings: SampleSettings, job: Job) -> ContextCrop | FaceAlignError:
    """The context crop of a face, or the error of its photo."""
    image = attempted(read_image, job.sample.path, orient=False)
    if isinstance(image, FaceAlignError):
        return image
    return context_crop(image, job.sample.points, *_shown(job, settings), settings.augmentation)


def _shown(job: Job, settings: SampleSettings) -> tuple[FloatArray, ModelSpec]:
    """The box around which a face is cut, and the description of the crop that shows it."""
    second = settings.second
    if second is None:
        return job.box, settings.spec
    spec = dataclasses.replace(second, crop="square", mean_shape=(), box_scale=1.0, box_shift=(0.0, 0.0))
    return upright_box(job.sample.points, second), spec


def face_record_bytes(job: Job, settings: SampleSettings) -> int:
    """Upper bound, in bytes, of the size on disk of a face's record."""
    return most_bytes(*_shown(job, settings), settings.augmentation) + 2 * PAGE


def read_faces(directory: Path, part: str) -> Iterator[tuple[str, FaceRecord]]:
    """(folder, face) of each record of a part, in order.

    Raises FaceAlignError when the database is missing or damaged, naming the face that is.
    """
    path = directory / f"{part}_faces"
    with (
        open_lmdb(path, "make lmdb ON_THE_FLY=1 DATA=ROOT") as environment,
        environment.begin() as transaction,
    ):
        for key, value in transaction.cursor():
            name = shown_key(key)
            try:
                yield name.partition(" ")[2], decode_face(value)
            except ValueError as error:
                raise FaceAlignError(f"{path}: the face {name}: {error}; make it again") from error


def check_faces(directory: Path, part: str) -> dict[str, int]:
    """Number of faces by folder, after reading every record of a part: Caffe would exit at a damaged one.

    Raises FaceAlignError as `read_faces`, and when there is no face.
    """
    counts = Counter(subset for subset, _ in read_faces(directory, part))
    if not counts:
        raise FaceAlignError(f"{directory}: its part {part!r} holds no face; make it again")
    return dict(sorted(counts.items()))
