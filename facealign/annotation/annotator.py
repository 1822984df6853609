"""Landmarks of photos as the members agree on them: the cascade, and the face mesh where there is one."""

import math
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facealign.annotation.face_mesh import SCALES, FaceMesh
from facealign.annotation.mesh_map import percent_apart, read_mesh_map
from facealign.arrays import FloatArray, Image
from facealign.caffe_files.caffemodel import named
from facealign.concurrency.pools import Where, ordered_map, read_map
from facealign.datasets.detected_boxes import photo_checksum
from facealign.detection.mtcnn import MtcnnSettings
from facealign.errors import FaceAlignError, attempted
from facealign.geometry.roll import landmark_roll
from facealign.inference.face_aligner import Face, FaceAligner
from facealign.inference.looks import upright_landmarks
from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.io.addresses import readers_of
from facealign.io.images import decode_image
from facealign.io.reading import read_bytes

DISAGREE, DOUBTFUL, NO_MESH = "members disagree", "doubtful", "no face mesh"
"""Why a face is left out."""


@dataclass(frozen=True)
class AnnotationSettings:
    """How photos are annotated.

    mesh: an interpreter with mediapipe, None to do without; max_disagreement: from which a face is left out,
    % of the inter-pupil distance; engine, turns: see FaceAligner; min_face: see MtcnnSettings;
    cascade: weights of its first and second stage, None for the released ones.
    """

    mesh: Path | None = None
    max_disagreement: float = 10.0
    engine: str = "onnx"
    turns: str = "auto"
    min_face: float = 40.0
    cascade: tuple[Path, Path] | None = None


@dataclass(frozen=True)
class Photo:
    """A photo to annotate: its file, its name in the output ("lfw/anna_01.jpg"), and its face's box (4,).

    Without a box, faces are looked for.
    """

    path: Path
    name: str
    box: FloatArray | None = None

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class AnnotatedFace:
    """A face of a photo, in 0-based pixels of the photo as it is stored.

    disagreement: mean distance between the members' landmarks, % of the inter-pupil distance, infinite where
    one of them has none; left_out: why its landmarks are not used, or "".
    """

    landmarks: FloatArray
    box: FloatArray
    score: float | None
    confidence: float
    disagreement: float
    left_out: str


@dataclass(frozen=True)
class AnnotatedPhoto:
    """The faces of a photo, or the error for which there are none; stamp: checksum of photo and box."""

    stamp: str
    faces: list[AnnotatedFace] = field(default_factory=list)
    error: str = ""


def stamp_of(photo: Photo) -> str:
    """Checksum of a photo and its given box."""
    return _stamp(photo, attempted(read_bytes, photo.path, "expected an image"))


def _stamp(photo: Photo, data: bytes | FaceAlignError) -> str:
    first = photo_checksum(data)
    return first if photo.box is None else f"{first}-{zlib.crc32(photo.box.tobytes()):08x}"


def stamps_of(photos: Sequence[Photo], where: Where = 1) -> Iterator[str]:
    """`stamp_of` of each photo, in order; where: a scheduler's workers read them, if it is one."""
    return read_map(stamp_of, photos, where, max((readers_of(photo.path) for photo in photos), default=1))


