"""Build our Caffe as a wheel and install it into a virtual environment, doing only what is not yet done.

python custom_caffe/build.py                 the wheel for this Python, in build/caffe
python custom_caffe/build.py --venv .venv    the wheel for .venv's Python, installed there
python custom_caffe/build.py --gpu           with CUDA
python custom_caffe/build.py --portable      a wheel for machines without the Debian packages, in dist
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder import cuda, packages, portable, wheel
from builder.common import BuildError, capture, say
from builder.compile import Interpreter
from builder.variants import CPU


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(description="Build our Caffe as a wheel; print the wheel's path.")
    parser.add_argument("--venv", type=Path, help="virtual environment to build for and to install into")
    parser.add_argument("--gpu", action="store_true", help="with CUDA; $CUDA_HOME or nvcc tells which")
    parser.add_argument(
        "--cudnn",
        action=argparse.BooleanOptionalAction,
        help="with --gpu: with cuDNN or without; default: with it if there is one",
    )
    parser.add_argument("--nccl", action="store_true", help="with --gpu: train on several GPUs")
    parser.add_argument(
        "--portable", action="store_true", help="with all its libraries inside, for any Linux; not installed"
    )
    arguments = parser.parse_args()
    if arguments.portable and (arguments.gpu or arguments.venv is not None):
        parser.error("--portable goes neither with --gpu nor with --venv")
    if (arguments.cudnn is not None or arguments.nccl) and not arguments.gpu:
        parser.error("--cudnn, --no-cudnn and --nccl go with --gpu")
    executable = Path(sys.executable)
    if arguments.venv is not None:
        executable = arguments.venv / "bin" / "python"
        if not executable.exists():
            parser.error(f"--venv {arguments.venv}: no Python in it: make it with 'python3 -m venv'")
        # Absolute, but not resolved: it is the link inside the environment that makes it the environment.
        executable = executable.absolute()
    try:
        interpreter = Interpreter.ask(executable)
        if arguments.portable:
            if portable.is_stale(interpreter):
                packages.require(portable.debian_packages())
            print(portable.ensure_wheel(interpreter))
            return 0
        variant = cuda.variant(cudnn=arguments.cudnn, nccl=arguments.nccl) if arguments.gpu else CPU
        if wheel.is_stale(interpreter, variant):
            packages.require()
        built = wheel.ensure_wheel(interpreter, variant)
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
