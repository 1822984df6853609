"""Outputs are whole or absent, whatever interrupts their making."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facealign.io.atomic import replacing

ROOT = Path(__file__).parents[2]


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def make_folder(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)


def contents(folder):
    return {entry.name: entry.read_text() for entry in folder.iterdir()}


def test_the_file_appears_at_the_end_and_nothing_else_does(tmp_path):
    path = tmp_path / "new" / "folder" / "out.png"
    with replacing(path) as partial:
        assert partial.parent == path.parent  # the same file system, so that renaming is one step
        assert partial.suffix == ".png"  # by which OpenCV knows the format
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


@pytest.mark.parametrize("step", [1, 2])
def test_an_interruption_while_folders_change_places_leaves_the_old_one(tmp_path, monkeypatch, step):
    path = tmp_path / "train.lmdb"
    make_folder(path, data="old")
    rename, calls = os.replace, []

    def interrupted(*paths):
        calls.append(paths)
        if len(calls) == step:
            raise KeyboardInterrupt
        rename(*paths)

    def replace():
        with replacing(path) as partial:
            make_folder(partial, data="new")
            monkeypatch.setattr(os, "replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        replace()
    assert contents(path) == {"data": "old"}
    assert names(tmp_path) == ["train.lmdb"]


def test_what_a_killed_process_left_is_not_built_upon(tmp_path):
    """In a container every run has the same process number."""
    path = tmp_path / "train.lmdb"
    with replacing(path) as partial:
        where = partial
        make_folder(partial, data="first")
    make_folder(where, stale="half")
    with replacing(path) as partial:
        assert partial == where
        assert not partial.exists()
        make_folder(partial, data="second")
    assert contents(path) == {"data": "second"}
    assert names(tmp_path) == ["train.lmdb"]


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
