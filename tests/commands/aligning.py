"""`facealign align` called in this process, which takes a fraction of the time of one of its own."""

import json

import pytest

from facealign.commands import align


@pytest.fixture
def run_align(monkeypatch, capfd):
    """A function of arguments: (what was printed, what was printed as errors)."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["facealign align", *map(str, arguments)])
        capfd.readouterr()
        align.main()
        return capfd.readouterr()

    return run


def images_of(out):
    """The entries of landmarks.json in a folder."""
    return json.loads((out / "landmarks.json").read_text())["images"]


def contents(folder):
    """The bytes of all files of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
