"""The edge of every program: expected errors become one line on standard error and an exit code."""

import os
import sys
from collections.abc import Callable

from facealign.errors import FaceAlignError


def run(main: Callable[[], None]) -> None:
    """Call `main` and exit: 0 done, 1 an expected error (one line), 130 interrupted by Ctrl-C.

    Wrong usage exits with 2, by argparse.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        main()
    except FaceAlignError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        where = error.filename or "output"
        print(f"error: {where}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
