"""Annotated photos: the 300-W tree, Menpo, and any folder of pictures with .pts files of the same names."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from facealign.arrays import FloatArray
from facealign.errors import FaceAlignError
from facealign.images import SUFFIXES
from facealign.markup import N_LANDMARKS, read_pts

FOLDERS_300W = ("afw", "helen/testset", "helen/trainset", "ibug", "lfpw/testset", "lfpw/trainset")
TEST_FOLDERS = ("helen/testset", "ibug", "lfpw/testset")
"""The folders of 300-W that are for testing: never trained on."""
POOLED: dict[str, tuple[str, ...]] = {
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
"""The usual subsets of 300-W's test images, and the folders they pool."""
NAME_300W = "300w"
PROFILE_POINTS = 39
"""Menpo's profile faces have 39 points, which the 68-point networks cannot use."""

_TEST_GROUPS = (f"{NAME_300W}/lfpw/testset ", f"{NAME_300W}/ibug ")
"""How the groups of photos begin whose name alone tells that they are of a test set."""
_GROUPS = (
    # Pictures that 300W-LP made of the others: SET_NAME_VIEW.
    (re.compile(r"LFPW_image_(train|test)_(\d+)_\d+"), rf"{NAME_300W}/lfpw/\1set image_\2", False),
    (re.compile(r"IBUG_(image_\d+)(?: ?_\d+)?_\d+"), rf"{NAME_300W}/ibug \1", False),
    # Flickr number, face: AFW and HELEN, and the same in 300W-LP.
    (re.compile(r"(?:AFW_|HELEN_)?(\d{5,})_\d+(?:_\d+)?"), r"photo \1", False),
    # LFPW and iBUG.
    (re.compile(r"(image_\d+)(?: ?_\d+)?"), r"\1", True),
    # Frames of a person's video.
    (re.compile(r"(.*[^\W\d].*)_\d{1,3}"), r"\1", True),
)
"""(pattern of a name, its photo or person, whether that is meant within its folder only)."""


@dataclass(frozen=True)
class Sample:
    """An annotated face.

    points: (68, 2), 0-based pixels; subset: its folder ("helen/trainset", "menpo"...); relative: path from
    the folder that holds the data sets; group: photo or person, never to be on both sides of a split.
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
        """Whether it is of a test set of 300-W or, as its name tells, made of a picture of one."""
        return (self.is_300w and self.subset in TEST_FOLDERS) or self.group.startswith(_TEST_GROUPS)


@dataclass
class Scan:
    """What a folder holds: samples in the order of `relative`; (file, reason) of what cannot be used; number
    of profile faces with 39 points, which are left out.
    """

    samples: list[Sample] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    profiles: int = 0


def scan(root: Path, strict: bool = False) -> Scan:
    """Find every annotated picture at or below `root`.

    `root` holds data sets (300w/, menpo/, any folder), or is one of them. An annotation without its picture
    or that is malformed, and in a folder of annotations a picture without one, goes to `skipped`, or is
    raised as FaceAlignError if `strict`. Hidden files and folders are passed over; links are followed.
    Raises FaceAlignError when `root` is no folder, or one below it cannot be read.
    """
    if not root.is_dir():
        raise FaceAlignError(f"{root}: no such folder; expected pictures with .pts files, or folders of them")
    result = Scan()
    for folder, subset, relative in _folders(root):
        annotations = _by_stem(folder, (".pts",))
        pictures = _by_stem(folder, SUFFIXES) if annotations else {}
        for stem in sorted({*annotations, *pictures}):
            annotation, picture = annotations.get(stem), pictures.get(stem)
            try:
                if annotation is None:
                    raise FaceAlignError(f"{picture}: no annotation {stem}.pts beside it")
                points = read_pts(annotation, expected=None)
                if len(points) == PROFILE_POINTS:
                    result.profiles += 1
                    continue
                if len(points) != N_LANDMARKS:
                    raise FaceAlignError(f"{annotation}: {len(points)} points, expected {N_LANDMARKS}")
                if np.ptp(points, axis=0).min() < 1:
                    raise FaceAlignError(f"{annotation}: its points span less than a pixel: no face")
                if picture is None:
                    raise FaceAlignError(f"{annotation}: no picture of that name beside it")
            except FaceAlignError as error:
                if strict:
                    raise
                result.skipped.append((str(annotation or picture), str(error)))
                continue
            name = (relative / picture.name).as_posix()
            result.samples.append(Sample(picture, points, subset, name, group_of(name)))
    result.samples.sort(key=lambda sample: sample.relative)
    return result


def _folders(root: Path) -> Iterator[tuple[Path, str, PurePosixPath]]:
    """(folder, subset, path relative to the folder of data sets) of `root` and all below it."""
    whole = root.resolve()
    base, tree = whole.parent, _tree_of(whole)
    if tree is None and not _by_stem(whole, (".pts",)):
        base = whole
        tree = next((path for path in sorted(whole.iterdir()) if _tree_of(path) == path), None)
    seen: set[Path] = set()
    for name, below, _ in os.walk(whole, onerror=_unreadable, followlinks=True):
        folder = Path(name)
        if folder.resolve() in seen:  # by a link
            below.clear()
            continue
        seen.add(folder.resolve())
        below[:] = sorted(part for part in below if not part.startswith((".", "__MACOSX")))
        relative = PurePosixPath(folder.relative_to(base).as_posix())
        subset = relative.as_posix()
        if tree is not None and folder.is_relative_to(tree):
            subset = folder.relative_to(tree).as_posix()
            relative = PurePosixPath(NAME_300W) / subset
        yield root / folder.relative_to(whole), subset, relative


def _unreadable(error: OSError) -> None:
    raise FaceAlignError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _tree_of(folder: Path) -> Path | None:
    """The 300-W tree that a folder is, or is a part of, such as "300w/lfpw" or "300w/lfpw/testset"."""
    for name in FOLDERS_300W:
        parts = PurePosixPath(name).parts
        for depth in range(len(parts) + 1):
            within = folder.parts[len(folder.parts) - depth :] == parts[:depth]
            if within and folder.joinpath(*parts[depth:]).is_dir():
                return [folder, *folder.parents][depth]
    return None


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Stem -> file of a folder, suffixes in any case; the first by name where several share a stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.stem, path)
    return found


def group_of(relative: str) -> str:
    """The photo or person that a picture's name tells, such as "photo 134212" for "300w/afw/134212_2.jpg".

    A name that tells nothing is a group of its own.
    """
    path = PurePosixPath(relative)
    for pattern, group, within in _GROUPS:
        match = pattern.fullmatch(path.stem)
        if match:
            told = match.expand(group)
            return f"{path.parent} {told}" if within else told
    return relative


def eval_subsets(samples: list[Sample]) -> dict[str, list[Sample]]:
    """Subset -> its samples: "common", "challenging" and "full" of 300-W's test sets, and every folder."""
    groups: dict[str, list[Sample]] = {name: [] for name in POOLED}
    for sample in samples:
        groups.setdefault(sample.subset, []).append(sample)
        for name, folders in POOLED.items():
            if sample.is_300w and sample.subset in folders:
                groups[name].append(sample)
    return {name: members for name, members in groups.items() if members}
