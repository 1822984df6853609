"""The environment with the peers: build/bench-venv, from peers.txt. One that does not install is told of."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import PEERS_PYTHON

LIST = Path(__file__).with_name("peers.txt")
WITHOUT_DEPENDENCIES = frozenset({"facenet-pytorch"})
"""It asks for PyTorch before 2.3 and NumPy before 2, but runs with later ones."""
INSTALL_SECONDS = 900.0


def requirements(text: str) -> list[str]:
    """The lines of a requirements file that ask for something."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


def set_up(python: Path = PEERS_PYTHON) -> list[str]:
    """Install what is not yet there; one line for each peer that cannot be.

    Ends at once when all that peers.txt asks for was installed before.
    """
    wanted = LIST.read_text(encoding="utf-8")
    stamp = python.parent.parent / "peers.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return []
    environment = python.parent.parent
    print(f"installing the peers into {environment}", file=sys.stderr)
    if not python.is_file():
        shutil.rmtree(environment, ignore_errors=True)  # an interrupted attempt
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    problems = []
    for requirement in requirements(wanted):
        name = requirement.split("==")[0]
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps"] if name in WITHOUT_DEPENDENCIES else ["--constraint", str(LIST)]
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
