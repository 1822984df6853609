"""A function run in a process of its own, where libraries in C may crash on what they are given."""

import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from facealign.errors import FaceAlignError

Result = TypeVar("Result")

# The answer has a pipe of its own: what libraries print goes to standard error. The path comes first, as the
# function may need it to be found.
_START = """
import os, pickle, resource, sys
answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.path[:], memory = pickle.load(sys.stdin.buffer)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if memory is not None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
function, arguments = pickle.load(sys.stdin.buffer)
try:
    result = True, function(*arguments)
except Exception as error:
    result = False, error
answer.write(pickle.dumps(result))
"""


class CrashError(FaceAlignError):
    """Raised when a process of its own gave no answer: it ended, on a signal perhaps, or took too long."""


def apart(
    function: Callable[..., Result],
    *arguments: Any,
    memory: int | None = None,
    seconds: float | None = None,
) -> Result:
    """The result of function(*arguments), called in a new process.

    function: of a module, by which the process imports it; arguments, result: picklable; memory: limit on the
    process's address space, bytes; seconds: on its duration.
    Raises what `function` raises, and CrashError when the process ends without an answer, as on a signal, or
    takes longer.

    >>> apart(divmod, 7, 2)
    (3, 1)
    """
    if not sys.executable:  # Python is embedded in another program
        return function(*arguments)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START],
            input=pickle.dumps((sys.path, memory)) + pickle.dumps((function, arguments)),
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise CrashError(f"took longer than {seconds:g} s") from error
    if done.returncode:
        raise CrashError(_reason(done.returncode, done.stderr.decode(errors="replace")))
    succeeded, result = pickle.loads(done.stdout)
    if not succeeded:
        raise result
    value: Result = result
    return value


def _reason(code: int, printed: str) -> str:
    """One line: the signal or exit code, and the last line printed, if any."""
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    lines = printed.strip().splitlines()
    return f"{ended}: {lines[-1]}" if lines else ended
