"""Engines and peers timed side by side, so that whatever slows the machine down slows all of them.

A module of benchmarks has `def run(rounds: int = ROUNDS) -> list[Measurement]`. It describes who takes part
as Peers and hands them to `interleave`. Each peer gets a process of its own (with its own threads, libraries,
environment variables and Python), which makes what it measures once and is then asked, in turn with the
others, for short slices. So a peer is named by a function that returns what is called again and again:

    # in benchmarks/something.py; imports only what the peer's Python has
    def theirs(size: int) -> Callable[[], object]:
        model = ...                              # not timed
        return lambda: model(...)                # timed: one call does `units` units of work

    peer = Peer("theirs", "benchmarks.something:theirs", {"size": 4}, units=4, python=PEERS_PYTHON)
    interleave("something, 2 threads", [ours, peer], threads=2, rounds=rounds)
"""

import contextlib
import json
import math
import os
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / "build" / "bench-venv" / "bin" / "python"
"""The Python of the environment with the peers (peers.txt)."""
FACENET_PYTHON = ROOT / "build" / "bench-venv-facenet" / "bin" / "python"
"""That of facenet-pytorch, which needs a torchvision made for its torch (peers_facenet.txt)."""
PYTHONS = {"": Path(sys.executable), "peers": PEERS_PYTHON, "facenet-pytorch": FACENET_PYTHON}
"""All environments in which something is measured; ours has no name."""
ROUNDS = 15
SLICE_SECONDS = 0.25
START_SECONDS = 120.0
SLICE_LIMIT = 300.0
"""Seconds after which a peer that does not come back from a slice is given up."""


@dataclass(frozen=True)
class Measurement:
    """What one engine or peer took for a task.

    rounds: seconds per unit in each round, none if it could not be measured; memory: peak of its processes
    in MB (10^6 bytes); note: one line, what else there is to say, or why there are no rounds.
    """

    task: str
    name: str
    rounds: tuple[float, ...]
    memory: float = math.nan
    note: str = ""

    @property
    def spread(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of the rounds, in seconds per unit."""
        return quartiles(self.rounds)

    @property
    def seconds(self) -> float:
        """Median seconds per unit; nan without rounds."""
        return self.spread[1]


@dataclass(frozen=True)
class Peer:
    """Who is measured.

    make: "module:function" that returns what is called, imported in the peer's own process; arguments: of
    that function, as JSON has them; units: of work that one call does; python: None for this one's;
    environment: variables beside the threads'; processes: children that one call has at work, counted in
    the memory; start_seconds: the time it has to get ready, after which it is given up; processor_time:
    measure the time of its process on the processor instead, in which others' work does not count.
    """

    name: str
    make: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    units: int = 1
    python: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: int = 0
    start_seconds: float = START_SECONDS
    processor_time: bool = False
    note: str = ""


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, between neighbours linearly; nan without values."""
    if not values:
        return math.nan, math.nan, math.nan
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(ours: Measurement, theirs: Measurement) -> tuple[float, float, float]:
    """Quartiles of our time divided by theirs, round by round; nan where either was not measured.

    Raises ValueError when they were not measured in the same rounds.
    """
    if not ours.rounds or not theirs.rounds:
        return quartiles([])
    if len(ours.rounds) != len(theirs.rounds) or ours.task != theirs.task:
        raise ValueError(f"{ours.name} and {theirs.name} were not measured in the same rounds")
    return quartiles([one / other for one, other in zip(ours.rounds, theirs.rounds, strict=True)])


def interleave(
    task: str,
    peers: Sequence[Peer],
    *,
    threads: int,
    rounds: int = ROUNDS,
    slice_seconds: float = SLICE_SECONDS,
) -> list[Measurement]:
    """Measure all peers in turn, for `rounds` rounds of a slice each, every other round in reverse order.

    threads: of OpenMP and BLAS in each process; libraries with their own threads are told by the peer's
    function. A peer that fails, or does not get ready in time, has no rounds and says why in its note.
    """
    workers: list[_Worker] = []
    try:
        for peer in peers:  # all get ready at once, which nobody times
            workers.append(_Worker(peer, threads, slice_seconds))
        for worker in workers:
            worker.get_ready()
        for index in range(rounds):
            for worker in workers if index % 2 == 0 else reversed(workers):
                worker.slice()
        return [worker.result(task) for worker in workers]
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A peer's process."""

    def __init__(self, peer: Peer, threads: int, slice_seconds: float) -> None:
        self.peer, self.rounds, self.problem = peer, list[float](), ""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop
        self.process: subprocess.Popen[bytes] | None = None
        python = peer.python or Path(sys.executable)
        if not python.is_file():
            self.problem = "not installed"
            return
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=os.environ
            | {"GLOG_minloglevel": "2"}
            | dict.fromkeys(names, str(threads))
            | dict(peer.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            start_new_session=True,  # so that all of its own processes can be ended with it
        )
        order = {
            "make": peer.make,
            "arguments": dict(peer.arguments),
            "processes": peer.processes,
            "slice": slice_seconds,
            "processor_time": peer.processor_time,
        }
        self._tell(json.dumps(order))

    def get_ready(self) -> None:
        self._answer(self.peer.start_seconds)

    def slice(self) -> None:
        self._tell("slice")
        answer = self._answer(SLICE_LIMIT)
        if answer is not None:
            self.rounds.append(answer["seconds"] / self.peer.units)

    def result(self, task: str) -> Measurement:
        self._tell("memory")
        answer = self._answer(10)
        if answer is None:
            return Measurement(task, self.peer.name, (), note=self.problem)
        return Measurement(task, self.peer.name, tuple(self.rounds), answer["memory"], self.peer.note)

    def stop(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None
        self.errors.close()

    def _tell(self, request: str) -> None:
        if self.process is not None and self.process.stdin is not None and not self.problem:
            with contextlib.suppress(BrokenPipeError):  # it has ended, which its answer will show
                self.process.stdin.write(request.encode() + b"\n")
                self.process.stdin.flush()

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """The next answer; None, and a problem noted, when there is none in time."""
        if self.problem or self.process is None or self.process.stdout is None:
            return None
        line = _line(self.process.stdout.fileno(), seconds)
        if line is None:
            self.problem = f"gave no answer within {seconds:g} s"
        elif not line:
            self.problem = self._last_words()
        else:
            answer: dict[str, Any] = json.loads(line)
            if "error" not in answer:
                return answer
            self.problem = " ".join(answer["error"].split())
        return None

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"ended by itself: {said[-1]}" if said else "ended by itself"


def _line(descriptor: int, seconds: float) -> bytes | None:
    """A line, b"" at the end of the file, None when it does not come in time."""
    end, line = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, end - time.monotonic())):
                return None
            more = os.read(descriptor, 65536)
            if not more:
                return b""
            line += more
    return line
