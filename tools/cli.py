"""The edge of every program: expected errors become one line on standard error and an exit code."""

import os
import sys
from collections.abc import Callable

import cv2

from facealign.errors import FaceAlignError

OPENCV_FATAL = 1
"""LOG_LEVEL_FATAL: OpenCV 4 sets it by another function and has no name for it."""


def run(main: Callable[[], None]) -> None:
    """Call `main` and exit: 0 done, 1 an expected error (one line), 130 interrupted by Ctrl-C.

    Wrong usage exits with 2, by argparse.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # By a call, since OpenCV has read its environment by now. To it, a broken picture is an ERROR.
        set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
        set_log_level(OPENCV_FATAL)
    try:
        main()
        sys.stdout.flush()  # here, where a full disk can still be reported
    except FaceAlignError as error:
        _fail(str(error))
    except BrokenPipeError:
        _fail("standard output: closed by its reader")
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> None:
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # what cannot be written now cannot be written by the interpreter at its end, which would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
