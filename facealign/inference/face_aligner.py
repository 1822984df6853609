"""The faces of an image: box, score, 68 landmarks and head pose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crops.model_spec import ModelSpec
from facealign.crops.published import published_crop, published_landmarks
from facealign.crops.square import crop_face
from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings
from facealign.engines.engine import Engine
from facealign.engines.opening import open_engine
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply as map_points
from facealign.geometry.affine import invert
from facealign.geometry.head_pose import Pose, head_pose
from facealign.geometry.landmarks import N_LANDMARKS
from facealign.inference.landmark_network import LandmarkNetwork, SecondStageNetwork
from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.io.images import read_image


@dataclass(frozen=True)
class Face:
    """A face of an image. Coordinates are 0-based pixels of that image.

    box: (4,) x1 y1 x2 y2, as detected or given; score: the detector's, 0..1, or None for a given box;
    landmarks: (68, 2); pose: None when the landmarks allow no solution.

    >>> box = np.array([10.0, 20, 110, 140])
    >>> Face(box, 0.99, np.zeros((68, 2)), None).landmarks.shape
    (68, 2)
    """

    box: FloatArray
    score: float | None
    landmarks: FloatArray
    pose: Pose | None


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

        engine: "auto", "caffe" or "onnx"; detector: also open MTCNN, with the settings `mtcnn`;
        published: crop by the reference demo's arithmetic, for weights of its author, which need no `.json`;
        flip: let each network average its prediction with that on the mirrored crop; cascade: weights of a
        second cascade stage, or True for the released ones.
        Raises FaceAlignError on missing or invalid files.

        >>> FaceAligner.open(engine="onnx", cascade=True).spec.name
        'mobilenet_v2 stage3'
        """
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

    def detect_and_align(self, image: Image | str | Path) -> list[Face]:
        """The faces of an image, with landmarks and pose; best score first.

        image: BGR uint8 (h, w, 3), or the path of an image file.
        Raises FaceAlignError when the aligner was opened without a detector, or the file cannot be read.

        >>> from skimage.data import astronaut
        >>> (face,) = FaceAligner.open().detect_and_align(astronaut()[:, :, ::-1])
        >>> face.landmarks.shape, face.score > 0.99, abs(face.pose.yaw) < 20
        ((68, 2), True, True)
        """
        if self.detector is None:
            raise FaceAlignError(
                "this aligner has no face detector: give boxes, or open it with detector=True"
            )
        image = read_image(Path(image)) if isinstance(image, str | Path) else image
        found = self.detector.detect(image)
        return self.align(image, [face.box for face in found], [float(face.score) for face in found])

    def align(
        self,
        image: Image | str | Path,
        boxes: Sequence[FloatArray | Sequence[float]] | FloatArray,
        scores: Sequence[float] | None = None,
    ) -> list[Face]:
        """The faces in given boxes, with landmarks and pose.

        image: BGR uint8 (h, w, 3), or the path of an image file; boxes: (n, 4) x1 y1 x2 y2, 0-based pixels;
        scores: (n,), of the boxes, if known.
        Raises FaceAlignError on a box without area or with a number that is not finite.

        >>> from skimage.data import astronaut
        >>> aligner = FaceAligner.open(detector=False)
        >>> (face,) = aligner.align(astronaut()[:, :, ::-1], [[174, 67, 273, 197]])
        >>> face.landmarks[30].round(-1)  # the tip of the nose, to ten pixels
        array([220., 130.])
        """
        image = read_image(Path(image)) if isinstance(image, str | Path) else image
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        landmarks = self.landmarks_in(image, boxes)
        return [
            Face(
                box=box,
                score=None if scores is None else scores[index],
                landmarks=landmarks[index],
                pose=head_pose(landmarks[index]),
            )
            for index, box in enumerate(boxes)
        ]

    def landmarks_in(self, image: Image, boxes: FloatArray) -> FloatArray:
        """Landmarks (n, 68, 2) of the faces in boxes (n, 4), in one batch; 0-based pixels of the image.

        Raises FaceAlignError on a box without area or with a number that is not finite.
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        if len(boxes) == 0:
            return np.empty((0, N_LANDMARKS, 2))
        for box in boxes:
            if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
                raise FaceAlignError(f"box {box.tolist()}: expected finite x1 < x2 and y1 < y2")
        cut = self._published if self.spec.crop == "published" else self._square
        landmarks = cut(image, boxes)
        return landmarks if self.second is None else self.second.refine(image, landmarks)

    def _square(self, image: Image, boxes: FloatArray) -> FloatArray:
        """Landmarks that the first cascade stage predicts on square crops."""
        crops, affines = zip(*[crop_face(image, box, self.spec) for box in boxes], strict=True)
        points = self.net.points(self.net(crops))
        return np.stack(
            [map_points(invert(affine), face) for affine, face in zip(affines, points, strict=True)]
        )

    def _published(self, image: Image, boxes: FloatArray) -> FloatArray:
        """Landmarks that it predicts on the reference demo's crops."""
        crops, places = zip(*[published_crop(image, box + 1.0) for box in boxes], strict=True)
        values = self.net(crops)
        return np.stack(
            [published_landmarks(face, place) for face, place in zip(values, places, strict=True)]
        )
