"""The images that a command line names: files, folders with all below them, patterns; names for outputs."""

import glob
import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from facealign.io.addresses import files_below, is_remote, matching
from facealign.io.images import SUFFIXES
from facealign.video.reading import SUFFIXES as VIDEOS

LONGEST_STEM = 150
"""Bytes of a picture's name before its suffix."""
BESIDE_IMAGES = (".csv", ".json", ".jsonl", ".md", ".pts", ".txt")
"""Suffixes of files that lie beside images and are none."""
WRITABLE = (".jpg", ".jpeg", ".png", ".bmp")


@dataclass
class FoundImages:
    """files: each once, in order; places: of each, below the folder that was named, or its name; notes: lines
    about what holds no image, or is none.
    """

    files: list[Path] = field(default_factory=list)
    places: list[PurePath] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_images(arguments: Sequence[Path], output: Path | None = None) -> FoundImages:
    """The images that arguments name, in order.

    A folder stands for the images in it and below it, sorted, without what is hidden; an argument with `*`,
    `?` or `[` that is no file for all that it matches (`**`: any folders). A named file is kept even when it
    does not exist, to be reported with the others that cannot be read. output: a folder that is passed over,
    as results of former runs are in it.
    """
    found = FoundImages()
    known: set[Path] = set()
    others: dict[str, list[Path]] = {}
    for argument in arguments:
        if is_remote(argument):
            _add_remote(found, known, others, argument)
            continue
        matches = _matches(argument)
        if not matches:
            found.notes.append(f"{argument}: nothing has such a name")
        for path in matches:
            if not path.is_dir():
                inside = [(path, PurePath(path.name))]
                if path != argument and path.suffix.lower() not in SUFFIXES:
                    others.setdefault(path.suffix.lower(), []).append(path)
                    continue
            else:
                inside = list(_below(path, output, others))
                if not inside:
                    found.notes.append(f"{path}: no image in it; expected {', '.join(SUFFIXES)}")
            for file, place in inside:
                if real_path(file) not in known:
                    known.add(real_path(file))
                    found.files.append(file)
                    found.places.append(place)
    for suffix, paths in others.items():
        if suffix not in BESIDE_IMAGES:
            more = "" if len(paths) == 1 else f" and {len(paths) - 1} more of this kind"
            hint = "; --video takes a video" if suffix in VIDEOS else ""
            found.notes.append(f"{paths[0]}{more}: not a format that is read{hint}")
    return found


def _add_remote(found: FoundImages, known: set[Path], others: dict[str, list[Path]], argument: Path) -> None:
    """Add the images that an address in a store names: a file, a folder, a pattern."""
    inside = matching(argument) if glob.has_magic(str(argument)) else files_below(argument)
    shown = [(place, path) for place, path in inside if not any(part.startswith(".") for part in place.parts)]
    images = 0
    for place, path in shown:
        if path.suffix.lower() not in SUFFIXES:
            others.setdefault(path.suffix.lower(), []).append(path)
            continue
        images += 1
        if path not in known:
            known.add(path)
            found.files.append(path)
            found.places.append(place)
    if not images:
        found.notes.append(f"{argument}: no image in it; expected {', '.join(SUFFIXES)}")


def _matches(argument: Path) -> list[Path]:
    """What an argument stands for: itself, or what its pattern matches."""
    if os.path.lexists(argument) or not glob.has_magic(str(argument)):
        return [argument]
    return [Path(name) for name in sorted(glob.glob(str(argument), recursive=True))]


def _below(
    folder: Path, output: Path | None, others: dict[str, list[Path]]
) -> Iterator[tuple[Path, PurePath]]:
    """(file, its place below the folder) of every image; other files are put into `others` by suffix."""
    seen = set() if output is None else {real_path(output)}
    seen.discard(real_path(folder))  # when it is named itself
    for name, folders, files in os.walk(folder, followlinks=True):
        here = Path(name)
        if real_path(here) in seen:  # the output, or reached before through a link
            folders.clear()
            continue
        seen.add(real_path(here))
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in sorted(files):
            path = here / file
            if file.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES:
                yield path, PurePath(path.relative_to(folder))
            else:
                others.setdefault(path.suffix.lower(), []).append(path)


def real_path(path: Path) -> Path:
    """Where a file is, links followed; a loop of links is taken as it is, to be reported when it is read."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def picture_names(
    files: Sequence[Path],
    places: Sequence[PurePath] | None = None,
    by_stem: bool = False,
    reserved: Sequence[str] = (),
) -> list[str]:
    """Output name of each file, all different even when case is ignored.

    places: of each file, by default its name: kept where it is free; for a second file of that place, with
    its folder's name before it; then with a number. by_stem: also different without their suffixes; reserved:
    names that are not given.
    """
    taken = {name.lower() for name in reserved}
    folders: set[str] = set()
    names = []
    for file, place in zip(files, places or [PurePath(file.name) for file in files], strict=True):
        for name in _choices(file, place):
            path = PurePath(name.lower())
            above = {parent.as_posix() for parent in path.parents} - {"."}
            own = path.with_suffix("").as_posix() if by_stem else path.as_posix()
            if not {own, path.as_posix()} & taken and path.as_posix() not in folders and not above & taken:
                break
        taken |= {own, path.as_posix()}
        folders |= above
        names.append(name)
    return names


def _choices(file: Path, place: PurePath) -> Iterator[str]:
    """Names for the output of a file, the best first."""
    suffix = file.suffix if file.suffix.lower() in WRITABLE else ".png"
    stem = file.name if file.suffix.lower() not in WRITABLE else file.stem
    if len(os.fsencode(stem)) > LONGEST_STEM:  # with what is added, file systems would refuse it
        whole = os.fsencode(stem)
        stem = f"{whole[: LONGEST_STEM - 9].decode(errors='ignore')}_{zlib.crc32(whole):08x}"
    folder = file.absolute().parent.name
    yield (place.parent / f"{stem}{suffix}").as_posix()
    yield f"{folder}_{stem}{suffix}"
    for number in itertools.count(2):
        yield f"{folder}_{stem}_{number}{suffix}"
