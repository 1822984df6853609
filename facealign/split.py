"""Which faces are kept for validation: whole photos or persons, drawn by a seed."""

from collections.abc import Sequence

import numpy as np

from facealign.datasets import Sample
from facealign.errors import FaceAlignError


def split(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(training, validation) parts of `samples`; the test sets of 300-W are in neither.

    share: 0..1, of the faces that may validate: those of 300-W if there are any, as the other sets are noisy
    or made of 300-W's photos, else all. A photo's or person's faces are all on one side; those of a
    validation photo that may not validate are left out, and so are other copies of a test photo. Parts keep
    the order of `samples`.
    Raises FaceAlignError when nothing is left to train on, or to validate on although share is not 0.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}, expected 0 or more and less than 1")
    tested = {sample.group for sample in samples if sample.is_test}
    usable = [sample for sample in samples if not sample.is_test and sample.group not in tested]
    official = [sample for sample in usable if sample.is_300w]
    candidates = official or usable
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
    training = [sample for sample in usable if sample.group not in held]
    validation = [sample for sample in candidates if sample.group in held]
    if not usable:
        raise FaceAlignError("no face is left to train on: only test sets of 300-W are here")
    if not training:
        raise FaceAlignError("no face is left to train on: all validate; give a smaller --validation")
    if share > 0 and not validation:
        raise FaceAlignError(
            f"no validation part: of {len(candidates)} faces in {len(names)} groups (photos or persons, told "
            f"by the files' names) no {wanted} can be set apart; give a larger --validation, or 0"
        )
    return training, validation
