"""Build our Caffe as a wheel and install it into a virtual environment, doing only what is not yet done.

python custom_caffe/build.py                 the wheel for this Python, in build/caffe
python custom_caffe/build.py --venv .venv    the wheel for .venv's Python, installed there
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder import packages, wheel
from builder.common import BuildError, capture, say
from builder.compile import Interpreter


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(description="Build our Caffe as a wheel; print the wheel's path.")
    parser.add_argument("--venv", type=Path, help="virtual environment to build for and to install into")
    parser.add_argument("--no-apt", action="store_true", help="do not install missing Debian packages")
    arguments = parser.parse_args()
    executable = Path(sys.executable)
    if arguments.venv is not None:
        executable = arguments.venv / "bin" / "python"
        if not executable.exists():
            parser.error(f"--venv {arguments.venv}: no Python in it: make it with 'python3 -m venv'")
        # Absolute, but not resolved: it is the link inside the environment that makes it the environment.
        executable = executable.absolute()
    try:
        interpreter = Interpreter.ask(executable)
        if not arguments.no_apt and wheel.is_stale(interpreter):
            packages.install_missing()
        built = wheel.ensure_wheel(interpreter)
        if arguments.venv is not None and wheel.installed_key(interpreter) != wheel.wheel_key(built):
            say(f"installing into {arguments.venv}")
            install: list[str | Path] = [executable, "-m", "pip", "install", "--quiet"]
            # Twice, as forcing would also reinstall what it depends on.
            capture([*install, "--force-reinstall", "--no-deps", built])
            capture([*install, built])
    except BuildError as error:
        print(f"caffe build: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caffe build: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    print(built)
    return 0


if __name__ == "__main__":
    sys.exit(main())
