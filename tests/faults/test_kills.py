"""Programs killed at calls that change files, and at random moments: the next run ends as if undisturbed.

The calls are counted, and the kills made, by kill_at.c in the C library's functions, so that those of Caffe,
LMDB and OpenCV count too.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.invariant import COUNTS, Outcome, holds
from tests.faults.programs import MADE, OTHERWISE, PROGRAMS, command_of, made_in, make_inputs, make_photos

SHIM = Path(__file__).with_name("kill_at.c")
BESIDE = "lmdb"
"""Data in whose folder Caffe's reader leaves a lock."""
MOST = {"train": 14, "evaluate": 12}
"""Kills at calls from each state, where not 16: of programs that take long."""
RANDOM = 3
"""Kills at random moments from each state."""


@dataclass
class Lane:
    """A folder in which one program runs at a time, and what belongs to it."""

    root: Path
    shim: Path
    place: Path = field(init=False)
    kept: Path = field(init=False)
    temporary: Path = field(init=False)
    count: Path = field(init=False)
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.place, self.kept, self.temporary, self.count, self.log = (
            self.root / name for name in ("place", "kept", "tmp", "count", "log")
        )

    def left(self) -> list[str]:
        """What a killed process left beside made/, where it tried whether it could write."""
        return [path.name for path in self.place.glob(".*") if path.suffix in (".partial", ".complete")]

    def restore(self) -> None:
        """Make made/ what it was before the first kill."""
        shutil.rmtree(self.place / MADE, ignore_errors=True)
        if self.kept.exists():
            shutil.copytree(self.kept, self.place / MADE)

    def run(self, program: str, more: str = "", kill_at: int = 0, kill_after: float | None = None) -> Outcome:
        self.count.write_bytes(bytes(4))
        self.log.unlink(missing_ok=True)
        watched = {
            "LD_PRELOAD": str(self.shim),
            "KILL_AT_BELOW": str(self.root.resolve()),
            "KILL_AT_COUNT": str(self.count),
            "KILL_AT_STEP": str(kill_at),
            "KILL_AT_LOG": str(self.log),
        }
        return holds(
            command_of(program, more),
            self.place,
            [MADE, BESIDE, *self.left()],
            environment=watched,
            kill_after=kill_after,
            may_be_killed=kill_at > 0,
            temporary=self.temporary,
        )


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    library = tmp_path_factory.mktemp("shim") / "kill_at.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("inputs")
    make_inputs(place)
    return place


@pytest.fixture
def lanes(inputs, shim, tmp_path) -> list[Lane]:
    made = []
    for number in range(2):
        shutil.copytree(inputs, tmp_path / str(number) / "place")
        made.append(Lane(tmp_path / str(number), shim))
    return made


@pytest.mark.faults
@pytest.mark.parametrize("former", [False, True], ids=["", "again"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_after_a_kill_the_next_run_ends_as_if_undisturbed(program, former, lanes):
    if former and program not in OTHERWISE:
        pytest.skip("cannot make anything else under the same name")
    killed_and_repeated(program, former, lanes, MOST.get(program, 16), RANDOM)


@pytest.mark.parametrize("program", ["detect-faces", "make-lmdb"])
def test_after_some_kills_the_next_run_ends_as_if_undisturbed(program, shim, tmp_path):
    (tmp_path / "place").mkdir()
    make_photos(tmp_path / "place")
    killed_and_repeated(program, True, [Lane(tmp_path, shim)], 3, 1)


def killed_and_repeated(program: str, former: bool, lanes: list[Lane], most: int, at_random: int) -> None:
    """Kill a program at `most` of its calls and `at_random` moments; former: where it made something else."""
    more = "--restart" if program == "train" else ""
    for lane in lanes:
        if former:
            assert lane.run(program, OTHERWISE[program]).code == 0
            shutil.copytree(lane.place / MADE, lane.kept)
    before = [made_in(lane.place) for lane in lanes]
    began = time.monotonic()
    wanted = []
    for lane in lanes:
        assert lane.run(program, more).code == 0
        wanted.append(made_in(lane.place))
    seconds = (time.monotonic() - began) / len(lanes)
    assert all(wanted[0].keys() == other.keys() for other in wanted)
    calls = [line.split(" ")[1] for line in lanes[0].log.read_text().splitlines()]
    draw = random.Random(f"{program} {former}")

    def kill(lane: Lane, before: dict[str, bytes], wanted: dict[str, bytes], at: int, after: float) -> None:
        lane.restore()
        killed = lane.run(program, more, at, after or None)
        if not after:
            assert killed.code == -signal.SIGKILL
        COUNTS["kills"] += killed.code == -signal.SIGKILL
        shown = f"killed before call {at} of {len(calls)}: {calls[at - 1]}" if at else f"after {after:.2f} s"
        visible(program, lane.place, before, wanted, shown)
        repeated = lane.run(program, more)
        assert repeated.code == 0, f"{shown}: {repeated.stderr}"
        found = made_in(lane.place)
        assert found.keys() == wanted.keys(), shown
        assert [name for name in wanted if found[name] != wanted[name]] == [], shown
        assert [*os.listdir(lane.temporary), *lane.left()] == [], shown

    kills = [(at, 0.0) for at in chosen(calls, most, draw)]
    kills += [(0, draw.uniform(0.1, 1) * seconds) for _ in range(at_random)]
    in_lanes(
        [
            lambda lane, number, at=at, after=after: kill(lane, before[number], wanted[number], at, after)
            for at, after in kills
        ],
        lanes,
    )


def chosen(calls: list[str], most: int, draw: random.Random) -> list[int]:
    """Numbers of the calls, from 1, at which to kill: renames first, few of the writes, then others."""
    kinds: dict[str, list[int]] = {"rename": [], "write": [], "other": []}
    for number, call in enumerate(calls, 1):
        kind = "rename" if call in ("rename", "exchange") else "write" if call == "write" else "other"
        kinds[kind].append(number)
    kept: list[int] = []
    for kind, limit in (("rename", most), ("write", most // 4), ("other", most)):
        kept += draw.sample(kinds[kind], min(len(kinds[kind]), limit, most - len(kept)))
    return sorted(kept)


def in_lanes(tasks: list[Callable[[Lane, int], None]], lanes: list[Lane]) -> None:
    """Do the tasks, each with a lane and its number, one at a time in a lane; the first error is raised."""
    free = list(enumerate(lanes))

    def one(task: Callable[[Lane, int], None]) -> None:
        number, lane = free.pop()
        try:
            task(lane, number)
        finally:
            free.append((number, lane))

    with ThreadPoolExecutor(len(lanes)) as pool:
        running = [pool.submit(one, task) for task in tasks]
        try:
            for future in running:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def visible(
    program: str, place: Path, before: dict[str, bytes], wanted: dict[str, bytes], shown: str
) -> None:
    """Check that a file under a final name is the old or the new one, and a data set all old or all new."""
    found = {
        name: content
        for name, content in made_in(place).items()
        if not any(part.startswith(".") for part in Path(name).parts)
    }
    if program == "train":  # its log and snapshots grow
        return
    for name, content in found.items():
        if not name.endswith((".found", ".jsonl", "turned.json")):  # these grow
            assert content in (before.get(name), wanted.get(name)), f"{name}: {shown}"
    if program.startswith("make-lmdb"):
        assert found in ({"": b""}, {}, before, wanted), shown
