"""JavaScript libraries that are put into the page: kept in `vendor/` as their authors published them."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).parent / "vendor"


@dataclass(frozen=True)
class Library:
    """A library: its files by name, without what would end the element of HTML that they are put into."""

    name: str
    version: str
    licence: str
    homepage: str
    files: dict[str, str]


def library(name: str) -> Library:
    """The library described by NAME.toml in `vendor/`.

    Raises ValueError when a file is not the published one, by its SHA-256.

    >>> library("uPlot").licence
    'MIT'
    """
    described = tomllib.loads((VENDOR / f"{name}.toml").read_text(encoding="utf-8"))
    files = {}
    for file, sha256 in described["files"].items():
        content = (VENDOR / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{VENDOR / file}: not the file of {name} {described['version']}")
        files[file] = content.decode("utf-8")
    return Library(name, described["version"], described["licence"], described["homepage"], files)
