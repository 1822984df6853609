"""Folders of the 300-W release, recognised however they are spelt."""

import re
from pathlib import Path, PurePosixPath

FOLDERS_300W = (
    "01_indoor",
    "02_outdoor",
    "afw",
    "helen/testset",
    "helen/trainset",
    "ibug",
    "lfpw/testset",
    "lfpw/trainset",
)
TEST_FOLDERS = ("01_indoor", "02_outdoor", "helen/testset", "ibug", "lfpw/testset")
"""The folders that are for testing and never trained on; the first two are the test set of the challenge."""
SPELLINGS = {
    "01indoor": "01_indoor",
    "02outdoor": "02_outdoor",
    "afw": "afw",
    "helen": "helen",
    "ibug": "ibug",
    "lfpw": "lfpw",
    "test": "testset",
    "testset": "testset",
    "testing": "testset",
    "testimages": "testset",
    "train": "trainset",
    "trainset": "trainset",
    "training": "trainset",
    "trainimages": "trainset",
}
"""Letters and digits of a folder's name in lower case -> the part of FOLDERS_300W that it means."""
OTHER_TREES = ("300wlp", "300vw", "300wturned")
"""How the names of data sets begin that have folders of the same names."""


def official(relative: PurePosixPath) -> str | None:
    """The folder of the release that a path below the root of a 300-W tree is or lies in; None if in none.

    Folders between and below do not matter: archives are unpacked into folders of their own.

    >>> official(PurePosixPath("HELEN/Test_Set/images")), official(PurePosixPath("lfpw/lfpw/testset"))
    ('helen/testset', 'lfpw/testset')
    >>> official(PurePosixPath("HELEN/mine")) is None
    True
    """
    meanings = [_meaning(part) for part in relative.parts]
    for name in (*TEST_FOLDERS, *FOLDERS_300W):  # where two fit, the one that is never trained on
        rest = iter(meanings)
        if all(part in rest for part in PurePosixPath(name).parts):
            return name
    return None


def tree_of(folder: Path) -> Path | None:
    """The root of the 300-W tree that a folder belongs to, as "300w/lfpw/testset" does; None if to none."""
    for name in FOLDERS_300W:
        parts = PurePosixPath(name).parts
        for place in (folder, *folder.parents):
            for depth in range(len(parts) + 1) if place == folder else (len(parts),):
                within = tuple(map(_meaning, place.parts[len(place.parts) - depth :])) == parts[:depth]
                if within and _holds(place, parts[depth:]):
                    root = [place, *place.parents][depth]
                    return None if _plain(root.name).startswith(OTHER_TREES) else root
    return None


def _holds(folder: Path, parts: tuple[str, ...]) -> bool:
    """Whether a folder has folders below it that mean these parts, one in the other."""
    if not parts:
        return folder.is_dir()
    try:
        below = [path for path in folder.iterdir() if _meaning(path.name) == parts[0] and path.is_dir()]
    except OSError:
        return False
    return any(_holds(path, parts[1:]) for path in below)


def _meaning(name: str) -> str | None:
    return SPELLINGS.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
