"""The faces of an image: box, score, 68 landmarks and head pose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.arrays import FloatArray, Image, check_image
from facealign.crops.model_spec import ModelSpec
from facealign.crops.published import published_crop, published_landmarks
from facealign.detection.mtcnn import Detection, MtcnnDetector, MtcnnSettings
from facealign.detection.quarter_turns import quarter_turns
from facealign.engines.engine import Engine
from facealign.engines.opening import open_engine
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import area, box_from_landmarks, intersection, overlap
from facealign.geometry.head_pose import Pose, head_pose
from facealign.geometry.landmarks import N_LANDMARKS
from facealign.geometry.roll import five_point_roll
from facealign.inference.confidence import DOUBTFUL, confidence
from facealign.inference.landmark_network import LandmarkNetwork, SecondStageNetwork
from facealign.inference.looks import disagreements, look, transforms_by_landmarks, upright_landmarks
from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.io.images import read_image

TURNS = ("auto", "always", "never")
"""When faces are looked for in the image turned by quarters."""
FARTHEST = 1e6
"""Coordinates of a box are nearer to 0 than this, pixels."""
SAME_FACE = 0.3
"""Overlap (intersection over union) from which two boxes are of one face."""


@dataclass(frozen=True)
class Face:
    """A face of an image. Coordinates are 0-based pixels of that image.

    box: (4,) x1 y1 x2 y2, as detected or given; score: the detector's, 0..1, or None for a given box;
    landmarks: (68, 2); pose: None when the landmarks allow no solution; confidence: probability, 0..1, that
    the landmarks are right, see `confidence.confidence`.

    >>> face = Face(np.array([10.0, 20, 110, 140]), 0.99, np.zeros((68, 2)), None, confidence=0.2)
    >>> face.landmarks.shape, face.doubtful
    ((68, 2), True)
    """

    box: FloatArray
    score: float | None
    landmarks: FloatArray
    pose: Pose | None
    confidence: float

    @property
    def doubtful(self) -> bool:
        """Whether the landmarks are more likely wrong than right."""
        return self.confidence < DOUBTFUL


class FaceAligner:
    """Finds faces with a detector, and their landmarks with one network or a cascade of two."""

    def __init__(
        self,
        detector: MtcnnDetector | None,
        engine: Engine,
        spec: ModelSpec,
        flip: bool = False,
        second: SecondStageNetwork | None = None,
    ) -> None:
        """detector: None to align given boxes only; engine: of the landmark network that `spec` describes;
        flip: average each prediction with that on the mirrored crop, at twice the time; second: second
        cascade stage, which refines the landmarks.

        Raises FaceAlignError when the output that `spec` describes is not the 68-point markup, its crop has
        another size than the input, or it is that of a second cascade stage.
        """
        self.net = LandmarkNetwork(engine, spec, flip)
        if spec.is_second_stage:
            raise FaceAlignError(
                f"{spec.name}: is a second cascade stage, which needs the landmarks of a first; "
                "give it as the cascade"
            )
        if spec.crop == "published" and spec.size != (64, 64):
            raise FaceAlignError(
                f"{spec.name}: takes {spec.input_height}x{spec.input_width} pixels, but the "
                "published crop is 64x64"
            )
        self.detector = detector
        self.engine = engine
        self.spec = spec
        self.second = second

    @classmethod
    def open(
        cls,
        weights: str | Path | None = None,
        engine: str = "auto",
        detector: bool = True,
        published: bool = False,
        mtcnn: MtcnnSettings | None = None,
        flip: bool = False,
        cascade: str | Path | bool | None = None,
    ) -> "FaceAligner":
        """An aligner with the given weights (`.caffemodel` or `.onnx`), by default the released ones.

        engine: one of `opening.KINDS`; detector: also open MTCNN, with the settings `mtcnn`;
        published: crop by the reference demo's arithmetic, for weights of its author, which need no `.json`;
        flip: let each network average its prediction with that on the mirrored crop; cascade: weights of a
        second cascade stage, or True for the released ones.
        Raises FaceAlignError on missing or invalid files, and on what is no path.

        >>> FaceAligner.open(engine="onnx", cascade=True).spec.name
        'mobilenet_v2 stage3'
        """
        _check_path(weights, "weights")
        if not isinstance(cascade, bool):
            _check_path(cascade, "cascade")
        weights = default_weights(engine) if weights is None else Path(weights)
        network, spec = open_engine(engine, weights, published)
        second = None
        if cascade:
            cascade = default_cascade(engine) if cascade is True else Path(cascade)
            parts = open_engine(engine, cascade)
            try:
                second = SecondStageNetwork(*parts, flip)
            except FaceAlignError as error:
                raise FaceAlignError(f"{cascade}: {error}") from error
        finder = MtcnnDetector.open(engine, mtcnn) if detector else None
        try:
            return cls(finder, network, spec, flip, second)
        except FaceAlignError as error:
            raise FaceAlignError(f"{weights}: {error}") from error

    @property
    def cascade_mismatch(self) -> str | None:
        """Why the second cascade stage does not match the first one, or None if it does."""
        if self.second is None or self.second.spec.after in ("", self.spec.name):
            return None
        return (
            f"{self.second.spec.name} was trained on the errors of {self.second.spec.after}, not of "
            f"{self.spec.name}: expect larger errors"
        )

    def detect_and_align(self, image: Image | str | Path, turns: str = "auto") -> list[Face]:
        """The faces of an image, with landmarks and pose; best score first.

        image: BGR uint8 (h, w, 3), or the path of an image file; turns: search the image turned by quarters
        too: "never", "always", or "auto": when no face is found upright, or one is doubtful.
        Raises FaceAlignError when the aligner was opened without a detector, or the file cannot be read.

        >>> from skimage.data import astronaut
        >>> (face,) = FaceAligner.open().detect_and_align(astronaut()[:, :, ::-1])
        >>> face.landmarks.shape, face.score > 0.99, face.confidence > 0.9, abs(face.pose.yaw) < 20
        ((68, 2), True, True, True)
        """
        if self.detector is None:
            raise FaceAlignError(
                "this aligner has no face detector: give boxes, or open it with detector=True"
            )
        if turns not in TURNS:
            raise ValueError(f"turns is {turns!r}, expected one of {TURNS}")
        image = opened(image)
        faces = self._aligned(image, self.detector.detect(image))
        if turns == "always" or (turns == "auto" and (not faces or any(face.doubtful for face in faces))):
            turned = self._aligned(image, list(quarter_turns(self.detector.detect, image)))
            faces = _best([*faces, *(face for face in turned if not face.doubtful)])
        return faces

    def _aligned(self, image: Image, found: Sequence[Detection]) -> list[Face]:
        if not found:
            return []
        rolls = five_point_roll(np.stack([one.points for one in found]))
        return self.align(image, [one.box for one in found], [float(one.score) for one in found], rolls)

    def align(
        self,
        image: Image | str | Path,
        boxes: Sequence[FloatArray | Sequence[float]] | FloatArray,
        scores: Sequence[float] | None = None,
        rolls: FloatArray | None = None,
    ) -> list[Face]:
        """The faces in given boxes, with landmarks and pose.

        image: BGR uint8 (h, w, 3), or the path of an image file; boxes: (n, 4) x1 y1 x2 y2, 0-based pixels;
        scores: (n,), of the boxes, if known; rolls: (n,) of the faces, if known: degrees, positive clockwise.
        The boxes are expected as MTCNN gives them: from above the brows to below the mouth. Without rolls,
        quarter turns are tried for a face that is doubtful.
        Raises FaceAlignError on a box without area, with a number that is not finite, or off the image.

        >>> from skimage.data import astronaut
        >>> aligner = FaceAligner.open(detector=False)
        >>> (face,) = aligner.align(astronaut()[:, :, ::-1], [[179, 63, 265, 173]])
        >>> bool((abs(face.landmarks[30] - [225, 128]) < 5).all())  # the tip of the nose
        True
        """
        image, boxes = opened(image), box_array(boxes)
        if scores is not None and len(scores) != len(boxes):
            raise FaceAlignError(f"{len(scores)} scores for {len(boxes)} boxes")
        if rolls is not None and np.shape(rolls) != (len(boxes),):
            raise FaceAlignError(f"rolls of shape {np.shape(rolls)} for {len(boxes)} boxes")
        if len(boxes) == 0:
            return []
        faces = self._faces(image, boxes, scores, rolls)
        if rolls is None and self.spec.crop != "published":
            # Nothing is known of the roll: where the upright look failed, quarter turns may not.
            doubtful = [index for index, face in enumerate(faces) if face.doubtful]
            for roll in (90.0, 180.0, -90.0) if doubtful else ():
                given = None if scores is None else [scores[index] for index in doubtful]
                turned = self._faces(image, boxes[doubtful], given, np.full(len(doubtful), roll))
                for index, face in zip(doubtful, turned, strict=True):
                    if face.confidence > max(faces[index].confidence, DOUBTFUL):
                        faces[index] = face
        return faces

    def _faces(
        self, image: Image, boxes: FloatArray, scores: Sequence[float] | None, rolls: FloatArray | None
    ) -> list[Face]:
        first, landmarks = self._stages(image, boxes, rolls)
        return self._described(image, first, landmarks, boxes, scores)

    def _described(
        self,
        image: Image,
        first: FloatArray,
        landmarks: FloatArray,
        boxes: FloatArray,
        scores: Sequence[float] | None = None,
    ) -> list[Face]:
        """Faces with landmarks (n, 68, 2) in boxes (n, 4); first: (n, 68, 2), by the first cascade stage."""
        differences = disagreements(self.net, image, first)
        return [
            Face(
                box=box,
                score=None if scores is None else scores[index],
                landmarks=landmarks[index],
                pose=head_pose(landmarks[index]),
                confidence=confidence(float(differences[index])),
            )
            for index, box in enumerate(boxes)
        ]

    def follow(self, image: Image | str | Path, landmarks: FloatArray) -> list[Face]:
        """The faces that had `landmarks` (n, 68, 2) a moment ago, as in the frame before; scores are None.

        Each is cropped upright by these landmarks instead of a detector's box, and its box is the one that
        the new landmarks imply. Raises FaceAlignError as `align` does.

        >>> from skimage.data import astronaut
        >>> image = astronaut()[:, :, ::-1]
        >>> aligner = FaceAligner.open(detector=False)
        >>> (face,) = aligner.align(image, [[179, 63, 265, 173]])
        >>> (moved,) = aligner.follow(np.roll(image, 5, axis=1), face.landmarks[None])
        >>> (moved.landmarks - face.landmarks).mean(axis=0).round() + 0.0
        array([5., 0.])
        """
        image = opened(image)
        if len(landmarks) == 0:
            return []
        boxes = box_from_landmarks(landmarks)
        check_boxes(boxes, image)
        if self.spec.crop == "published":
            first = self._published(image, boxes)
        else:
            first = look(self.net, image, transforms_by_landmarks(landmarks, self.spec))
        last = self._refined(image, first)
        return self._described(image, first, last, box_from_landmarks(last))

    def landmarks_in(self, image: Image, boxes: FloatArray, rolls: FloatArray | None = None) -> FloatArray:
        """Landmarks (n, 68, 2) of the faces in boxes (n, 4), in one batch; 0-based pixels of the image.

        rolls: as `align` has them. Raises FaceAlignError as it does.
        """
        boxes = box_array(boxes)
        if len(boxes) == 0:
            return np.empty((0, N_LANDMARKS, 2))
        _, landmarks = self._stages(image, boxes, rolls)
        return landmarks

    def _stages(
        self, image: Image, boxes: FloatArray, rolls: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Landmarks (n, 68, 2) by the first cascade stage, and by the last: the same if there is one only."""
        first = self._first(image, boxes, rolls)
        return first, self._refined(image, first)

    def _refined(self, image: Image, first: FloatArray) -> FloatArray:
        """Landmarks (n, 68, 2) by the last cascade stage."""
        return first if self.second is None else self.second.refine(image, first)

    def _first(self, image: Image, boxes: FloatArray, rolls: FloatArray | None) -> FloatArray:
        """Landmarks (n, 68, 2) by the first cascade stage."""
        check_boxes(boxes, image)
        if self.spec.crop == "published":
            return self._published(image, boxes)
        return upright_landmarks(self.net, image, boxes, np.zeros(len(boxes)) if rolls is None else rolls)

    def _published(self, image: Image, boxes: FloatArray) -> FloatArray:
        """Landmarks predicted on the reference demo's crops."""
        crops, places = zip(*[published_crop(image, box + 1.0) for box in boxes], strict=True)
        answers = zip(self.net(crops), places, strict=True)
        return np.stack([published_landmarks(values, place) for values, place in answers])


