"""Faces of one photo whose names do not say so: NAME_1.jpg, NAME_2.jpg..., each with a copy of the photo."""

import dataclasses
import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError
from facealign.io.reading import read_bytes

_NUMBERED = re.compile(r"(.+)_\d{1,3}")


def one_group_a_photo(samples: Sequence[Sample]) -> list[Sample]:
    """The samples in their order, those of one photo in one group, that of the first of them.

    Images are of one photo when they lie in one folder, are named NAME_NUMBER with the same name, and have
    the same content: as `facealign annotate --with-photos` writes a photo with several faces. Where the name
    names the photo or person already, the group stays.
    """
    named: dict[tuple[Path, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        numbered = _NUMBERED.fullmatch(sample.path.stem)
        if numbered and sample.group == sample.relative:
            named[sample.path.parent, numbered[1] + sample.path.suffix].append(sample)
    groups: dict[str, str] = {}
    for members in named.values():
        first: dict[tuple[int, str], str] = {}
        for size, same in _by_size(members).items():
            for sample in same if len(same) > 1 else ():
                with suppress(FaceAlignError):  # whoever reads it will say so
                    data = read_bytes(sample.path, "expected an image")
                    content = (size, hashlib.sha256(data).hexdigest())
                    groups[sample.group] = first.setdefault(content, sample.group)
    return [
        dataclasses.replace(sample, group=groups[sample.group]) if sample.group in groups else sample
        for sample in samples
    ]


def _by_size(samples: Sequence[Sample]) -> dict[int, list[Sample]]:
    """The samples by their images' sizes in bytes."""
    sizes: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        with suppress(OSError):
            sizes[sample.path.stat().st_size].append(sample)
    return sizes
