"""Landmark networks on any engine: landmarks from crops, and their refinement in a cascade."""

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
    """A landmark network run by `engine`; `spec` describes its input and output."""

    def __init__(self, engine: Engine, spec: ModelSpec, flip: bool = False) -> None:
        """flip: also run each crop mirrored, and average the two predictions.

        Raises FaceAlignError when the output that `spec` describes is not the 68-point markup.
        """
        if spec.landmarks != N_LANDMARKS or spec.landmark_order != ORDER:
            raise FaceAlignError(
                f"{spec.name}: gives {spec.landmarks} landmarks in the order "
                f"{spec.landmark_order!r}; only {N_LANDMARKS} in the order {ORDER!r} are supported"
            )
        self.engine = engine
        self.spec = spec
        self.flip = flip
        self.size = spec.size

    def __call__(self, crops: Sequence[Image | Float32Array]) -> Float32Array:
        """Outputs (n, 136) for n crops (h, w, 3) of the input's size, in one batch; see `points`."""
        batch = self._batch(crops)
        values = self._forward(batch)
        if not self.flip:
            return values
        mean = (self.points(values) + self._by_mirror_image(batch)) / 2
        mean[..., 0] += self.spec.mirror_bias
        return encode_targets(mean, self.size, self.spec.origin)

    def points(self, values: Float32Array) -> FloatArray:
        """Landmarks (n, 68, 2), in 0-based pixels of the crops, from outputs (n, 136)."""
        return decode_targets(values, self.size, self.spec.origin)

    def mirror_bias(self, crops: Sequence[Image]) -> float:
        """How far to the right the network predicts landmarks, in pixels of the crop.

        Half the horizontal offset from the un-mirrored prediction on the mirrored crop, averaged over crops
        (h, w, 3) and landmarks. Not 0 if the annotation learned is off to one side, as that of 300-W is.
        """
        batch = self._batch(crops)
        apart = self.points(self._forward(batch)) - self._by_mirror_image(batch)
        return float(apart[..., 0].mean() / 2)

    def _batch(self, crops: Sequence[Image | Float32Array]) -> Float32Array:
        return np.stack([network_input(crop, self.spec) for crop in crops])

    def _by_mirror_image(self, batch: Float32Array) -> FloatArray:
        """Landmarks (n, 68, 2) predicted on mirrored inputs (n, 3, h, w), un-mirrored."""
        mirrored = self.points(self._forward(np.ascontiguousarray(batch[..., ::-1])))
        return mirror_points(mirrored, self.size[1])

    def _forward(self, batch: Float32Array) -> Float32Array:
        """Outputs (n, 136) of the network for inputs (n, 3, h, w)."""
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
    """The second cascade stage: refines landmarks on crops that they align to the mean shape."""

    def __init__(self, engine: Engine, spec: ModelSpec, flip: bool = False) -> None:
        """Raises FaceAlignError when `spec` does not describe a second cascade stage."""
        super().__init__(engine, spec, flip)
        if not spec.is_second_stage:
            raise FaceAlignError(
                f"{spec.name}: is not a second cascade stage: its crop is {spec.crop!r}, not 'aligned'"
            )

    def refine(self, image: Image, landmarks: FloatArray) -> FloatArray:
        """Refined landmarks (n, 68, 2) of an image's faces, in one batch.

        image: BGR uint8 (h, w, 3); landmarks: (n, 68, 2), predicted by the first cascade stage. Returns their
        mean with this network's prediction, whose blend weight is the spec's `share`: the errors of both
        partly cancel. Raises FaceAlignError when all landmarks of a face coincide.
        """
        affines = second_transforms(landmarks, self.spec)
        crops = [warp(image, affine, self.size) for affine in affines]
        refined = self.points(self(crops))
        own = np.stack(
            [map_points(invert(affine), points) for affine, points in zip(affines, refined, strict=True)]
        )
        return landmarks + self.spec.share * (own - landmarks)


def second_transforms(landmarks: FloatArray, spec: ModelSpec) -> FloatArray:
    """Affines (n, 2, 3) from an image to the aligned crops of the second cascade stage `spec`.

    landmarks: (n, 68, 2), predicted by the first cascade stage in the image.
    Raises FaceAlignError when all landmarks of a face coincide.
    """
    try:
        return aligned_transform(landmarks, spec)
    except ValueError as error:
        raise FaceAlignError(f"landmarks of the first cascade stage: {error}; damaged weights?") from error


def network_input(crop: Image | Float32Array, spec: ModelSpec) -> Float32Array:
    """Input (3, h, w) of the network, float32, for one BGR crop (h, w, 3).

    Channels are in the order of `spec`, and values are (value - mean) * scale with its mean and scale.

    >>> white = np.full((64, 64, 3), 255, np.uint8)
    >>> network_input(white, ModelSpec())[:, 0, 0]
    array([0.99609375, 0.99609375, 0.99609375], dtype=float32)
    """
    pixels = crop[:, :, ::-1] if spec.channels == "RGB" else crop
    scaled = (pixels.astype(np.float32) - np.float32(spec.mean)) * np.float32(spec.scale)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