def _check_path(value: object, name: str) -> None:
    """Raises FaceAlignError unless `value` is a path, or None."""
    if value is not None and not isinstance(value, str | Path):
        raise FaceAlignError(f"{name} of type {type(value).__name__}: expected the path of a file, or None")


def opened(image: Image | str | Path) -> Image:
    """An image (h, w, 3) uint8 as it is, or read from its file. Raises FaceAlignError on anything else."""
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if not isinstance(image, np.ndarray):
        raise FaceAlignError(f"an image of type {type(image).__name__}: expected a path, or uint8 (h, w, 3)")
    return check_image(image)


def box_array(boxes: Sequence[FloatArray | Sequence[float]] | FloatArray) -> FloatArray:
    """Boxes as an array (n, 4). Raises FaceAlignError on another shape, and on what are no numbers."""
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FaceAlignError(f"boxes: {error}; expected n boxes of four numbers, x1 y1 x2 y2") from error
    if array.size == 0:
        return np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise FaceAlignError(f"boxes of shape {array.shape}: expected (n, 4), x1 y1 x2 y2 each")
    return array


def check_boxes(boxes: FloatArray, image: Image) -> None:
    """Raises FaceAlignError when a box (4,) of boxes (n, 4) is none, or has no part in the image."""
    height, width = image.shape[:2]
    for box in boxes:
        if not (np.abs(box) < FARTHEST).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise FaceAlignError(
                f"box {box.tolist()}: expected x1 < x2 and y1 < y2, within {FARTHEST:g} pixels"
            )
        if box[0] > width - 0.5 or box[1] > height - 0.5 or box[2] < -0.5 or box[3] < -0.5:
            raise FaceAlignError(f"box {box.tolist()}: off the image, which has {width}x{height} pixels")


def _same(box: FloatArray, other: FloatArray) -> bool:
    """Whether two boxes (4,) are of one face: they overlap, or one is largely within the other."""
    smaller = min(float(area(box)), float(area(other)))
    return float(overlap(box, other)) >= SAME_FACE or float(intersection(box, other)) >= smaller / 2


def _best(faces: Sequence[Face]) -> list[Face]:
    """Of faces whose boxes overlap, the one with the most confidence; best score first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -(face.score or 0.0))
