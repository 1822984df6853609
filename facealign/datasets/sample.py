"""An annotated face: its data set, and the photo or person it shows."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from facealign.arrays import FloatArray
from facealign.datasets.folders_300w import FOLDERS_300W, TEST_FOLDERS, official

POOLED: dict[str, tuple[str, ...]] = {
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
"""The usual subsets of 300-W's test images, and the folders they pool."""
NAME_300W = "300w"
_TEST_GROUPS = (f"{NAME_300W}/lfpw/testset ", f"{NAME_300W}/ibug ")
"""Beginnings of group names that mean a photo of a test set."""
_LFPW = re.compile(
    r"(?:^|[\W_])lfpw_?(?:image_)?(train|test)(?:set)?_(?:image_)?(\d{1,4})(?!\d)", re.IGNORECASE
)
"""A photo of LFPW in a name: "LFPW_image_train_0001_0" of 300W-LP, "lfpw_trainset_image_0001"."""
_IBUG = re.compile(r"(?:^ibug_|[\W_]ibug_)?image_(\d{3})(?: ?_\d{1,2})(?!\d)", re.IGNORECASE)
"""A photo of iBUG in a name: its number has three digits, a face's number follows."""
_IBUG_NAMED = re.compile(r"(?:^|[\W_])ibug_image_(\d{3})(?!\d)", re.IGNORECASE)
_FLICKR = re.compile(r"(?<!\d)(\d{5,})_\d{1,2}(?!\d)|^(\d{5,})$")
"""A photo of AFW or HELEN in a name: its number at Flickr, and the number of the face; or that alone."""
_IMAGE = re.compile(r"(image_\d+)(?: ?_\d+)?")
"""A photo of LFPW or iBUG, in its own folder."""
_TURNED_FOLDER = "_turned"
_TURNED = re.compile(r"(.+)_turned\d+")
"""An image of turned faces, as `turned_name` names it, without its suffix."""
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

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_300w(self) -> bool:
        """Whether it belongs to 300-W."""
        return PurePosixPath(self.relative).parts[0] == NAME_300W and self.subset in FOLDERS_300W

    @property
    def is_test(self) -> bool:
        """Whether it is in a test set of 300-W or, by its file name, made from an image of one."""
        return (self.is_300w and self.subset in TEST_FOLDERS) or self.group.startswith(_TEST_GROUPS)


def turned_name(relative: str, number: int) -> str:
    """Path of the image of a face, turned for the number-th time, given that of the face (`Sample.relative`).

    >>> turned_name("300w/lfpw/trainset/image_0001.png", 2)
    '300w_turned/lfpw/trainset/image_0001_turned2.png'
    """
    path = PurePosixPath(relative)
    first, *others = path.parent.parts
    folder = PurePosixPath(first + _TURNED_FOLDER, *others)
    return (folder / f"{path.stem}_turned{number}{path.suffix}").as_posix()


def _original_of(path: PurePosixPath) -> PurePosixPath:
    """The face that an image of a turned one was made from; other paths as they are."""
    turned = _TURNED.fullmatch(path.stem)
    sets = [index for index, part in enumerate(path.parts[:-1]) if part.endswith(_TURNED_FOLDER)]
    if not turned or not sets:
        return path
    first, *others = path.parts[sets[-1] : -1]
    return PurePosixPath(first.removesuffix(_TURNED_FOLDER), *others, turned[1] + path.suffix)


def is_turned(relative: str) -> bool:
    """Whether an image, by its path (`Sample.relative`), is one of a turned face.

    >>> is_turned("lfw_turned/Aaron_Eckhart_01_turned1.jpg"), is_turned("lfw/Aaron_Eckhart_01.jpg")
    (True, False)
    """
    path = PurePosixPath(relative)
    return _original_of(path) != path


def group_of(relative: str) -> str:
    """The photo or person named by an image's path, as "photo 134212" for "300w/afw/134212_2.jpg".

    The numbers of 300-W's photos are recognised wherever they stand in a name, so that copies under other
    names belong to the same group; a turned face belongs to the group of the face. Where the name says
    nothing, the image is a group of its own.
    """
    path = _original_of(PurePosixPath(relative))
    named = _LFPW.search(path.stem)
    if named:
        return f"{NAME_300W}/lfpw/{named[1].lower()}set image_{int(named[2]):04}"
    flickr = _FLICKR.search(path.stem)
    if flickr:
        return f"photo {flickr[1] or flickr[2]}"
    own = _IMAGE.fullmatch(path.stem)
    if own and path.parts[0] == NAME_300W:
        folder = official(PurePosixPath(*path.parts[1:-1]))
        return f"{path.parent if folder is None else f'{NAME_300W}/{folder}'} {own[1]}"
    ibug = _IBUG_NAMED.search(path.stem) or _IBUG.match(path.stem)
    if ibug:
        return f"{NAME_300W}/ibug image_{ibug[1]}"
    if own:
        return f"{path.parent} {own[1]}"
    person = _PERSON.fullmatch(path.stem)
    if person and any(part.lower() in PERSON_FOLDERS for part in path.parts[:-1]):
        return f"{path.parent} {person[1]}"
    return path.as_posix()


def eval_subsets(samples: list[Sample]) -> dict[str, list[Sample]]:
    """Samples by subset: "common", "challenging" and "full" of 300-W's test sets, and every folder."""
    groups: dict[str, list[Sample]] = {name: [] for name in POOLED}
    for sample in samples:
        groups.setdefault(sample.subset, []).append(sample)
        for name, folders in POOLED.items():
            if sample.is_300w and sample.subset in folders:
                groups[name].append(sample)
    return {name: members for name, members in groups.items() if members}
