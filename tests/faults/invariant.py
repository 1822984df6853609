"""What holds of every program at every input, kill and full disk: one function, which runs it and checks.

A test counts what it tried by `COUNTS["kills"]` or `COUNTS["inputs"]`; the session's last lines give the
sums.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXIT_CODES = {0, 1, 2, 130, 143}
SECONDS = 120.0
MEMORY = 3 << 30
"""Bytes that a program may take at its peak, with its worker processes one by one."""
COUNTS: Counter[str] = Counter()
"""What was tried in this session: "kills", "inputs"."""
REPORTS = re.compile(
    r"(skipped|warning|passed over|left out|missed|stopped|weights): |.*: (has|starting|resuming|made) "
)
"""Lines about single files and about where a program starts, which may come before its error."""
BAR = re.compile(r".*: +\d+%\|.*|.*: \d+\S* \[[\d:]+.*")


@dataclass(frozen=True)
class Outcome:
    """How a program ended. code: as of subprocess, -9 when it was killed; peak: bytes of memory."""

    code: int
    stdout: str
    stderr: str
    peak: int

    @property
    def error(self) -> str:
        """The error's line, without "error: "; empty where there is none."""
        lines = [line for line in said(self.stderr) if line.startswith("error: ")]
        return lines[0].removeprefix("error: ") if lines else ""


def facealign(*arguments: object) -> list[str]:
    """The command `facealign ARGUMENTS...` with this Python."""
    return [sys.executable, "-m", "facealign", *map(str, arguments)]


def holds(
    command: Sequence[str],
    place: Path,
    outputs: Sequence[Path | str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    kill_after: float | None = None,
    may_be_killed: bool = False,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    file_limit: int | None = None,
    temporary: Path | None = None,
) -> Outcome:
    """Run a command in the folder `place` in a process of its own, with a TMPDIR of its own, and check it.

    outputs: files and folders, relative to `place`, that it may write or change; kill_after: seconds after
    which it gets SIGKILL, with its workers; may_be_killed: it may also kill itself; file_limit: bytes that a
    file may have; temporary: a folder for TMPDIR instead, in which what a killed process left may be.
    Fails the test when: the exit code is not among EXIT_CODES (or that of the kill); a failure is more than
    one line of standard error, or a traceback; anything but `outputs` is new, gone or changed in `place` or
    new in TMPDIR, where it was not killed; it took more than `memory` or `seconds`.
    """
    before = listing(place, outputs)
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        temporary = temporary or Path(scratch) / "tmp"
        temporary.mkdir(exist_ok=True)
        outcome, late = _run(
            command,
            place,
            {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), **(environment or {})},
            kill_after,
            seconds,
            file_limit,
        )
        left = sorted(path.name for path in temporary.iterdir())
    shown = f"{' '.join(command)}\nexit code {outcome.code}\n{outcome.stderr}"
    assert not late, f"not done within {seconds} s: {shown}"
    assert outcome.peak <= memory, f"{outcome.peak / 1e9:.1f} GB: {shown}"
    if outcome.code == -signal.SIGKILL and (may_be_killed or kill_after is not None):
        return outcome
    assert outcome.code in EXIT_CODES, shown
    assert "Traceback" not in outcome.stderr, shown
    if outcome.code in (1, 130, 143):
        lines = [line for line in said(outcome.stderr) if not REPORTS.match(line)]
        assert len(lines) == 1, shown
        assert outcome.code != 1 or lines[0].startswith("error: "), shown
    assert not left, f"left in the folder of temporary files: {left}: {shown}"
    changed = dict(before.items() ^ listing(place, outputs).items())
    assert not changed, f"changed beside the output: {sorted(changed)}: {shown}"
    return outcome


def _run(
    command: Sequence[str],
    place: Path,
    environment: Mapping[str, str],
    kill_after: float | None,
    seconds: float,
    file_limit: int | None,
) -> tuple[Outcome, bool]:
    """How the command ended, and whether it was stopped for being late."""
    if file_limit is not None:
        limited = "import os, resource, sys; limit = int(sys.argv[1])\n"
        limited += (
            "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); os.execvp(sys.argv[2], sys.argv[2:])"
        )
        command = [sys.executable, "-c", limited, str(file_limit), *command]
    late = threading.Event()
    process = subprocess.Popen(
        command,
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )

    def stop() -> None:
        if kill_after is None or kill_after >= seconds:
            late.set()
        _kill_group(process.pid)

    timer = threading.Timer(seconds if kill_after is None else min(kill_after, seconds), stop)
    timer.start()
    with ThreadPoolExecutor(2) as readers, process.stdout as out, process.stderr as err:
        reading = [readers.submit(stream.read) for stream in (out, err)]
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            timer.cancel()
            _kill_group(process.pid)  # workers that outlived it
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = [future.result().decode(errors="replace") for future in reading]
    return Outcome(process.returncode, *texts, usage.ru_maxrss * 1024), late.is_set()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def said(stderr: str) -> list[str]:
    """Lines of standard error, without progress bars."""
    lines = (line.strip() for line in re.split(r"[\r\n]", stderr))
    return [line for line in lines if line and not BAR.fullmatch(line)]


def listing(place: Path, outputs: Sequence[Path | str] = ()) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file in `place` but `outputs`, by its path; of a folder, zeros."""
    skipped = {place / output for output in outputs}
    parents = {parent for path in skipped for parent in path.parents}
    found = {}
    for path in place.rglob("*"):
        if path in skipped or path in parents or skipped & set(path.parents):
            continue
        state = path.lstat()
        found[str(path.relative_to(place))] = (0, 0) if path.is_dir() else (state.st_size, state.st_mtime_ns)
    return found
