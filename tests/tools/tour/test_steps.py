"""The steps of the tour: their commands are right usage, and the tutorial's; one of them is stopped."""

import importlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facealign.errors import FaceAlignError
from tools.tour.__main__ import follow
from tools.tour.steps import steps
from tools.tour.walk import run_command

ROOT = Path(__file__).parents[3]
WAITS = """
import pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGINT, lambda *_: (place.with_name("stopped").touch(), sys.exit(int(sys.argv[2]))))
place.touch()
time.sleep(20)
"""
ENDS = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(20)
except KeyboardInterrupt:
    sys.exit(130)
"""


def commands(out="out/tour"):
    return [command for step in steps(Path(out)) for command in step.commands]


def test_the_commands_are_right_usage():
    verbs = []
    for program, *words in commands():
        if program == ".venv/bin/facealign":
            verbs.append(words[0])
            module = importlib.import_module(f"facealign.commands.{words[0].replace('-', '_')}")
            module.arguments_of(words[1:])  # exits with 2 at a wrong usage
    assert set(verbs) == {"annotate", "align", "detect-faces", "make-lmdb", "train", "evaluate", "report"}


def test_the_tutorial_has_the_same_commands():
    lines = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    typed = [tuple(shlex.split(line)) for line in lines if line.startswith("    .venv/bin/")]
    assert typed == commands()


def test_the_training_that_is_stopped_is_the_one_that_is_resumed():
    whole = steps(Path("a b"), iterations=100)
    (number,) = [number for number, step in enumerate(whole) if step.stop_at]
    assert whole[number].stop_at == Path("a b/run/stage3_iter_50.solverstate")
    assert whole[number].commands == whole[number + 1].commands
    assert "a b/run" in whole[number].commands[0]


def test_nothing_is_left_to_be_filled_in():
    for step in steps(Path("there")):
        text = " ".join([step.what, step.look, *map(shlex.join, step.commands)])
        assert not any(word in text for word in ("OUT", "ITERATIONS", "HALF", "EIGHTH"))


def test_ctrl_c_is_pressed_when_the_file_is_there_and_only_once(tmp_path, capfd):
    place = tmp_path / "there"
    command = [sys.executable, "-c", WAITS, str(place), "130"]
    follow(command, place)
    assert (tmp_path / "stopped").exists()
    (tmp_path / "stopped").unlink()
    follow(command, place)
    assert not (tmp_path / "stopped").exists()
    assert "not again: " in capfd.readouterr().out


def test_ctrl_c_is_obeyed_also_when_the_tour_runs_in_the_background(tmp_path):
    place = tmp_path / "there"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell sets it for what stands before `&`
    try:
        stopped = run_command([sys.executable, "-c", ENDS, str(place)], place.exists)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped


def test_a_command_that_ends_by_itself_was_not_stopped(tmp_path):
    assert not run_command([sys.executable, "-c", "pass"], lambda: False)


def test_a_command_that_fails_ends_the_tour(tmp_path):
    with pytest.raises(FaceAlignError, match="failed"):
        run_command([sys.executable, "-c", "raise SystemExit(1)"])
    place = tmp_path / "there"
    with pytest.raises(FaceAlignError, match="failed"):  # stopped, it ends otherwise than by Ctrl-C
        run_command([sys.executable, "-c", WAITS, str(place), "1"], place.exists)
    with pytest.raises(FaceAlignError, match="no-such: cannot be run"):
        run_command([str(tmp_path / "no-such")])


def test_an_interruption_of_the_tour_is_passed_on(tmp_path):
    place = tmp_path / "there"
    words = [sys.executable, "-c", WAITS, str(place), "130"]
    program = f"from tools.tour.walk import run_command; run_command({words!r})"
    # In a process of its own, as Ctrl-C would end the tests if it came too late.
    tour = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not place.exists() and tour.poll() is None:
        time.sleep(0.01)
    tour.send_signal(signal.SIGINT)
    assert tour.wait() == -signal.SIGINT
    assert (tmp_path / "stopped").exists()


def started(body, tmp_path):
    """(process of a tour in a group of its own, number of the process that it runs)."""
    place = tmp_path / "there"
    words = [sys.executable, "-c", body, str(place)]
    program = f"from tools.tour.walk import run_command; run_command({words!r})"
    tour = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, process_group=0)
    while not (place.exists() and place.read_text()) and tour.poll() is None:
        time.sleep(0.01)
    return tour, int(place.read_text())


def state(process):
    """Its letter in /proc: S sleeping, T stopped...; "gone" when it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0].replace("Z", "gone")
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


SAYS_ITS_NUMBER = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.parametrize("whole_group", [True, False])
def test_a_command_does_not_outlive_a_tour_that_is_killed(tmp_path, whole_group):
    tour, command = started(SAYS_ITS_NUMBER, tmp_path)
    (os.killpg if whole_group else os.kill)(tour.pid, signal.SIGKILL)
    tour.wait()
    until(lambda: state(command) == "gone")


def test_ctrl_z_suspends_the_command_with_the_tour_and_both_go_on(tmp_path):
    tour, command = started(SAYS_ITS_NUMBER, tmp_path)
    try:
        for _ in range(2):
            os.killpg(tour.pid, signal.SIGTSTP)
            until(lambda: (state(tour.pid), state(command)) == ("T", "T"))
            os.killpg(tour.pid, signal.SIGCONT)
            until(lambda: (state(tour.pid), state(command)) == ("S", "S"))
        os.killpg(tour.pid, signal.SIGTSTP)
        until(lambda: state(command) == "T")
    finally:
        os.killpg(tour.pid, signal.SIGKILL)
        tour.wait()
    until(lambda: state(command) == "gone")
