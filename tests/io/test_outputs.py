"""Outputs that cannot be written, on real file systems; the superuser may write where others may not."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from facealign.errors import FaceAlignError
from facealign.io.addresses import address
from facealign.io.outputs import check_outputs
from tests.mounting import may_mount


def everything(place):
    return sorted((str(path), path.lstat().st_mode) for path in place.rglob("*"))


@pytest.fixture
def place(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (["new", "file", "folder/new", "new/folder/new", "link"], []),
        ([], ["new", "folder", "new/folder/new"]),
        (["new/a", "new/b"], ["new"]),
    ],
)
def test_what_can_be_written_passes_and_nothing_is_left(files, folders, place):
    before = everything(place)
    check_outputs([place / name for name in files], [place / name for name in folders])
    assert everything(place) == before


@pytest.mark.parametrize(
    ("name", "is_folder", "says"),
    [
        ("folder", False, "a folder; expected the name of a file to write"),
        ("pipe", False, "a device or pipe; "),
        ("circle", False, "cannot be written (Too many levels"),
        ("file/new", False, "is not a folder)"),
        ("link/new", False, "is not a folder)"),
        ("n" * 256, False, "cannot be written (File name too long)"),
        ("new/" + "é" * 128, False, "cannot be written (File name too long)"),
        ("a\0b", False, "cannot be written (embedded null byte)"),
        ("file", True, "not a folder; expected one to write into"),
        ("pipe", True, "not a folder; expected one to write into"),
        ("link", True, "is not a folder)"),
        ("file/new", True, "is not a folder)"),
    ],
)
def test_what_cannot_is_named_with_the_reason(name, is_folder, says, place):
    before, path = everything(place), place / name
    with pytest.raises(FaceAlignError) as caught:
        check_outputs(*([], [path]) if is_folder else ([path], []))
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert everything(place) == before


def test_one_name_for_two_outputs_is_refused(tmp_path):
    with pytest.raises(FaceAlignError, match="given for two outputs"):
        check_outputs([tmp_path / "x.md", tmp_path / "y" / ".." / "x.md"])


def test_one_file_for_two_outputs_is_refused_however_its_folder_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(FaceAlignError, match=r"link/x\.md: given for two outputs"):
        check_outputs([tmp_path / "folder" / "x.md", tmp_path / "link" / "x.md"])


@pytest.mark.parametrize(
    ("name", "is_input"),
    [
        ("a.png", True),
        ("a.pts", True),
        ("deep/b.JPG", True),
        ("deep/data.mdb", True),
        ("plot.png", False),  # of an earlier run: it has no landmarks
        ("boxes.json", False),
        ("new.png", False),
    ],
)
def test_in_a_folder_that_is_read_annotated_images_are_inputs(name, is_input, tmp_path):
    (tmp_path / "deep").mkdir()
    for file in ("a.png", "a.pts", "deep/b.JPG", "deep/b.pts", "deep/data.mdb", "plot.png", "boxes.json"):
        (tmp_path / file).write_text(file)
    inputs = [tmp_path, tmp_path / "absent", address("s3://bucket/folder")]
    if not is_input:
        check_outputs([tmp_path / name], inputs=inputs)
        return
    with pytest.raises(FaceAlignError, match=f"{name}: the output would replace an input"):
        check_outputs([tmp_path / name], inputs=inputs)


def test_a_folder_of_the_system_in_which_nothing_can_be_made_is_refused():
    with pytest.raises(FaceAlignError, match=r"/proc/new/out.json: cannot be written"):
        check_outputs([Path("/proc/new/out.json")])


@pytest.mark.skipif(not may_mount(), reason="mounts a file system")
def test_a_read_only_file_system_is_refused(tmp_path):
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    try:
        (place / "old").mkdir()
        check_outputs([place / "new"], [place / "old"])
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for outputs in (([place / "new"], []), ([], [place / "old"]), ([place / "a" / "b"], [])):
            with pytest.raises(FaceAlignError, match="Read-only file system"):
                check_outputs(*outputs)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_folder_of_others_is_refused():
    """The superuser may write anywhere, so the test is somebody else then."""
    with tempfile.TemporaryDirectory() as name:
        place, user = Path(name) / "place", os.geteuid()
        place.mkdir()
        for folder in (place, place.parent):
            folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(FaceAlignError, match="Permission denied"):
                check_outputs([place / "new"])
        finally:
            os.seteuid(user)
            place.parent.chmod(0o755)


@pytest.mark.parametrize("given", ["s3://bucket/out", "gs://bucket/out/boxes.json", "file:///tmp/out"])
def test_an_address_is_no_output(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for outputs in (([Path(given)], []), ([], [Path(given)])):
        with pytest.raises(
            FaceAlignError, match=f"^{given.replace('///', '//')}: outputs are written to this"
        ):
            check_outputs(*outputs)
    check_outputs([tmp_path / "s3:" / "boxes.json"])
    assert everything(tmp_path) == []
