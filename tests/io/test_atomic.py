"""Outputs are whole or absent, whatever interrupts their making."""

import errno
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from facealign.io import atomic
from facealign.io.atomic import replacing, replacing_all

ROOT = Path(__file__).parents[2]


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def make_folder(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)


def contents(folder):
    return {entry.name: entry.read_text() for entry in folder.iterdir() if entry.is_file()}


def python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_file_appears_at_the_end_and_nothing_else_does(tmp_path):
    path = tmp_path / "new" / "folder" / "out.png"
    with replacing(path) as partial:
        assert partial.is_relative_to(path.parent)  # the same file system, so that renaming is one step
        assert partial.name == path.name  # by whose suffix OpenCV knows the format
        assert not partial.exists()
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["out.png"]


def test_an_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path, error, old):
    path = tmp_path / "out.json"
    if old:
        path.write_text(old)

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert contents(tmp_path) == ({"out.json": old} if old else {})


@pytest.mark.parametrize("old", [None, {"data": "old", "more": "old"}])
def test_a_folder_appears_at_the_end(tmp_path, old):
    path = tmp_path / "train.lmdb"
    if old:
        make_folder(path, **old)
    with replacing(path) as partial:
        make_folder(partial, data="new")
        assert (contents(path) if path.exists() else None) == old
    assert contents(path) == {"data": "new"}
    assert names(tmp_path) == ["train.lmdb"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_folder_and_no_temporary(tmp_path, error):
    path = tmp_path / "train.lmdb"
    make_folder(path, data="old", more="old")

    def fail():
        with replacing(path) as partial:
            make_folder(partial / "inner", data="half")
            raise error

    with pytest.raises(error):
        fail()
    assert contents(path) == {"data": "old", "more": "old"}
    assert names(tmp_path) == ["train.lmdb"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_interruption_while_folders_change_places_leaves_one_of_them(
    tmp_path, monkeypatch, step, exchange
):
    path = tmp_path / "train.lmdb"
    make_folder(path, data="old")
    calls = []

    def interrupting(function):
        def called(*names):
            calls.append(names)
            if len(calls) == step:
                raise KeyboardInterrupt
            return function(*names)

        return called

    def replace():
        with replacing(path) as partial:
            make_folder(partial, data="new")
            if not exchange:
                monkeypatch.setattr(atomic, "_exchanged", lambda *_: False)
            for module, name in ((os, "replace"), (os, "rename"), (atomic, "_exchanged")):
                monkeypatch.setattr(module, name, interrupting(getattr(module, name)))

    with suppress(KeyboardInterrupt):
        replace()
    monkeypatch.undo()
    assert contents(path) in ({"data": "old"}, {"data": "new"})
    assert names(tmp_path) == ["train.lmdb"]


def test_files_that_belong_together_are_replaced_at_once(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.onnx"]
    for path in paths:
        path.write_text("old")
    with replacing_all(paths) as partials:
        for partial in partials:
            partial.write_text("new")
            assert contents(tmp_path) == {"a.json": "old", "b.onnx": "old"}
    assert contents(tmp_path) == {"a.json": "new", "b.onnx": "new"}
    with pytest.raises(ValueError, match="one directory"), replacing_all([paths[0], tmp_path / "x" / "b"]):
        pass


REPLACE = """
import os, signal, sys
from pathlib import Path
from facealign.io import atomic
from facealign.io.atomic import discard, replacing, replacing_all
from facealign.io.unfinished import settle, temporary_folder
place, step = Path(sys.argv[1]), int(sys.argv[2])
calls = []
def watch(event, arguments):
    if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "ctypes.dlsym") or (
        event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
    ):
        calls.append(event)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
def folder(path):
    path.mkdir()
    (path / "data").write_text("new")
    (path / "more").write_text("new")
"""
WAYS = {
    "folder": "with replacing(place / 'x') as partial: folder(partial)\n",
    "folder without exchange": "atomic._exchanged = lambda *_: False\n"
    "with replacing(place / 'x') as partial: folder(partial)\n",
    "files": "with replacing_all([place / 'x', place / 'y', place / 'z']) as partials:\n"
    "    for partial in partials: partial.write_text('new')\n",
    "discard": "discard(place / 'x')\n",
    "temporary": "os.environ['TMPDIR'] = str(place)\nwith temporary_folder() as made: folder(made / 'in')\n",
}


def whole(folder):
    """What a folder holds, hidden names too, as nested dictionaries."""
    return {path.name: whole(path) if path.is_dir() else path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_step_the_next_start_finds_all_old_or_all_new_and_nothing_else(way, tmp_path):
    old = {"x": {"data": "old"}} if way != "files" else {"x": "old", "y": "old"}
    outcomes = []
    for step in range(1, 100):
        place = tmp_path / str(step)
        place.mkdir()
        for name, content in old.items():
            make_folder(place / name, **content) if isinstance(content, dict) else (place / name).write_text(
                content
            )
        code = f"{REPLACE}sys.addaudithook(watch)\n{WAYS[way]}"
        killed = python(code, place, step).returncode
        assert python(f"{REPLACE}settle(place)", place, 0).returncode == 0
        outcomes.append(whole(place))
        if killed == 0:
            break
        assert killed == -9
    assert step > 3
    assert outcomes[0] == old
    for outcome in outcomes:
        assert outcome in (outcomes[0], outcomes[-1])


def test_what_a_living_process_makes_is_left_alone(tmp_path):
    code = f"{REPLACE}\nwith replacing(place / 'x') as partial: folder(partial); print('made'); input()"
    command = [sys.executable, "-u", "-c", code, str(tmp_path), "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "made\n"
        (made,) = names(tmp_path)
        # As another container sees it, where the number is no process's, or another one's.
        foreign = tmp_path / re.sub(r"\d+-\d+", "1-7", made)
        (tmp_path / made).rename(foreign)
        assert python(f"{REPLACE}settle(place)", tmp_path, 0).returncode == 0
        assert names(tmp_path) == [foreign.name]
        foreign.rename(tmp_path / made)
        other.communicate("\n")
    assert whole(tmp_path) == {"x": {"data": "new", "more": "new"}}


def test_the_number_of_a_dead_process_may_have_been_given_to_another(tmp_path):
    """In a container every run has the same process number."""
    make_folder(tmp_path / f".x.{os.getpid()}-7-0.partial" / "new" / "x", data="half")
    assert python(f"{REPLACE}settle(place)", tmp_path, 0).returncode == 0
    assert names(tmp_path) == []


def test_what_cannot_be_put_in_place_is_an_error_that_names_it(tmp_path):
    make_folder(tmp_path / "x", data="old")
    left = tmp_path / ".x.1-7-0.complete"
    make_folder(left / "new", x="new")
    done = python(f"{REPLACE}settle(place)", tmp_path, 0)
    assert f"FaceAlignError: {left}: the files in it belong beside it" in done.stderr
    assert contents(left / "new") == {"x": "new"}


def test_a_link_to_a_folder_is_replaced_and_the_folder_kept(tmp_path):
    make_folder(tmp_path / "elsewhere", data="kept")
    path = tmp_path / "train.lmdb"
    path.symlink_to(tmp_path / "elsewhere")
    with replacing(path) as partial:
        make_folder(partial, data="new")
    assert contents(path) == {"data": "new"}
    assert contents(tmp_path / "elsewhere") == {"data": "kept"}
    assert names(tmp_path) == ["elsewhere", "train.lmdb"]


def test_nothing_made_is_an_error_that_names_the_output(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError) as caught, replacing(path):
        pass
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"


def test_a_full_disk_names_the_output(tmp_path):
    """The system's error does not; /dev/full is always full."""
    path = tmp_path / "out.json"

    def fill():
        with replacing(path), open("/dev/full", "w") as full:
            full.write("x" * 100_000)

    with pytest.raises(OSError, match="No space") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert names(tmp_path) == []


def test_an_output_that_cannot_grow_names_it_and_leaves_the_old(tmp_path):
    """A real write that fails half-way, by a limit of the size of files."""
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    code = (
        "import pathlib, resource, sys; from facealign.io.atomic import replacing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with replacing(pathlib.Path(sys.argv[1])) as partial: partial.write_bytes(bytes(5000))\n"
        "except OSError as error: print(error.filename)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.bin"]


def test_another_file_s_error_keeps_its_name(tmp_path):
    def read():
        with replacing(tmp_path / "out.json"):
            (tmp_path / "absent.txt").read_text()

    with pytest.raises(FileNotFoundError) as caught:
        read()
    assert caught.value.filename == str(tmp_path / "absent.txt")


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"), replacing(tmp_path / "taken" / "out.json") as partial:
        partial.write_text("never")
    assert contents(tmp_path) == {"taken": "a file"}