class Annotator:
    """The members, open. Close it, which ends the face mesh's process."""

    def __init__(self, settings: AnnotationSettings) -> None:
        """Raises FaceAlignError when a member cannot be opened."""
        self.settings = settings
        try:
            self._mesh = None if settings.mesh is None else FaceMesh(settings.mesh, read_mesh_map())
        except FaceAlignError as error:
            raise FaceAlignError(f"{error}, or do without: --no-mesh") from error
        engine = settings.engine
        self._weights = settings.cascade or (default_weights(engine), default_cascade(engine))
        first, second = self._weights
        mtcnn = MtcnnSettings(min_face=settings.min_face)
        self._aligner = FaceAligner.open(first, engine, cascade=second, flip=True, mtcnn=mtcnn)

    def close(self) -> None:
        """End what runs apart."""
        if self._mesh is not None:
            self._mesh.close()

    def describe(self) -> dict[str, Any]:
        """The settings and the members, as they are stored: what landmarks depend on besides the photos."""
        cascade = "the released cascade" if self.settings.cascade is None else "a cascade"
        members: list[dict[str, Any]] = [
            {
                "name": f"{cascade}, each stage averaged with the mirrored crop",
                "files": [named(file) for file in self._weights],
            }
        ]
        if self._mesh is not None:
            members.append(
                {
                    "name": f"the face mesh of mediapipe {self._mesh.version}, mapped to the 68 landmarks",
                    "files": self._mesh.described_files(),
                    "crops": list(SCALES),
                }
            )
        compared = "the members" if len(members) > 1 else "the first cascade stage and both"
        return {
            "members": members,
            "landmarks": "mean of the members",
            "disagreement": f"between {compared}: mean distance in % of the inter-pupil distance",
            "max_disagreement": self.settings.max_disagreement,
            "engine": self.settings.engine,
            "turns": self.settings.turns,
            "min_face": self.settings.min_face,
        }

    def annotate(self, photo: Photo) -> AnnotatedPhoto:
        """The faces of a photo. Raises FaceAlignError when the face mesh's process ends."""
        data = attempted(read_bytes, photo.path, "expected an image")
        found = data if isinstance(data, FaceAlignError) else attempted(self._faces_in, photo, data)
        if isinstance(found, FaceAlignError):
            text = str(found)
            named_error = text if str(photo.path) in text else f"{photo.path}: {text}"
            return AnnotatedPhoto(_stamp(photo, data), error=named_error)
        image, faces = found
        return AnnotatedPhoto(_stamp(photo, data), [self._annotated(image, face) for face in faces])

    def _faces_in(self, photo: Photo, data: bytes) -> tuple[Image, list[Face]]:
        # As it is stored: that is what .pts files refer to.
        image = decode_image(data, photo.path, orient=False)
        if photo.box is None:
            return image, self._aligner.detect_and_align(image, self.settings.turns)
        return image, self._aligner.align(image, photo.box[None])

    def _annotated(self, image: Image, face: Face) -> AnnotatedFace:
        roll = landmark_roll(face.landmarks)
        if self._mesh is None:
            first = upright_landmarks(self._aligner.net, image, face.box[None], roll[None])[0]
            landmarks, apart = face.landmarks, float(percent_apart(first, face.landmarks))
        else:
            landmarks, apart = self._with_mesh(image, face, float(roll))
        left_out = ""
        if math.isinf(apart) and self._mesh is not None:
            left_out = NO_MESH
        elif not apart <= self.settings.max_disagreement:
            left_out = DISAGREE
        elif face.doubtful:
            left_out = DOUBTFUL
        return AnnotatedFace(landmarks, face.box, face.score, face.confidence, apart, left_out)

    def _with_mesh(self, image: Image, face: Face, roll: float) -> tuple[FloatArray, float]:
        """Mean landmarks (68, 2) of both members, and their distance, on the first crop on which they agree.

        When they agree on none, those on which they are nearest.
        """
        assert self._mesh is not None
        best, least = face.landmarks, math.inf
        for scale in SCALES:
            for other in self._mesh.landmarks(image, face.box, roll, [scale]):
                mean = (face.landmarks + other) / 2
                apart = 2 * float(percent_apart(other, mean))
                if apart < least:
                    best, least = mean, apart
            if least <= self.settings.max_disagreement:
                break
        return best, least


def annotated(
    photos: Iterable[Photo],
    settings: AnnotationSettings,
    where: Where,
    described: Mapping[str, Any] | None = None,
) -> Generator[AnnotatedPhoto, None, None]:
    """The result of each photo, in order; where: number of worker processes, or a scheduler.

    described: what `Annotator.describe` must say on every worker. Raises FaceAlignError as Annotator does.
    """
    yield from ordered_map(Annotator.annotate, photos, where, _opened_like, (settings, described))


def _opened_like(settings: AnnotationSettings, described: Mapping[str, Any] | None) -> Annotator:
    """An annotator. Raises FaceAlignError when its members are not those described."""
    opened = Annotator(settings)
    ours = opened.describe()
    if described is not None and ours != described:
        opened.close()
        (name, *_) = [name for name in ours if ours[name] != described.get(name)]
        raise FaceAlignError(
            f"a worker has other members than this machine ({name}: {ours[name]}, here "
            f"{described.get(name)}); install the same there"
        )
    return opened
