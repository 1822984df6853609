"""Finding annotated photos: the 300-W tree, Menpo, and any folder of images with .pts files beside them."""

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
    """Contents of a folder.

    samples: in the order of `relative`; skipped: (file, reason) of each file that cannot be used; profiles:
    number of profile faces with 39 points, which are left out.
    """

    samples: list[Sample] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    profiles: int = 0


def scan(root: Path, strict: bool = False) -> Scan:
    """Every annotated image at or below `root`.

    `root` holds data sets (300w/, menpo/, any folder), or is one of them. Malformed annotations, annotations
    without an image and, in a folder with annotations, images without one go to `skipped`, or are raised as
    FaceAlignError if `strict`. Hidden files and folders are ignored; links are followed.
    Raises FaceAlignError when `root` is not a folder, or a folder below it cannot be read.
    """
    if not root.is_dir():
        raise FaceAlignError(f"{root}: no such folder; expected images with .pts files, or folders of them")
    result = Scan()
    for folder, subset, relative in _folders(root):
        annotations = _by_stem(folder, (".pts",))
        images = _by_stem(folder, SUFFIXES) if annotations else {}
        for stem in sorted({*annotations, *images}):
            annotation, image = annotations.get(stem), images.get(stem)
            try:
                if annotation is None:
                    raise FaceAlignError(f"{image}: no annotation {stem}.pts beside it")
                points = read_pts(annotation, expected=None)
                if len(points) == PROFILE_POINTS:
                    result.profiles += 1
                    continue
                if len(points) != N_LANDMARKS:
                    raise FaceAlignError(f"{annotation}: {len(points)} points, expected {N_LANDMARKS}")
                if np.ptp(points, axis=0).min() < 1:
                    raise FaceAlignError(f"{annotation}: its points span less than a pixel: no face")
                if image is None:
                    raise FaceAlignError(f"{annotation}: no image of that name beside it")
            except FaceAlignError as error:
                if strict:
                    raise
                result.skipped.append((str(annotation or image), str(error)))
                continue
            name = (relative / image.name).as_posix()
            result.samples.append(Sample(image, points, subset, name, group_of(name)))
    result.samples.sort(key=lambda sample: sample.relative)
    return result


def faces_in(root: Path, strict: bool = False) -> Scan:
    """The result of `scan`, with one face or more. Raises FaceAlignError as `scan` does, and for no face."""
    found = scan(root, strict)
    if not found.samples:
        reason = f" ({found.skipped[0][1]})" if found.skipped else ""
        raise FaceAlignError(f"{root}: no image with 68 points in a .pts file beside it{reason}")
    return found


def _folders(root: Path) -> Iterator[tuple[Path, str, PurePosixPath]]:
    """(folder, subset, path relative to the folder of data sets) of `root` and of all folders below it."""
    whole = root.resolve()
    base, tree = whole.parent, _tree_of(whole)
    if tree is None and not _by_stem(whole, (".pts",)):
        base = whole
        tree = next((path for path in sorted(whole.iterdir()) if _tree_of(path) == path), None)
    seen: set[Path] = set()
    for name, below, _ in os.walk(whole, onerror=_unreadable, followlinks=True):
        folder = Path(name)
        if folder.resolve() in seen:  # reached before, through a link
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
    """The root of the 300-W tree that a folder belongs to, as "300w/lfpw/testset" does; None if to none."""
    for name in FOLDERS_300W:
        parts = PurePosixPath(name).parts
        for depth in range(len(parts) + 1):
            within = folder.parts[len(folder.parts) - depth :] == parts[:depth]
            if within and folder.joinpath(*parts[depth:]).is_dir():
                return [folder, *folder.parents][depth]
    return None


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder by stem, suffixes in any case; where several share a stem, the first by name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.stem, path)
    return found
