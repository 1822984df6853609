"""Run upstream Caffe's own tests against our build: the C++ ones, and pycaffe's with what is in .venv.

python custom_caffe/checks/run_upstream_tests.py --venv .venv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from builder import packages, upstream_tests, wheel
from builder.common import BuildError
from builder.compile import Interpreter


def main() -> int:
    """Run the program; returns its exit code: 1 if any test failed."""
    parser = argparse.ArgumentParser(description="Run upstream's own tests; print how many passed.")
    parser.add_argument("--venv", type=Path, required=True, help="virtual environment with Caffe and pytest")
    arguments = parser.parse_args()
    executable = arguments.venv / "bin" / "python"
    if not executable.exists():
        parser.error(f"--venv {arguments.venv}: no Python in it: run 'make caffe'")
    try:
        interpreter = Interpreter.ask(executable.absolute())
        if wheel.installed_key(interpreter) != wheel.build_key(interpreter):
            raise BuildError(f"the Caffe in {arguments.venv} is not of the present sources: run 'make caffe'")
        packages.require()
        tree, root = upstream_tests.compile_cpp(interpreter), upstream_tests.gather()
        outcomes = [
            upstream_tests.run_cpp(interpreter, tree, root),
            upstream_tests.run_python(interpreter, root),
        ]
    except BuildError as error:
        print(f"caffe build: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("caffe build: interrupted; the next run compiles on from here", file=sys.stderr)
        return 130
    for outcome in outcomes:
        print("\n".join(outcome.lines()))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
