"""Random augmentation of a face crop: flip, shift, scale and rotation in one warp, then Gaussian noise."""

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np

from facealign.arrays import BoolArray, Float32Array, FloatArray, Image
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_transform
from facealign.geometry.affine import apply, compose, warp
from facealign.geometry.landmarks import MIRROR


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which the augmentation of a crop is drawn.

    flip: probability, 0..1; shift: largest shift along each axis, as a fraction of the crop's side, below 1;
    scale_range: size of the face relative to the plain crop, 0.1 or more; rotate_range: degrees, -180 or
    more; noise_std: standard deviation of the noise, grey levels.
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
    """One draw of an Augmentation, or n of them as arrays (n,).

    shift_x, shift_y: fractions of the crop's side; angle: degrees; noise_std: grey levels.
    """

    flip: bool | BoolArray = False
    shift_x: float | FloatArray = 0.0
    shift_y: float | FloatArray = 0.0
    scale: float | FloatArray = 1.0
    angle: float | FloatArray = 0.0
    noise_std: float | FloatArray = 0.0


def draw_jitter(settings: Augmentation, rng: np.random.Generator, count: int | None = None) -> Jitter:
    """One random draw of `settings`, or `count` of them; uniform over each range."""
    return Jitter(
        flip=rng.random(count) < settings.flip,
        shift_x=rng.uniform(-settings.shift, settings.shift, count),
        shift_y=rng.uniform(-settings.shift, settings.shift, count),
        scale=rng.uniform(*settings.scale_range, count),
        angle=rng.uniform(*settings.rotate_range, count),
        noise_std=rng.uniform(*settings.noise_std, count),
    )


def jitter_transform(jitter: Jitter, size: tuple[int, int]) -> FloatArray:
    """Affine from the plain crop to the augmented crop, both of `size` (height, width) pixels.

    About the crop's centre: scale, then rotate (clockwise on the screen for a positive angle), then shift,
    then flip. Returns (2, 3), or (n, 2, 3) for a jitter of n draws.

    >>> apply(jitter_transform(Jitter(shift_x=0.25, flip=True), (64, 64)), np.array([0.0, 5.0]))
    array([47.,  5.])
    """
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = np.radians(jitter.angle)
    cosine, sine = jitter.scale * np.cos(angle), jitter.scale * np.sin(angle)
    turned = np.empty((*np.shape(angle), 2, 3))
    turned[..., 0, 0], turned[..., 0, 1] = cosine, -sine
    turned[..., 1, 0], turned[..., 1, 1] = sine, cosine
    turned[..., 2] = centre - turned[..., :2] @ centre
    turned[..., 0, 2] += np.multiply(jitter.shift_x, width)
    turned[..., 1, 2] += np.multiply(jitter.shift_y, height)
    mirrored = np.array([0.0, 0.0, width - 1.0]) - turned[..., 0, :]
    turned[..., 0, :] = np.where(np.asarray(jitter.flip)[..., None], mirrored, turned[..., 0, :])
    return turned


def transform(
    box: FloatArray,
    jitter: Jitter,
    size: tuple[int, int],
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> FloatArray:
    """Affine from the image to the augmented crop of a box, flip included.

    box: (4,), or (n, 4) for a jitter of n draws; size, scale, shift: see `crop_transform`. Returns (2, 3), or
    (n, 2, 3).
    """
    return compose(jitter_transform(jitter, size), crop_transform(box, size, scale, shift))


def augment(
    image: Image,
    points: FloatArray,
    box: FloatArray,
    settings: Augmentation,
    rng: np.random.Generator,
    spec: ModelSpec,
) -> tuple[Image, FloatArray]:
    """A randomly augmented crop of a face, and its landmarks in that crop.

    image: BGR uint8 (h, w, 3); points: (68, 2); box: (4,); spec: of the network that the crop is for.
    Returns uint8 (height, width, 3) and (68, 2) in its pixels. After a flip left and right landmarks change
    places, so that each index keeps its meaning.

    >>> photo, points = np.zeros((200, 200, 3), np.uint8), np.full((68, 2), 100.0)
    >>> box, rng = np.array([50.0, 50, 150, 150]), np.random.default_rng(0)
    >>> crop, landmarks = augment(photo, points, box, Augmentation(), rng, ModelSpec())
    >>> crop.shape, landmarks.shape
    ((64, 64, 3), (68, 2))
    """
    jitter = draw_jitter(settings, rng)
    size = spec.size
    affine = transform(box, jitter, size, spec.box_scale, spec.box_shift)
    crop = add_noise(warp(image, affine, size), float(jitter.noise_std), rng)
    return crop, moved(points, affine, jitter)


def moved(points: FloatArray, affine: FloatArray, jitter: Jitter) -> FloatArray:
    """Landmarks (68, 2) in the crop that `affine` (2, 3), made from `jitter`, makes; or n of each.

    After a flip left and right landmarks change places, so that each index keeps its meaning.
    """
    landmarks = apply(affine, points)
    mirrored = landmarks.take(MIRROR, axis=-2)
    return np.where(np.asarray(jitter.flip)[..., None, None], mirrored, landmarks)


class Noise:
    """Standard normal numbers from which the noise of images is made."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        """Draw `count` independent numbers; rng: see `standard_normal`."""
        self._normal = standard_normal(rng, (count,))
        self._below = np.where(self._normal < 0, np.uint8(255), np.uint8(0))
        self._size = np.empty((1, 0), np.uint8)

    def add(self, image: Image, std: float, start: int = 0) -> None:
        """Add Gaussian noise of `std` grey levels to an image in place, rounded and clipped to 0..255.

        image: contiguous; start: index of the first of the numbers to use, one for each value of the image.
        """
        if std == 0:
            return
        flat, end = image.reshape(1, -1), start + image.size
        below = self._below[None, start:end]
        # Subtracting s from 8-bit x is ~(~x + s). These steps, each vectorised, take less time than cv2.add
        # with numbers of another type.
        self._size = cv2.convertScaleAbs(self._normal[None, start:end], self._size, std)  # type: ignore[assignment]
        np.bitwise_xor(flat, below, out=flat)
        cv2.add(flat, self._size, dst=flat)
        np.bitwise_xor(flat, below, out=flat)


def add_noise(image: Image, std: float, rng: np.random.Generator) -> Image:
    """The image plus independent Gaussian noise of `std` grey levels, rounded and clipped to 0..255.

    rng: see `standard_normal`.
    """
    noisy = image.copy(order="C")
    if std > 0:
        Noise(rng, image.size).add(noisy, std)
    return noisy


def standard_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32Array:
    """Independent standard normal numbers, each one of 65,536 quantiles; float32 of `shape`.

    They are made of the generator's raw bits, 16 for each: five times as fast as NumPy's method of that name,
    and the same with every version of NumPy.
    rng: with a bit generator of 64-bit numbers (PCG64, SFC64, Philox).
    """
    count = math.prod(shape)
    bits = rng.bit_generator.random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]
    return _quantiles().take(bits, mode="clip").reshape(shape)


@functools.cache
def _quantiles() -> Float32Array:
    """Medians of 65,536 equally likely intervals of the standard normal distribution; -4.3 to 4.3."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse(0.5 + (index + 0.5) / 65536) for index in range(32768)])
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)
