"""The Debian packages the build needs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from builder.common import HERE, BuildError, say


def required() -> list[str]:
    """The packages named in apt-packages.txt."""
    lines = (HERE / "apt-packages.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def missing(extra: Sequence[str] = ()) -> list[str]:
    """Those of the required packages, and of `extra`, that dpkg does not report as installed."""
    wanted = [*required(), *extra]
    found = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    installed = {line.split()[0] for line in found.splitlines() if line.endswith(" installed")}
    return [package for package in wanted if package not in installed]


def require(extra: Sequence[str] = ()) -> None:
    """Raise BuildError, with the command that installs them, when packages are missing; see `missing`.

    On a system without dpkg nothing is known: the compiler will name what it lacks.
    """
    if shutil.which("dpkg-query") is None:
        say("no dpkg here: assuming the libraries of apt-packages.txt are installed")
        return
    packages = missing(extra)
    if packages:
        raise BuildError(
            f"Debian packages are missing: {' '.join(packages)}; as root: apt-get install "
            f"--no-install-recommends {' '.join(packages)} (in this repository: make deps)"
        )


def owner(library: str) -> str:
    """The package that a shared library, given by its file name, belongs to.

    Raises BuildError if dpkg knows of none.
    """
    # Below these, not libraries for other processors that a cross compiler brings.
    places = [f"{root}/*/{library}" for root in ("/lib", "/usr/lib")] + [f"/usr/lib/{library}"]
    done = subprocess.run(["dpkg-query", "--search", *places], capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if not line.startswith("diversion")]
    if not found:
        raise BuildError(f"dpkg knows of no package with {library}")
    return found[0].split(":")[0].split(",")[0]
