"""The command line `facealign VERB`, and the exit codes and one-line errors of every program."""

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, TextIO

import facealign
from facealign.errors import FaceAlignError

VERBS = {
    "align": "find faces in images or a video: landmarks and head pose, as images and JSON",
    "serve": "a page to try it in a browser, and an HTTP API",
    "detect-faces": "find the annotated faces of data sets, for make-lmdb and evaluate",
    "annotate": "write the landmarks of photos, to train on",
    "turn-faces": "turn training faces farther away, as further ones",
    "make-lmdb": "write the LMDBs for training",
    "train": "train a stage of a network in Caffe",
    "evaluate": "measure weights on annotated photos",
    "report": "compare evaluations side by side, as Markdown or as a page",
    "export-onnx": "write the ONNX file of a caffemodel",
    "make-prototxt": "write the prototxt of every network and stage",
    "release": "package a run's weights with their description and model card",
    "reproduce": "redo all released weights and their figures from the photos",
}
"""Verb -> what it does; its program is the module of that name in `commands`."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and those that turn the direction of writing."""
_MOVES = re.compile(r"(?:\r|\n|\x1b\[A)*")
"""How tqdm gets to the line of one of several bars."""
OPENCV_FATAL = 1
"""LOG_LEVEL_FATAL, for which OpenCV 4 has no name and another function."""


def main() -> None:
    """Entry point of `facealign VERB ...`."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in VERBS:
        sys.argv[:2] = [f"facealign {verb}"]
        run_verb(verb)
    verbs = "".join(f"  {name:14} {what}\n" for name, what in VERBS.items())
    help_text = f"usage: facealign VERB [options]\n\n{verbs}\n`facealign VERB --help` has the options.\n"
    if verb in ("-h", "--help"):
        print(help_text, end="")
        sys.exit(0)
    if verb == "--version":
        print(f"facealign {facealign.__version__}")
        sys.exit(0)
    wrong = f"unknown verb {verb!r}" if verb else "no verb given"
    print(f"{help_text}facealign: error: {wrong}", file=sys.stderr)
    sys.exit(2)


def run_verb(verb: str) -> NoReturn:
    """Run the program of `verb` with the arguments in sys.argv, and exit as `run` does."""
    # Imported within `run`, where an interruption is one line: OpenCV and the rest take a while.
    run(lambda: importlib.import_module("facealign.commands." + verb.replace("-", "_")).main())


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what is half-written is removed, and what is whole kept, as after Ctrl-C."""


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended


class _Escaping:
    """A terminal's stream, on which control characters in what is printed, such as in a file's name, are
    shown instead of obeyed. Line ends and the moves of progress bars, which are written alone, are obeyed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        inner = "" if _MOVES.fullmatch(text) else text.removeprefix("\r").removesuffix("\r")
        shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), inner)
        self._stream.write(text.replace(inner, shown, 1) if inner else text)
        return len(text)


def _escape_on_terminals() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            setattr(sys, name, _Escaping(stream))


def run(main: Callable[[], None]) -> NoReturn:
    """Call `main` and exit: 0 done, 1 an expected error (one line), 130 interrupted by Ctrl-C, 143 ended by
    SIGTERM or SIGHUP.

    Wrong usage exits with 2, by argparse.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    _escape_on_terminals()
    try:
        if "OPENCV_LOG_LEVEL" not in os.environ:
            _silence_opencv()
        main()
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


def _silence_opencv() -> None:
    """Keep OpenCV from logging a broken image as an ERROR.

    By a call: it reads its environment when it is imported, which may have been before.
    """
    import cv2

    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_log_level(OPENCV_FATAL)


def _fail(message: str) -> NoReturn:
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would fail to write the rest at its end too, with a message of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
