"""The `caffe` command: train, test, time or device_query, with Caffe's own flags."""

from __future__ import annotations

import ctypes
import importlib.util
import signal
import sys
from pathlib import Path


def main() -> int:
    """Run the compiled command with this process's arguments; returns its exit code."""
    # Found, not imported: importing pycaffe starts the logging that the command starts itself.
    package = importlib.util.find_spec("caffe")
    if package is None or package.origin is None:
        print("caffe: the caffe package is not installed", file=sys.stderr)
        return 1
    # PyDLL keeps the interpreter lock held, which Python layers rely on.
    library = ctypes.PyDLL(str(Path(package.origin).parent / "libcaffe_program.so"))
    # Interrupts are the command's business, from the first moment on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = ["caffe", *sys.argv[1:]]
    # gflags reorders and keeps the arguments: a NULL-ended array, alive as long as the call.
    array = (ctypes.c_char_p * (len(arguments) + 1))(*(argument.encode() for argument in arguments), None)
    return int(library.caffe_program(len(arguments), array))


if __name__ == "__main__":
    sys.exit(main())
