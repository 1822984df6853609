"""Finding annotated photos: the 300-W tree, Menpo, and any folder of images with .pts files beside them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from facealign.arrays import FloatArray
from facealign.concurrency.pools import Where, read_map
from facealign.datasets.folders_300w import official, tree_of
from facealign.datasets.pts import read_pts
from facealign.datasets.same_photo import one_group_a_photo
from facealign.datasets.sample import NAME_300W, Sample, group_of
from facealign.errors import FaceAlignError, attempted
from facealign.geometry.landmarks import N_LANDMARKS
from facealign.io.addresses import is_remote, readers_of, walk_remote
from facealign.io.images import SUFFIXES, image_size

MISSING = ((-1, -1), (0, 0))
"""Coordinates in .pts files that stand for a point that nobody annotated."""
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


@dataclass(frozen=True)
class _Pair:
    """Files of one name in a folder: an annotation, an image, further images; and what a `Sample` needs."""

    annotation: Path | None
    image: Path | None
    others: tuple[Path, ...]
    subset: str
    relative: PurePosixPath

    def __str__(self) -> str:
        return str(self.annotation or self.image)


def scan(root: Path, strict: bool = False, where: Where = 1) -> Scan:
    """Every annotated image at or below `root`.

    `root` holds data sets (300w/, menpo/, any folder), or is one of them. Malformed annotations, annotations
    without an image and, in a folder with annotations, images without one go to `skipped`, or are raised as
    FaceAlignError if `strict`. Hidden files and folders are ignored; links are followed. root: a folder, or
    an address in a store; where: a scheduler's workers read the files, if it is one.
    Raises FaceAlignError when `root` is not a folder, or a folder below it cannot be read.
    """
    if not is_remote(root) and not root.is_dir():
        raise FaceAlignError(f"{root}: no such folder; expected images with .pts files, or folders of them")
    result, known = Scan(), set[str]()
    pairs = list(_pairs(root))
    for pair, one in zip(pairs, read_map(_sample_of, pairs, where, readers_of(root)), strict=True):
        if one is None:
            result.profiles += 1
        elif isinstance(one, FaceAlignError):
            if strict:
                raise one
            result.skipped.append((str(pair), str(one)))
        elif one.relative in known:
            reason = f"{one.path}: a second image known as {one.relative}; rename its folder"
            result.skipped.append((str(one.path), reason))
        else:
            known.add(one.relative)
            result.samples.append(one)
    result.samples.sort(key=lambda sample: sample.relative)
    return result


def _pairs(root: Path) -> Iterator[_Pair]:
    """Annotations and images of one name in the folders at and below `root` that hold annotations."""
    for folder, subset, relative in _folders(root):
        annotations = _by_stem(folder, (".pts",))
        images = _by_stem(folder, SUFFIXES) if annotations else {}
        for stem in sorted({*annotations, *images}):
            (annotation, *_), (image, *others) = annotations.get(stem, [None]), images.get(stem, [None])
            yield _Pair(annotation, image, tuple(filter(None, others)), subset, relative)


def _sample_of(pair: _Pair) -> Sample | FaceAlignError | None:
    """The annotated face; the error for which it is none; None for a profile face."""
    return attempted(_read, pair)


def _read(pair: _Pair) -> Sample | None:
    annotation, image = pair.annotation, pair.image
    if annotation is None:
        raise FaceAlignError(f"{image}: no annotation {image.stem if image else ''}.pts beside it")
    points = read_pts(annotation, expected=None)
    if len(points) == PROFILE_POINTS:
        return None
    if len(points) != N_LANDMARKS:
        raise FaceAlignError(f"{annotation}: {len(points)} points, expected {N_LANDMARKS}")
    if np.ptp(points, axis=0).min() < 1:
        raise FaceAlignError(f"{annotation}: its points span less than a pixel: no face")
    if image is None:
        raise FaceAlignError(f"{annotation}: no image of that name beside it")
    if pair.others:
        names = " or ".join(path.name for path in (image, *pair.others))
        raise FaceAlignError(f"{annotation}: belongs to {names}? leave one of them there")
    check_annotation(points, image, annotation)
    name = (pair.relative / image.name).as_posix()
    return Sample(image, points, pair.subset, name, group_of(name))


def faces_in(*roots: Path, strict: bool = False, where: Where = 1) -> Scan:
    """The results of `scan` of one or more folders together, with one face or more.

    Raises FaceAlignError as `scan` does, for no face, and for two images known by the same name.
    """
    found, skipped = dict[str, Sample](), list[tuple[str, str]]()
    profiles = 0
    for root in roots:
        one = scan(root, strict, where)
        for sample in one.samples:
            other = found.setdefault(sample.relative, sample)
            if other is not sample and sample.path.resolve() == other.path.resolve():
                raise FaceAlignError(f"{sample.path}: is in two of the roots; leave one of them out")
            if other is not sample:
                raise FaceAlignError(
                    f"{sample.path}: known as {sample.relative}, as {other.path} is; rename its folder"
                )
        skipped += one.skipped
        profiles += one.profiles
    if not found:
        reason = f" ({skipped[0][1]})" if skipped else ""
        named = ", ".join(map(str, roots))
        raise FaceAlignError(f"{named}: no image with 68 points in a .pts file beside it{reason}")
    return Scan(one_group_a_photo([found[name] for name in sorted(found)]), skipped, profiles)


def _folders(root: Path) -> Iterator[tuple[Path, str, PurePosixPath]]:
    """(folder, subset, path relative to the folder of data sets) of `root` and of all folders below it."""
    whole = root.resolve()
    walked = _walk(whole)
    above = tree_of(whole)
    base = whole if above is None and not _by_stem(whole, (".pts",)) else whole.parent
    trees: list[Path] = []
    seen: set[Path] = set()
    for folder, below in walked:
        if folder.resolve() in seen:  # reached before, through a link
            below.clear()
            continue
        seen.add(folder.resolve())
        below[:] = sorted(part for part in below if not part.startswith((".", "__MACOSX")))
        relative = PurePosixPath(folder.relative_to(base).as_posix())
        subset = relative.as_posix()
        tree = above or next((tree for tree in trees if folder.is_relative_to(tree)), None)
        if tree is None and tree_of(folder) == folder:
            trees.append(folder)
            tree = folder
        if tree is not None and folder.is_relative_to(tree):
            inside = PurePosixPath(folder.relative_to(tree).as_posix())
            subset = official(inside) or inside.as_posix()
            relative = PurePosixPath(NAME_300W) / (subset if _is_named(inside, subset) else inside)
        yield folder if is_remote(root) else root / folder.relative_to(whole), subset, relative


def _walk(root: Path) -> Iterable[tuple[Path, list[str]]]:
    """(folder, names of those in it) of a folder and all below it, but for those removed from the names."""
    if not is_remote(root):
        walked = os.walk(root, onerror=_unreadable, followlinks=True)
        return ((Path(name), below) for name, below, _ in walked)
    folders = walk_remote(root)
    first, below, files = next(folders)  # here, as a store that cannot be read is noticed by that
    if not below and not files:
        raise FaceAlignError(f"{root}: nothing in it; expected images with .pts files, or folders of them")
    return chain([(first, below)], ((folder, inner) for folder, inner, _ in folders))


def _is_named(inside: PurePosixPath, subset: str) -> bool:
    """Whether a path in a 300-W tree is just the official folder, however it is spelt."""
    return len(inside.parts) == len(PurePosixPath(subset).parts)


def _unreadable(error: OSError) -> None:
    raise FaceAlignError(f"{error.filename}: cannot be read ({error.strerror})") from error


def check_annotation(points: FloatArray, image: Path, annotation: Path) -> None:
    """Raises FaceAlignError when landmarks (n, 2) cannot be those of a face in an image.

    Points may lie outside, as of a face that is cut off, but none farther than half of the longer side.
    An image that cannot be read passes: what reads it will say so.
    """
    for mark in MISSING:
        for index in np.flatnonzero((points == np.array(mark) - 1.0).all(axis=1)):
            text = f"{mark[0]} {mark[1]}"
            raise FaceAlignError(f"{annotation}: point {index + 1} is marked as missing ({text})")
    size = image_size(image)
    if size is None:
        return
    outside = np.maximum(-points, points - (np.array(size[::-1]) - 1)).max(axis=1)
    if (outside > 0).all():
        raise FaceAlignError(
            f"{annotation}: all its points lie off {image.name}, which has {size[1]}x{size[0]} pixels"
        )
    farthest = int(outside.argmax())
    if outside[farthest] > max(size) / 2:
        raise FaceAlignError(
            f"{annotation}: point {farthest + 1} lies far off {image.name}, which has {size[1]}x{size[0]} "
            "pixels"
        )


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Files of a folder by stem, in the order of their names; suffixes in any case."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    return found
