"""Folders that come with the package: inside it when installed, beside it in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def package_folder(name: str) -> Path:
    """Path of the folder `name` ("models" or "prototxt") that comes with the package."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
