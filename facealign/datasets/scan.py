"""Annotated photos: the 300-W tree, Menpo, and any folder of pictures with .pts files of the same names."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from facealign.datasets.pts import read_pts
from facealign.datasets.sample import FOLDERS_300W, NAME_300W, Sample, group_of
from facealign.errors import FaceAlignError
from facealign.geometry.landmarks import N_LANDMARKS
from facealign.io.images import SUFFIXES

PROFILE_POINTS = 39
"""Menpo's profile faces have 39 points, which the 68-point networks cannot use."""


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


def faces_in(root: Path, strict: bool = False) -> Scan:
    """What `scan` finds. Raises FaceAlignError, as that does, and when there is no face among it."""
    found = scan(root, strict)
    if not found.samples:
        reason = f" ({found.skipped[0][1]})" if found.skipped else ""
        raise FaceAlignError(f"{root}: no image with 68 points in a .pts file beside it{reason}")
    return found


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
