"""The environments with the peers: build/bench-venv*, from lists. One that does not install is named."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import FACENET_PYTHON, PEERS_PYTHON

WITHOUT_DEPENDENCIES = frozenset({"facenet-pytorch"})
"""It asks for PyTorch before 2.3 and NumPy before 2, but runs with later ones."""
INSTALL_SECONDS = 900.0


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its Python, and the requirements file with all that it needs."""

    python: Path
    listed: Path

    @property
    def wanted(self) -> str:
        return self.listed.read_text(encoding="utf-8")

    @property
    def packages(self) -> list[str]:
        return [name_of(requirement) for requirement in requirements(self.wanted)]


ENVIRONMENTS = (
    Environment(PEERS_PYTHON, Path(__file__).with_name("peers.txt")),
    Environment(FACENET_PYTHON, Path(__file__).with_name("peers_facenet.txt")),
)


def requirements(text: str) -> list[str]:
    """The lines of a requirements file that ask for something."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


def name_of(requirement: str) -> str:
    return requirement.split("==")[0]


def set_up(environment: Environment) -> list[str]:
    """Install what is not yet there; one line for each peer that cannot be.

    Ends at once when all that the list asks for was installed before.
    """
    python, wanted = environment.python, environment.wanted
    directory = python.parent.parent
    stamp = directory / "installed.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return []
    print(f"installing the peers of {environment.listed.name} into {directory}", file=sys.stderr)
    if not python.is_file():
        shutil.rmtree(directory, ignore_errors=True)  # an interrupted attempt
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    problems = []
    for requirement in requirements(wanted):
        # Most of PyTorch is never imported, so to compile it all takes longer than it saves.
        command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile"]
        command += ["--disable-pip-version-check"]
        alone = name_of(requirement) in WITHOUT_DEPENDENCIES
        command += ["--no-deps"] if alone else ["--constraint", str(environment.listed)]
        try:
            done = subprocess.run(
                [*command, requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
            )
            problem = "" if done.returncode == 0 else _reason(done.stderr)
        except subprocess.TimeoutExpired:
            problem = f"not done in {INSTALL_SECONDS:.0f} s"
        if problem:
            problems.append(f"{requirement}: does not install ({problem})")
    if not problems:
        stamp.write_text(wanted, encoding="utf-8")
    return problems


def versions(python: Path, packages: list[str]) -> dict[str, str]:
    """Versions of those of the packages that this Python has."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError:\n"
        "        pass\n"
        "print(json.dumps(found))\n"
    )
    if not python.is_file():
        return {}
    output = subprocess.run(
        [str(python), "-c", code, *packages], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, str] = json.loads(output)
    return found


def _reason(errors: str) -> str:
    said = [line.strip() for line in errors.splitlines() if line.startswith("ERROR:")]
    return said[-1].removeprefix("ERROR:").strip() if said else "pip gave no reason"
