"""Variation of a second cascade stage's crops with the errors of the first."""

import numpy as np

from facealign.arrays import FloatArray
from facealign.crops.aligned import aligned_transform
from facealign.crops.model_spec import ModelSpec
from facealign.geometry.affine import apply
from facealign.geometry.similarity import fit_similarity


def crop_moves(predicted: FloatArray, annotated: FloatArray, spec: ModelSpec) -> FloatArray:
    """Differences between second-stage crops by predicted landmarks and by annotated ones, both (n, 68, 2).

    Returns (n, 4): how far the face lies further right and further down, as fractions of the crop's longer
    side, the ratio of its sizes, and its clockwise rotation in degrees; about the crop's centre, as in
    `crops.augmentation.Jitter`.
    """
    affines, plain = aligned_transform(predicted, spec), aligned_transform(annotated, spec)
    turn = fit_similarity(apply(plain, annotated), apply(affines, annotated))
    centre = (np.array([spec.input_width, spec.input_height]) - 1) / 2
    shifts = (turn[..., :2] @ centre + turn[..., 2] - centre) / max(spec.input_width, spec.input_height)
    ratios = np.hypot(turn[..., 0, 0], turn[..., 1, 0])
    angles = np.degrees(np.arctan2(turn[..., 1, 0], turn[..., 0, 0]))
    return np.column_stack([shifts, ratios, angles])
