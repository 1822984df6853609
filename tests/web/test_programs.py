"""The page's programs as a whole: their types, and the lists of npm's packages."""

import json
import re
import subprocess

from facealign.web.npm import LISTS
from tests.web.modules import NODE


def test_types(node_modules):
    """By TypeScript's checker, from the types in the comments."""
    checker = node_modules / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [NODE, checker, "--project", LISTS / "tsconfig.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_script_says_that_its_types_are_checked():
    for folder in (LISTS / "page", LISTS.parent / "serve" / "page"):
        for script in folder.glob("*.js"):
            assert script.read_text().startswith("// @ts-check\n"), script


def test_packages_are_pinned_by_their_checksums_and_by_no_address():
    wanted = json.loads((LISTS / "package.json").read_text())
    lock = (LISTS / "package-lock.json").read_text()
    for version in (wanted["dependencies"] | wanted["devDependencies"]).values():
        assert re.fullmatch(r"[\d.]+", version)
    packages = json.loads(lock)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
    assert "resolved" not in lock
