"""The edge of the programs: real processes, their exit codes, and one line on standard error."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from facealign.commands.verbs import TASKS, VERBS

ROOT = Path(__file__).parents[1]


def program(body, *arguments, before=(), **options):
    """Run a program whose main function has this body, as those in tools/ are; before: of the command."""
    code = (
        "import os, sys, pathlib, signal\n"
        "from facealign.errors import FaceAlignError\n"
        "from facealign.io.atomic import replacing\n"
        "from facealign.console import run\n"
        "def main():\n" + "".join(f"    {line}\n" for line in body.splitlines()) + "run(main)\n"
    )
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": buffered, **options},
    )


def test_success_is_0_and_silent():
    result = program("print('done')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise FaceAlignError('face.pts: 39 points, expected 68')", "face.pts: 39 points, expected 68"),
        ("raise FaceAlignError('net: bad\\n  at line 3\\n')", "net: bad   at line 3"),
        ("open('/absent/face.jpg')", "/absent/face.jpg: No such file or directory"),
        ("raise OSError('no such camera')", "output: no such camera"),
    ],
)
def test_an_expected_error_is_1_and_one_line(body, line):
    result = program(body)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"error: {line}\n")


def test_ctrl_c_is_130():
    result = program("os.kill(os.getpid(), signal.SIGINT)\nsignal.pause()")
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_another_signal_is_143_and_what_is_half_written_goes(name, tmp_path):
    path = tmp_path / "whole"
    body = (
        f"with replacing(pathlib.Path({str(path)!r})) as partial:\n"
        f"    partial.write_text('half'); os.kill(os.getpid(), signal.{name}); signal.pause()"
    )
    result = program("import pathlib\n" + body)
    assert (result.returncode, result.stderr) == (143, "ended by a signal\n")
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_2():
    body = "import argparse\nargparse.ArgumentParser(prog='tool').parse_args(['--no-such-option'])"
    result = program(body)
    assert result.returncode == 2
    assert "usage: tool" in result.stderr


def test_a_bug_is_not_hidden():
    result = program("raise ZeroDivisionError('a bug')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: a bug" in result.stderr


def test_a_full_disk_names_the_output(tmp_path):
    path = tmp_path / "out.json"
    body = "with replacing(pathlib.Path(sys.argv[1])), open('/dev/full', 'w') as full: full.write('x')"
    result = program(body, path)
    assert (result.returncode, result.stderr) == (1, f"error: {path}: No space left on device\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "body", ["print('few')", "print('many' * 10**6)", "raise FaceAlignError(print('x') or 'bad')"]
)
def test_standard_output_on_a_full_disk_is_an_error_of_one_line(body):
    with open("/dev/full", "w") as full:
        result = program(body, stdout=full)
    assert result.returncode == 1
    expected = "bad" if "bad" in body else "output: No space left on device"
    assert result.stderr == f"error: {expected}\n"


@pytest.mark.parametrize("arguments", [["help"], ["--version"], ["align", "--help"]])
def test_so_it_is_for_help(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "facealign", *arguments],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: output: No space left on device\n")


def run_without(streams, file):
    """Run a program that opens `file` when these of its standard streams are closed, and writes to all."""
    closed = " ".join(f"{number}>&-" for number in streams)
    body = (
        "from facealign.commands.messages import note, result\n"
        "file = open(sys.argv[1], 'w')\n"
        "note('a note'); result('a result'); os.write(2, b'of a library')\n"
        "import subprocess; subprocess.run(['sh', '-c', 'echo of a child >&2'])\n"
        "print(file.fileno() > 2, file=file)"
    )
    return program(body, file, before=["sh", "-c", f'exec "$0" "$@" {closed}'])


@pytest.mark.parametrize("streams", [(0,), (2,), (0, 2)])
def test_closed_input_or_messages_are_as_dev_null(streams, tmp_path):
    result = run_without(streams, tmp_path / "file")
    assert (result.returncode, result.stdout) == (0, "a result\n")
    assert result.stderr == ("" if 2 in streams else "a note\nof a libraryof a child\n")
    assert (tmp_path / "file").read_text() == "True\n"


def test_closed_output_is_an_error_of_one_line_before_the_work(tmp_path):
    result = run_without([1], tmp_path / "file")
    line = "error: standard output: closed; send it to /dev/null if it is not wanted\n"
    assert (result.returncode, result.stderr) == (1, line)
    assert run_without([1, 2], tmp_path / "file").returncode == 1
    assert not (tmp_path / "file").exists()


def test_a_reader_who_leaves_is_an_error_of_one_line():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = program("print('x' * 10**6)", stdout=writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, "error: standard output: closed by its reader\n")


def test_opencv_is_quiet_unless_asked():
    """Of a missing (a warning) or broken picture (an error) the program says itself what is wrong."""
    body = (
        "import cv2, numpy\n"
        "assert cv2.imread('/absent/face.jpg') is None\n"
        "assert cv2.imdecode(numpy.frombuffer(b'BM' + b'z' * 200, 'u1'), 1) is None\n"
    )
    without = {key: value for key, value in os.environ.items() if key != "OPENCV_LOG_LEVEL"}
    assert program(body, env=without).stderr == ""
    loud = program(body, env={**without, "OPENCV_LOG_LEVEL": "WARNING"}).stderr
    assert "absent" in loud
    assert "ERROR" in loud


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_a_signal_while_a_program_is_imported_is_one_line(name, code):
    text = (
        "import os, signal, sys\n"
        "from facealign import console\n"
        "class Interrupting:\n"
        "    def find_spec(self, module, path=None, target=None):\n"
        "        if module == 'facealign.commands.align':\n"
        f"            os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "console.run_verb('align')\n"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr in ("interrupted\n", "ended by a signal\n")


def on_a_terminal(body, **options):
    """What a program writes to a terminal, standard output and error together."""
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    try:
        program(body, stdout=terminal, stderr=terminal, **options)
    finally:
        os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # at its end
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "body",
    [
        "print(NAME)",
        "print(NAME, file=sys.stderr)",
        "raise FaceAlignError(NAME)",
        "import tqdm; tqdm.tqdm.write(NAME, file=sys.stderr)",
    ],
)
def test_control_characters_in_names_are_shown_on_a_terminal_and_not_obeyed(body):
    name = "a\x1b[2J\x07b\rc\x9bd\u202ee.jpg"
    shown = on_a_terminal(f"NAME = {name!r}\n{body}")
    start, end = r"a\x1b[2J\x07b", r"c\x9bd\u202ee.jpg" + "\n"
    assert shown.removeprefix("\x1b[31merror:\x1b[0m ") in (rf"{start}\r{end}", f"{start} {end}")
    assert program(f"NAME = {name!r}\nprint(NAME)").stdout.startswith("a\x1b[2J")  # no terminal: as it is


def test_progress_bars_move_on_a_terminal():
    body = "import tqdm\nfor _ in tqdm.tqdm(range(2), desc='a'):\n    list(tqdm.tqdm(range(3), desc='b'))"
    shown = on_a_terminal(body)
    assert "\x1b[A" in shown
    assert "\ra: 100%" in shown
    assert "\\" not in shown


def test_labels_are_in_colour_on_a_terminal_only():
    body = (
        "from facealign.commands.messages import problem\n"
        "problem('skipped', 'a.jpg: broken')\n"
        "raise FaceAlignError('b.jpg: broken')"
    )
    coloured = "\x1b[33mskipped:\x1b[0m a.jpg: broken\n\x1b[31merror:\x1b[0m b.jpg: broken\n"
    plain = "skipped: a.jpg: broken\nerror: b.jpg: broken\n"
    assert on_a_terminal(body, env={**os.environ, "TERM": "xterm"}) == coloured
    assert on_a_terminal(body, env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"}) == plain
    assert on_a_terminal(body, env={**os.environ, "TERM": "dumb"}) == plain
    assert program(body).stderr == plain


def facealign(*words):
    """Run `facealign WORDS`."""
    return subprocess.run(
        [sys.executable, "-m", "facealign", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_the_verbs_are_listed_by_task(words):
    done = facealign(*words)
    assert (done.returncode, done.stderr) == (0, "")
    tasks = done.stdout.split("\n\n")[1:-1]
    assert [task.splitlines()[0] for task in tasks] == [f"{task}:" for task in TASKS]
    assert [line.split()[0] for task in tasks for line in task.splitlines()[1:]] == list(VERBS)


def test_help_of_a_verb_is_that_of_its_option():
    one, other = facealign("help", "make-prototxt"), facealign("make-prototxt", "--help")
    assert one.stdout == other.stdout
    assert one.stdout.startswith("usage: facealign make-prototxt ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("alin", "photo.jpg"), "no verb 'alin'; did you mean 'align'?"),
        (("help", "makelmdb"), "no verb 'makelmdb'; did you mean 'make-lmdb'?"),
        (("frobnicate",), "no verb 'frobnicate'; `facealign help` lists them"),
        ((), "no verb given"),
    ],
)
def test_an_unknown_verb_is_wrong_usage_and_the_nearest_one_is_named(words, line):
    done = facealign(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"facealign: error: {line}"


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_progress_is_a_bar_on_a_terminal_but_not_with_quiet(options):
    body = (
        "from facealign.commands import messages, program\n"
        f"program('Try.', ['try']).parse_args({options})\n"
        "with messages.progress(range(3), total=3, unit='images', what='align') as bar:\n"
        "    for number in bar:\n"
        "        bar.set_postfix_str('loss 5', refresh=False)\n"
    )
    shown = on_a_terminal(body)
    assert ("\ralign: 100%|" in shown) == (not options)
    assert ("loss 5]" in shown) == (not options)
    assert bool(shown) == (not options)


def test_progress_of_a_long_training_fits_80_columns_with_bar_rate_and_time_left():
    """As the training of a day shows it, by what `train` itself says."""
    body = """
import unittest.mock
from types import SimpleNamespace as Some
from facealign.commands import train
from facealign.training.run import TrainingStep

def steps(_):
    bars[0].start_t -= 70000
    bars[0].n = 130000
    yield TrainingStep(130001, 0.012345678, 0.001)

made, bars = train.progress, []
def progress(**options):
    bars.append(made(**options))
    return bars[0]
with unittest.mock.patch.multiple(train, train=steps, progress=progress):
    train.follow(Some(done=1000), Some(iterations=150000, recipe=Some(name="mobilenet_v2_stage3")))
"""
    line = on_a_terminal(body).rstrip().rpartition("\r")[2]
    form = r"train:  87%\|([^|]{8,})\| 130001/150000 \[19:26:\d\d<\d+:[\d:]+, +\d[\d.]+ it/s, loss 0\.0123\]"
    assert re.fullmatch(form, line), line
    assert len(line) <= 80
