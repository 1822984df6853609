"""From an image to its faces: box, score, 68 landmarks and head pose."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.crop import apply as map_points
from facealign.crop import crop_face, crop_transform, invert, published_crop, published_landmarks
from facealign.arrays import Float32Array, FloatArray, Image
from facealign.detection import MtcnnDetector, MtcnnSettings
from facealign.engines.base import Engine
from facealign.engines.choose import open_engine
from facealign.errors import FaceAlignError
from facealign.landmark_net import LandmarkNet, SecondNet
from facealign.markup import N_LANDMARKS
from facealign.pose import Pose, head_pose
from facealign.spec import ModelSpec


@dataclass(frozen=True)
class Face:
    """A face of an image. Coordinates are 0-based pixels of that image.

    box: (4,) x1 y1 x2 y2 as it was found or given; score: the detector's, 0..1, None for a given box;
    landmarks: (68, 2); pose: angles in degrees.
    """

    box: FloatArray
    score: float | None
    landmarks: FloatArray
    pose: Pose | None


class FaceAligner:
    """Finds faces with `detector` and their landmarks with the network in `engine`, fed as `spec` says."""

    def __init__(
        self,
        detector: MtcnnDetector | None,
        engine: Engine,
        spec: ModelSpec,
        flip: bool = False,
        second: SecondNet | None = None,
    ) -> None:
        """flip: average each answer with that on the mirrored crop, at twice the time; second: the second
        network of a cascade, which has the last word.

        Raises FaceAlignError when `spec` describes an output that is not the 68-point markup, a crop of
        another size than its input, or a second network.
        """
        self.net = LandmarkNet(engine, spec, flip)
        if spec.is_second_level:
            raise FaceAlignError(
                f"{spec.name}: is the second network of a cascade, which needs another's "
                "landmarks; give it as the cascade's"
            )
        if spec.crop == "published" and (spec.input_height, spec.input_width) != (64, 64):
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
        weights: Path,
        engine: str = "auto",
        detector: bool = True,
        published: bool = False,
        mtcnn: MtcnnSettings | None = None,
        flip: bool = False,
        cascade: Path | None = None,
    ) -> "FaceAligner":
        """Open released or own weights (`.caffemodel` or `.onnx`).

        engine: "auto", "caffe" or "onnx"; detector: also open MTCNN, with the settings `mtcnn`;
        published: crop by the reference demo's arithmetic, for weights of its author, which need no `.json`;
        flip: average with the mirrored crop's answer, of each network; cascade: weights of a second network.
        Raises FaceAlignError on missing or unfit files.
        """
        network, spec = open_engine(engine, weights, published)
        second = None
        if cascade is not None:
            try:
                second = SecondNet(*open_engine(engine, cascade), flip)
            except FaceAlignError as error:
                raise FaceAlignError(f"{cascade}: {error}") from error
        finder = MtcnnDetector.open(engine, mtcnn) if detector else None
        try:
            return cls(finder, network, spec, flip, second)
        except FaceAlignError as error:
            raise FaceAlignError(f"{weights}: {error}") from error

    def align(self, image: Image) -> list[Face]:
        """Find every face of `image` (BGR) and its landmarks; best score first.

        Raises FaceAlignError when the aligner was opened without a detector.
        """
        if self.detector is None:
            raise FaceAlignError(
                "this aligner has no face detector: give boxes, or open it with detector=True"
            )
        found = self.detector.detect(image)
        return self.faces(image, [face.box for face in found], [float(face.score) for face in found])

    def faces(self, image: Image, boxes: list[FloatArray], scores: list[float] | None = None) -> list[Face]:
        """The faces in given boxes (each (4,), 0-based); `scores`, if given, go with them."""
        landmarks, in_crops = self._landmarks(image, np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
        size = self.spec.input_height
        return [
            Face(
                box=np.asarray(box, dtype=np.float64),
                score=None if scores is None else scores[index],
                landmarks=landmarks[index],
                pose=head_pose(in_crops[index], size),
            )
            for index, box in enumerate(boxes)
        ]

    def align_boxes(self, image: Image, boxes: FloatArray) -> FloatArray:
        """Landmarks (n, 68, 2) in the image's 0-based pixels for `boxes` (n, 4), by one run of each network.

        Raises FaceAlignError on a box without area or with a number that is not finite.
        """
        return self._landmarks(image, boxes)[0]

    def _landmarks(self, image: Image, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Landmarks in the image and in the crops, each (n, 68, 2)."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        if len(boxes) == 0:
            return np.empty((0, N_LANDMARKS, 2)), np.empty((0, N_LANDMARKS, 2))
        for box in boxes:
            if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
                raise FaceAlignError(f"box {box.tolist()}: expected finite x1 < x2 and y1 < y2")
        prepared = [self._crop(image, box) for box in boxes]
        values = self.net([crop for crop, _ in prepared])
        in_crops = self.net.points(values)
        in_image = np.stack(
            [back(value, points) for (_, back), value, points in zip(prepared, values, in_crops, strict=True)]
        )
        if self.second is None:
            return in_image, in_crops
        in_image = self.second.refine(image, in_image)
        size, widened = self.net.size, (self.spec.box_scale, self.spec.box_shift)
        affines = [crop_transform(box, size, *widened) for box in boxes]
        in_crops = np.stack([map_points(*pair) for pair in zip(affines, in_image, strict=True)])
        return in_image, in_crops

    def _crop(
        self, image: Image, box: FloatArray
    ) -> tuple[Image | Float32Array, Callable[[Float32Array, FloatArray], FloatArray]]:
        """The crop of `box`, and the way back: (network values, points in the crop) -> image points."""
        if self.spec.crop == "published":
            published, record = published_crop(image, box + 1.0)
            return published, lambda values, points: published_landmarks(values, record)
        crop, affine = crop_face(image, box, self.spec)
        inverse = invert(affine)
        return crop, lambda values, points: map_points(inverse, points)
