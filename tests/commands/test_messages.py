"""What --quiet and --json let programs say, and where; progress with a terminal and without."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tqdm

from facealign.commands import messages
from facealign.commands.messages import Lines, choose_manner

ROOT = Path(__file__).parents[2]
BODY = """
import sys
from facealign.commands import messages, program
program("Try.", ["try"], json="numbers").parse_args(sys.argv[1:])
messages.note("going on")
messages.problem("skipped", "a.jpg: broken")
messages.result("out: 1 image")
messages.figures("| NME | 5.2 |\\n")
for _ in messages.progress(range(3), total=3, unit="images", what="align"):
    pass
messages.write_json({"images": 1})
"""


def said(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", BODY, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_without_options_all_is_said_and_progress_needs_a_minute_or_a_terminal():
    assert said() == ("out: 1 image\n| NME | 5.2 |\n", "going on\nskipped: a.jpg: broken\n")


def test_quiet_leaves_figures_and_problems():
    assert said("--quiet") == ("| NME | 5.2 |\n", "skipped: a.jpg: broken\n")


def test_json_to_standard_output_has_it_alone():
    output, errors = said("--json", "-")
    assert json.loads(output) == {"images": 1}
    assert errors == "going on\nskipped: a.jpg: broken\nout: 1 image\n| NME | 5.2 |\n"
    output, errors = said("--json", "-", "--quiet")
    assert json.loads(output) == {"images": 1}
    assert errors == "skipped: a.jpg: broken\n"


def test_json_to_a_file_changes_nothing_else(tmp_path):
    assert said("--json", tmp_path / "new" / "figures.json") == said()
    assert json.loads((tmp_path / "new" / "figures.json").read_text()) == {"images": 1}


def test_lines_of_progress_give_number_rate_and_time_left(capsys):
    """Of four, two were done before; no line comes before its time."""
    choose_manner(quiet=False, json_file=None)  # which other tests in this process may have set
    lines = Lines(iter("ab"), 4, "images", "align", done=2, every=0.0)
    with lines as shown:
        assert list(shown) == ["a", "b"]
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("align:  75% 3/4 [00:00<00:00, ")
    assert " images/s" in first
    assert second.startswith("align: 100% 4/4 [")
    assert list(Lines(iter("ab"), None, "frames", "align", every=60.0)) == ["a", "b"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_program_says_when_the_same_command_goes_on(number):
    code = (
        "import os, signal, pathlib\n"
        "from facealign.commands.messages import resumable\n"
        "from facealign.console import run\n"
        "def main():\n"
        "    with resumable(pathlib.Path('out')):\n"
        f"        os.kill(os.getpid(), {int(number)}); signal.pause()\n"
        "run(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    first, _ = done.stderr.splitlines()
    assert first == "stopped: out: the same command goes on where it was"


def test_ctrl_c_at_any_moment_of_a_message_is_nothing_else():
    """At each line of tqdm's and ours in turn."""

    def interrupt_at(number):
        left = iter(range(number))

        def trace(frame, event, _):
            if event == "line" and frame.f_code.co_filename in files and next(left, None) is None:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            messages.problem("skipped", "a.jpg")
        finally:
            sys.settrace(None)

    files = (messages.__file__, tqdm.std.__file__)
    for number in range(1000):
        try:
            interrupt_at(number)
        except KeyboardInterrupt:
            continue
        break
    assert 10 < number < 1000
