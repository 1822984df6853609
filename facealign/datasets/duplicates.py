"""Photos that are copies of others, whatever their names: found by what their faces look like."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facealign.arrays import Float32Array, FloatArray, Image
from facealign.concurrency.pools import Where, itself, ordered_map
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError, attempted
from facealign.geometry.affine import warp
from facealign.geometry.similarity import fit_similarity, mean_shape
from facealign.io.images import read_image

SIDE = 24
"""Of a thumbnail, pixels."""
MARGIN = 0.05
"""Around the mean shape in a thumbnail, as a fraction of its side."""
ALIKE = 0.94
"""Correlation from which two thumbnails are of one photo. Measured once, by hand: of 18,147 faces of other
photos none came nearer to one of 300-W's 300 validation faces than 0.93 (the same person, another moment);
copies of these, scaled, brightened, compressed, some mirrored, with other annotation noise, stay above 0.95.
"""


@dataclass(frozen=True)
class Copy:
    """A face that is in a photo of `original` too; correlation: of their thumbnails, -1..1."""

    sample: Sample
    original: Sample
    correlation: float


def thumbnail(image: Image, points: FloatArray, shape: FloatArray) -> Float32Array:
    """A face as a vector of unit length (SIDE * SIDE,), to be multiplied with another: their correlation.

    image: (h, w, 3); points: (68, 2), its landmarks; shape: (68, 2), where these are brought by a similarity.
    Slow changes of light are taken out. A face of one colour gives zeros.
    """
    grey: Image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]  # type: ignore[assignment]
    small = warp(grey, fit_similarity(points, shape), (SIDE, SIDE)).astype(np.float32).reshape(SIDE, SIDE)
    small -= cv2.GaussianBlur(small, (0, 0), SIDE / 4)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length > 1 else np.zeros_like(small)).ravel()


def find_copies(samples: Sequence[Sample], originals: Sequence[Sample], where: Where = 1) -> list[Copy]:
    """Those of `samples` whose face is that of one of `originals`, mirrored or not, in their order.

    where: number of worker processes, or a scheduler. A photo that cannot be read is nobody's copy. Takes
    about 2 ms a face and worker.
    """
    if not samples or not originals:
        return []
    shape = mean_shape(np.stack([sample.points for sample in originals]), (SIDE, SIDE), MARGIN)
    both = ordered_map(_thumbnail, [*originals, *samples], where, itself, (shape,))
    thumbnails = np.stack(list(both))
    known, others = thumbnails[: len(originals)], thumbnails[len(originals) :]
    mirrored = known.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(known), -1)
    found = []
    for sample, own in zip(samples, others, strict=True):
        likeness = np.maximum(known @ own, mirrored @ own)
        best = int(likeness.argmax())
        if likeness[best] >= ALIKE and sample.path != originals[best].path:
            found.append(Copy(sample, originals[best], float(likeness[best])))
    return found


def _thumbnail(shape: FloatArray, sample: Sample) -> Float32Array:
    image = attempted(read_image, sample.path, orient=False)
    if isinstance(image, FaceAlignError):
        return np.zeros(SIDE * SIDE, np.float32)
    return thumbnail(image, sample.points, shape)
