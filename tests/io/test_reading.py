"""Files read, or one line that says why not."""

import os

import pytest

from facealign.errors import FaceAlignError
from facealign.io.reading import read_bytes, read_json, read_text

READERS = (read_bytes, read_text, read_json)


@pytest.mark.parametrize("read", READERS)
def test_what_is_missing_or_a_folder_is_one_line_with_the_hint(read, tmp_path):
    for path, reason in ((tmp_path / "none", "no such file"), (tmp_path, "a folder, not a file")):
        with pytest.raises(FaceAlignError) as caught:
            read(path, "make it with `make`")
        assert str(caught.value) == f"{path}: {reason}; make it with `make`"


@pytest.mark.parametrize(
    "content", ["a\nb\n", "\ufeffa\r\nb\r\n", "a\rb\r"], ids=["plain", "Windows", "old Mac"]
)
def test_lines_end_alike(content, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(content.encode())
    assert read_text(path, "") == "a\nb\n"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff{}", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(FaceAlignError, match=r"file\.json: not a .*; expected this"):
        read_json(path, "expected this")


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_and_a_device_are_refused_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(FaceAlignError, match=rf"/{name}: a device or pipe, not a file; expected this"):
            read(tmp_path / name, "expected this")
