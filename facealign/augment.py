"""Random variations of a face crop: flip, shift, scale and rotation in ONE warp, then Gaussian noise."""

import math
from dataclasses import dataclass

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crop import apply, compose, crop_transform, warp
from facealign.markup import MIRROR
from facealign.spec import ModelSpec


@dataclass(frozen=True)
class Augmentation:
    """How far samples vary.

    flip: probability 0..1; shift: largest move of the crop, a fraction of its side, each axis; scale_range:
    the face's size relative to the plain crop's; rotate_range: degrees; noise_std: the range from which a
    sample's noise standard deviation is drawn, in grey levels.
    """

    flip: float = 0.5
    shift: float = 0.08
    scale_range: tuple[float, float] = (0.9, 1.15)
    rotate_range: tuple[float, float] = (-30.0, 30.0)
    noise_std: tuple[float, float] = (0.0, 6.0)

    def __post_init__(self) -> None:
        """Raises ValueError on a setting out of range."""
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip}, expected a probability")
        if not 0 <= self.shift < 1:
            raise ValueError(f"shift is {self.shift}, expected 0 or more and less than 1")
        ranges = (("scale_range", 0.1), ("rotate_range", -180.0), ("noise_std", 0.0))
        for name, least in ranges:
            low, high = getattr(self, name)
            if not least <= low <= high < math.inf:
                raise ValueError(f"{name} is {low} to {high}, expected a range from {least} or more")


@dataclass(frozen=True)
class Jitter:
    """One draw of an Augmentation: shift as a fraction of the crop's side, angle in degrees."""

    flip: bool = False
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    noise_std: float = 0.0


def draw(settings: Augmentation, rng: np.random.Generator) -> Jitter:
    """Draw how one sample varies; uniform over each range."""
    return Jitter(
        flip=bool(rng.random() < settings.flip),
        shift_x=float(rng.uniform(-settings.shift, settings.shift)),
        shift_y=float(rng.uniform(-settings.shift, settings.shift)),
        scale=float(rng.uniform(*settings.scale_range)),
        angle=float(rng.uniform(*settings.rotate_range)),
        noise_std=float(rng.uniform(*settings.noise_std)),
    )


def jitter_transform(jitter: Jitter, size: tuple[int, int]) -> FloatArray:
    """Affine (2, 3) from the plain crop's pixels to the varied crop's, of the same `size` (height, width).

    About the crop's centre: scale, then rotate (clockwise on the screen for a positive angle), then shift,
    then flip.
    """
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = math.radians(jitter.angle)
    cosine, sine = jitter.scale * math.cos(angle), jitter.scale * math.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    move = np.array([jitter.shift_x * width, jitter.shift_y * height])
    turned = np.column_stack([linear, centre - linear @ centre + move])
    if not jitter.flip:
        return turned
    mirror = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])
    return compose(mirror, turned)


def transform(
    box: FloatArray,
    jitter: Jitter,
    size: tuple[int, int],
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> FloatArray:
    """ONE affine (2, 3) from the image to the varied crop of `box`, flip included."""
    return compose(jitter_transform(jitter, size), crop_transform(box, size, scale, shift))


def augment(
    image: Image,
    points: FloatArray,
    box: FloatArray,
    settings: Augmentation,
    rng: np.random.Generator,
    spec: ModelSpec,
) -> tuple[Image, FloatArray]:
    """A varied crop (h, w, 3) of the face in `box`, and its landmarks (68, 2) in the crop's pixels.

    After a flip the landmarks' indices are swapped, so that each keeps its meaning.
    """
    jitter = draw(settings, rng)
    size = (spec.input_height, spec.input_width)
    affine = transform(box, jitter, size, spec.box_scale, spec.box_shift)
    crop = add_noise(warp(image, affine, size), jitter.noise_std, rng)
    landmarks = apply(affine, points)
    if jitter.flip:
        landmarks = landmarks[MIRROR]  # the warp moved the points; which is which is left to do
    return crop, landmarks


def add_noise(image: Image, std: float, rng: np.random.Generator) -> Image:
    """The picture plus independent Gaussian noise of `std` grey levels, rounded and cut off at 0 and 255."""
    if std <= 0:
        return image
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(std)
    noise += image
    noise += np.float32(0.5)
    np.clip(noise, 0, 255, out=noise)
    return noise.astype(np.uint8)
