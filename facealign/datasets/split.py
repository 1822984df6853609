"""Splits of faces for validation: 300-W's fixed part, or whole photos or persons drawn by a seed."""

from collections.abc import Sequence

import numpy as np

from facealign.datasets.sample import Sample
from facealign.datasets.validation_300w import HELD_OUT_GROUPS, VALIDATION_GROUPS, in_validation
from facealign.errors import FaceAlignError


def split(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Training and validation parts of `samples`; the test sets of 300-W are in neither.

    The validation part is the fixed one of 300-W, as far as it is present; share 0 leaves it out. Where none
    of it is present, whole photos or persons are drawn: `share`, 0..1, of the faces of 300-W, or of all faces
    if there are none (the other sets are noisy or made from 300-W's photos).
    All faces of a photo or person are on one side. Faces of other sets that show a validation or
    test photo are left out. No image of a photo of the fixed part is ever trained on, whether
    the part is present or not, nor one of the held-out part. Parts keep the order of `samples`.
    Raises FaceAlignError when no face is left to train on, or none to validate on although share is not 0.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}, expected 0 or more and less than 1")
    tested = {sample.group for sample in samples if sample.is_test}
    # A number is a photo's within 300-W, and its folders say which are for training.
    usable = [
        sample for sample in samples if not sample.is_test and (sample.is_300w or sample.group not in tested)
    ]
    apart = VALIDATION_GROUPS | HELD_OUT_GROUPS
    trainable = [sample for sample in usable if sample.group not in apart]
    fixed = [sample for sample in usable if in_validation(sample)]
    if not usable:
        raise FaceAlignError("no face is left to train on: only test sets of 300-W are here")
    if fixed or share == 0:
        training, validation = trainable, fixed if share > 0 else []
    else:
        training, validation = _draw(trainable, share, seed)
    if not training:
        hint = (
            "all are of 300-W's validation or held-out part"
            if fixed
            else "all validate; give a smaller --validation"
        )
        raise FaceAlignError(f"no face is left to train on: {hint}")
    return training, validation


def _draw(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Training and validation parts by drawing `share` of the faces.

    Raises FaceAlignError when none can be drawn.
    """
    candidates = [sample for sample in samples if sample.is_300w] or samples
    sizes: dict[str, int] = {}
    for sample in candidates:
        sizes[sample.group] = sizes.get(sample.group, 0) + 1
    names = sorted(sizes)
    wanted = round(share * len(candidates))
    held: set[str] = set()
    count = 0
    for index in np.random.default_rng(seed).permutation(len(names)):
        size = sizes[names[index]]
        if count + size <= wanted:
            held.add(names[index])
            count += size
    validation = [sample for sample in candidates if sample.group in held]
    if samples and not validation:
        raise FaceAlignError(
            f"no validation part: of {len(candidates)} faces in {len(names)} groups (photos or persons, by "
            f"the files' names) no {max(wanted, 1)} can be set apart; give a larger --validation, or 0"
        )
    return [sample for sample in samples if sample.group not in held], validation
