"""The landmark networks over any engine: from crops to points; in a cascade, from points to better ones."""

from collections.abc import Sequence

import numpy as np

from facealign.arrays import Float32Array, FloatArray, Image
from facealign.crops.aligned import aligned_transform
from facealign.crops.model_spec import ModelSpec
from facealign.crops.targets import decode_targets, encode_targets
from facealign.engines.engine import Engine
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply as map_points
from facealign.geometry.affine import invert, warp
from facealign.geometry.landmarks import N_LANDMARKS, mirror_points

ORDER = ModelSpec().landmark_order


class LandmarkNetwork:
    """A landmark network in `engine`, fed and read as `spec` says."""

    def __init__(self, engine: Engine, spec: ModelSpec, flip: bool = False) -> None:
        """flip: also show it each crop mirrored, and take the mean of both answers.

        Raises FaceAlignError when `spec` describes an output that is not the 68-point markup.
        """
        if spec.landmarks != N_LANDMARKS or spec.landmark_order != ORDER:
            raise FaceAlignError(
                f"{spec.name}: gives {spec.landmarks} landmarks in the order "
                f"{spec.landmark_order!r}; only {N_LANDMARKS} in the order {ORDER!r} are known here"
            )
        self.engine = engine
        self.spec = spec
        self.flip = flip
        self.size = spec.size

    def __call__(self, crops: Sequence[Image | Float32Array]) -> Float32Array:
        """The network's numbers (n, 136) for crops of its size, by one run; see `points`."""
        batch = self._batch(crops)
        values = self._forward(batch)
        if not self.flip:
            return values
        mean = (self.points(values) + self._by_mirror_image(batch)) / 2
        mean[..., 0] += self.spec.mirror_bias
        return encode_targets(mean, self.size, self.spec.origin)

    def points(self, values: Float32Array) -> FloatArray:
        """Landmarks (n, 68, 2), in pixels of the crop, of the network's numbers."""
        return decode_targets(values, self.size, self.spec.origin)

    def mirror_bias(self, crops: Sequence[Image]) -> float:
        """How far to the right it tells landmarks: half the way from those of the mirror image, put back.

        Pixels of the crop, the mean over crops (h, w, 3) and landmarks. Not 0 where the annotation that was
        learned is off to one side, as 300-W's is.
        """
        batch = self._batch(crops)
        apart = self.points(self._forward(batch)) - self._by_mirror_image(batch)
        return float(apart[..., 0].mean() / 2)

    def _batch(self, crops: Sequence[Image | Float32Array]) -> Float32Array:
        return np.stack([network_input(crop, self.spec) for crop in crops])

    def _by_mirror_image(self, batch: Float32Array) -> FloatArray:
        """Landmarks (n, 68, 2) of (n, 3, h, w) as it sees them in the mirror."""
        mirrored = self.points(self._forward(np.ascontiguousarray(batch[..., ::-1])))
        return mirror_points(mirrored, self.size[1])

    def _forward(self, batch: Float32Array) -> Float32Array:
        """Run the network on (n, 3, h, w); (n, 136)."""
        outputs = self.engine.forward({self.spec.input_name: batch})
        if self.spec.output_name not in outputs:
            raise FaceAlignError(
                f"{self.spec.network}: no output named {self.spec.output_name!r}, only {sorted(outputs)}"
            )
        values = outputs[self.spec.output_name].reshape(len(batch), -1)
        if values.shape[1] != 2 * N_LANDMARKS:
            raise FaceAlignError(
                f"{self.spec.network}: output {self.spec.output_name!r} has {values.shape[1]} numbers "
                f"a face, expected {2 * N_LANDMARKS}"
            )
        if not np.isfinite(values).all():
            raise FaceAlignError(f"{self.spec.network}: the network's output is not finite; damaged weights?")
        return values


class SecondStageNetwork(LandmarkNetwork):
    """The second network of a cascade: looks at each face again, brought to the mean shape by the first."""

    def __init__(self, engine: Engine, spec: ModelSpec, flip: bool = False) -> None:
        """Raises FaceAlignError when `spec` describes no second network."""
        super().__init__(engine, spec, flip)
        if not spec.is_second_stage:
            raise FaceAlignError(
                f"{spec.name}: is no second network of a cascade: its crop is {spec.crop!r}, not 'aligned'"
            )

    def refine(self, image: Image, landmarks: FloatArray) -> FloatArray:
        """Better landmarks (n, 68, 2) of an image's faces, by one run of the network.

        They are a mean of its answer and what it was given, weighed by its `share`: both err, and not alike.
        Raises FaceAlignError when a face's landmarks are all in one place.
        """
        affines = second_transforms(landmarks, self.spec)
        crops = [warp(image, affine, self.size) for affine in affines]
        refined = self.points(self(crops))
        own = np.stack(
            [map_points(invert(affine), points) for affine, points in zip(affines, refined, strict=True)]
        )
        return landmarks + self.spec.share * (own - landmarks)


def second_transforms(landmarks: FloatArray, spec: ModelSpec) -> FloatArray:
    """Affines (n, 2, 3) to the crops of the second network `spec`, from where the first's landmarks
    (n, 68, 2) are told.

    Raises FaceAlignError when a face's landmarks are all in one place.
    """
    try:
        return aligned_transform(landmarks, spec)
    except ValueError as error:
        raise FaceAlignError(f"the first network's landmarks: {error}; damaged weights?") from error


def network_input(crop: Image | Float32Array, spec: ModelSpec) -> Float32Array:
    """What the network is fed for one crop (h, w, 3) BGR: (3, h, w), channels in the order and pixels
    (value - mean) * scale as `spec` says.
    """
    pixels = crop[:, :, ::-1] if spec.channels == "RGB" else crop
    scaled = (pixels.astype(np.float32) - np.float32(spec.mean)) * np.float32(spec.scale)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
