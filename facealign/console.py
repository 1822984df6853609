"""The command line `facealign VERB`, and the exit codes and one-line errors of every program."""

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import facealign
from facealign.commands.verbs import TASKS, VERBS
from facealign.errors import FaceAlignError
from facealign.io.terminal import RED, escape_on_terminals, write_labelled

OPENCV_FATAL = 1
"""LOG_LEVEL_FATAL, for which OpenCV 4 has no name and another function."""


def main() -> None:
    """Entry point of `facealign VERB ...`."""
    if sys.argv[1:2] == ["help"] and len(sys.argv) > 2:
        sys.argv[1:] = [sys.argv[2], "--help"]
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in VERBS:
        sys.argv[:2] = [f"facealign {verb}"]
        run_verb(verb)
    if verb in ("-h", "--help", "help"):
        run(lambda: print(overview(), end=""), with_opencv=False)
    if verb == "--version":
        run(lambda: print(f"facealign {facealign.__version__}"), with_opencv=False)
    if not verb:
        print(f"{overview()}facealign: error: no verb given", file=sys.stderr)
        sys.exit(2)
    near = difflib.get_close_matches(verb, VERBS, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else "`facealign help` lists them"
    print(f"facealign: error: no verb {verb!r}; {remedy}", file=sys.stderr)
    sys.exit(2)


def overview() -> str:
    """The verbs, by what one wants to do."""
    tasks = "".join(
        f"{task}:\n" + "".join(f"  {verb:14} {what}\n" for verb, what in verbs.items()) + "\n"
        for task, verbs in TASKS.items()
    )
    return f"usage: facealign VERB [options]\n\n{tasks}`facealign VERB --help`: its options, with examples\n"


def run_verb(verb: str) -> NoReturn:
    """Run the program of `verb` with the arguments in sys.argv, and exit as `run` does."""
    # Imported within `run`, where an interruption is one line: OpenCV and the rest take a while.
    run(lambda: importlib.import_module("facealign.commands." + verb.replace("-", "_")).main())


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what is half-written is removed, and what is whole kept, as after Ctrl-C."""


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended


def run(main: Callable[[], None], with_opencv: bool = True) -> NoReturn:
    """Call `main` and exit: 0 done, 1 an expected error (one line), 130 interrupted by Ctrl-C, 143 ended by
    SIGTERM or SIGHUP.

    Wrong usage exits with 2, by argparse. with_opencv: whether it might be used.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if "stdout" in _stand_in_for_closed():
        _fail("standard output: closed; send it to /dev/null if it is not wanted")
    escape_on_terminals()
    try:
        if with_opencv and "OPENCV_LOG_LEVEL" not in os.environ:
            _silence_opencv()
        try:
            main()
        except SystemExit:  # --help, too, prints
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # here, where a full disk can still be reported
    except FaceAlignError as error:
        _fail(str(error))
    except BrokenPipeError:
        _fail("standard output: closed by its reader")
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except Ended:
        print("ended by a signal", file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _stand_in_for_closed() -> list[str]:
    """Open /dev/null in the place of the standard streams that are closed (`>&-`); their names.

    Else the next files that are opened would be these, and libraries write their messages into them.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:
        descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        os.set_inheritable(descriptor, True)
        setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))
    return closed


def _silence_opencv() -> None:
    """Keep OpenCV from logging a broken image as an ERROR.

    By a call: it reads its environment when it is imported, which may have been before.
    """
    import cv2

    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_log_level(OPENCV_FATAL)


def _fail(message: str) -> NoReturn:
    write_labelled(sys.stderr, "error", " ".join(message.splitlines()), RED)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would fail to write the rest at its end too, with a message of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
