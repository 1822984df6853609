"""Build the wheel for several Pythons and run the pycaffe tests, upstream's and ours, with several protobufs.

python custom_caffe/checks/try_pythons.py                        every Python from 3.11 on that is here
python custom_caffe/checks/try_pythons.py --python /opt/python3.12 --protobuf 5 6
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from builder import packages, upstream_tests, wheel
from builder.common import HERE, BuildError, build_directory, capture, say
from builder.compile import Interpreter

OURS = HERE.parent / "tests" / "custom_caffe" / "test_pycaffe.py"
NEEDED = ["numpy>=2", "scikit-image", "scipy", "six", "pytest", "pydot"]
_VERSION = "import sys; print(*sys.version_info[:2])"
_VERSIONS = """
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("numpy", "protobuf", "scikit-image")), sep=", ")
"""


def find_pythons() -> list[Path]:
    """One interpreter of each minor version from 3.11 on: from PATH, or else of pyenv."""
    candidates = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    found: dict[tuple[int, int], Path] = {}
    for path in [*(Path(name) for name in candidates if name), *pyenv]:
        done = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
        if done.returncode == 0:  # a shim of pyenv may stand for a Python that is not chosen
            major, minor = (int(part) for part in done.stdout.split())
            if (major, minor) >= (3, 11):
                found.setdefault((major, minor), path)
    return [found[version] for version in sorted(found)]


def check(python: Path, protobufs: list[int]) -> bool:
    """Test one Python in a fresh environment and print a line for each protobuf; whether all passed."""
    major, minor = capture([python, "-c", _VERSION]).split()
    venv = build_directory() / f"venv-cp{major}{minor}"
    if venv.exists():
        shutil.rmtree(venv)
    capture([python, "-m", "venv", venv])
    executable = venv / "bin" / "python"
    pip: list[str | Path] = [executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    capture([*pip, *NEEDED])
    interpreter = Interpreter.ask(executable)
    capture([*pip, wheel.ensure_wheel(interpreter)])
    root = upstream_tests.gather()
    good = True
    for protobuf in protobufs:
        capture([*pip, f"protobuf=={protobuf}.*"])
        versions = capture([executable, "-c", _VERSIONS]).strip()
        outcomes = [
            upstream_tests.run_python(interpreter, root, suite="upstream"),
            upstream_tests.run_python(interpreter, root, OURS, suite="ours"),
        ]
        for outcome in outcomes:
            for line in outcome.failed:
                print(f"Python {major}.{minor}, {versions}: FAILED {line}")
        told = ", ".join(f"{outcome.suite} {outcome.passed} of {outcome.planned}" for outcome in outcomes)
        print(f"Python {major}.{minor}, {versions}: {told} passed", flush=True)
        good = good and not any(outcome.failed for outcome in outcomes)
    return good


def main() -> int:
    """Run the program; returns its exit code: 1 if any test failed."""
    parser = argparse.ArgumentParser(description="Run the pycaffe tests with several Pythons and protobufs.")
    parser.add_argument(
        "--python", type=Path, nargs="+", help="interpreters; default: all found from 3.11 on"
    )
    parser.add_argument("--protobuf", type=int, nargs="+", default=[4, 5, 6, 7], help="major versions")
    arguments = parser.parse_args()
    try:
        packages.require()
        pythons = arguments.python or find_pythons()
        say(f"Pythons: {' '.join(str(python) for python in pythons)}")
        results = [check(python, arguments.protobuf) for python in pythons]
    except BuildError as error:
        print(f"caffe build: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caffe build: interrupted; the next run compiles on from here", file=sys.stderr)
        return 130
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
