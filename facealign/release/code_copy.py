"""A copy of this package for one long job, which changes to the code then do not disturb."""

import filecmp
import shutil
from pathlib import Path

from facealign.io.atomic import replacing
from facealign.io.package_data import PACKAGE, package_folder

FOLDERS = ("models", "prototxt")
"""Folders beside the package in a checkout, inside it when installed."""


def copy_code(folder: Path) -> None:
    """Make `folder` a place to import `facealign` from as it is now; it appears only when complete."""
    with replacing(folder) as partial:
        inside = partial / PACKAGE.name
        shutil.copytree(PACKAGE, inside, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FOLDERS:
            if not (inside / name).exists():
                shutil.copytree(package_folder(name), inside / name)


def changed_since(folder: Path) -> list[str]:
    """Python files of the package that are not as they were copied to `folder`, relative to the package."""
    copy = folder / PACKAGE.name
    names = {path.relative_to(place).as_posix() for place in (PACKAGE, copy) for path in place.rglob("*.py")}
    return sorted(
        name
        for name in names
        if not ((PACKAGE / name).is_file() and (copy / name).is_file())
        or not filecmp.cmp(PACKAGE / name, copy / name, shallow=False)
    )
