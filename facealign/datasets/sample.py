"""An annotated face: its data set, and the photo or person it shows."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facealign.arrays import FloatArray

FOLDERS_300W = ("afw", "helen/testset", "helen/trainset", "ibug", "lfpw/testset", "lfpw/trainset")
TEST_FOLDERS = ("helen/testset", "ibug", "lfpw/testset")
"""The test folders of 300-W, which are never trained on."""
POOLED: dict[str, tuple[str, ...]] = {
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
"""The usual subsets of 300-W's test images, and the folders they pool."""
NAME_300W = "300w"
_TEST_GROUPS = (f"{NAME_300W}/lfpw/testset ", f"{NAME_300W}/ibug ")
"""Prefixes of groups whose file names alone show that the photo is in a test set."""
_GROUPS = (
    # Images that 300W-LP rendered from the other sets: SET_NAME_VIEW.
    (re.compile(r"LFPW_image_(train|test)_(\d+)_\d+"), rf"{NAME_300W}/lfpw/\1set image_\2", False),
    (re.compile(r"IBUG_(image_\d+)(?: ?_\d+)?_\d+"), rf"{NAME_300W}/ibug \1", False),
    # Flickr number, face: AFW and HELEN, and the same in 300W-LP.
    (re.compile(r"(?:AFW_|HELEN_)?(\d{5,})_\d+(?:_\d+)?"), r"photo \1", False),
    # LFPW and iBUG.
    (re.compile(r"(image_\d+)(?: ?_\d+)?"), r"\1", True),
)
"""(pattern of a file's stem, the photo it shows, whether that name is unique only within its folder)."""
PERSON_FOLDERS = ("youtube_faces", "lfw")
"""Data sets whose files are named PERSON_NUMBER. In other sets such numbers may count different people."""
_PERSON = re.compile(r"(.*[^\W\d].*)_\d{1,4}")


@dataclass(frozen=True)
class Sample:
    """An annotated face.

    points: (68, 2), 0-based pixels; subset: its folder ("helen/trainset", "menpo"...); relative: path from
    the folder that holds the data sets; group: photo or person, which a split must not divide.
    """

    path: Path
    points: FloatArray
    subset: str
    relative: str
    group: str

    @property
    def is_300w(self) -> bool:
        """Whether it belongs to 300-W."""
        return PurePosixPath(self.relative).parts[0] == NAME_300W and self.subset in FOLDERS_300W

    @property
    def is_test(self) -> bool:
        """Whether it is in a test set of 300-W or, by its file name, made from an image of one."""
        return (self.is_300w and self.subset in TEST_FOLDERS) or self.group.startswith(_TEST_GROUPS)


def group_of(relative: str) -> str:
    """The photo or person that an image's name identifies: "photo 134212" for "300w/afw/134212_2.jpg".

    An image whose name follows no known pattern is a group of its own.
    """
    path = PurePosixPath(relative)
    for pattern, group, within in _GROUPS:
        match = pattern.fullmatch(path.stem)
        if match:
            photo = match.expand(group)
            return f"{path.parent} {photo}" if within else photo
    person = _PERSON.fullmatch(path.stem)
    if person and any(part.lower() in PERSON_FOLDERS for part in path.parts[:-1]):
        return f"{path.parent} {person[1]}"
    return relative


def eval_subsets(samples: list[Sample]) -> dict[str, list[Sample]]:
    """Samples by subset: "common", "challenging" and "full" of 300-W's test sets, and every folder."""
    groups: dict[str, list[Sample]] = {name: [] for name in POOLED}
    for sample in samples:
        groups.setdefault(sample.subset, []).append(sample)
        for name, folders in POOLED.items():
            if sample.is_300w and sample.subset in folders:
                groups[name].append(sample)
    return {name: members for name, members in groups.items() if members}
