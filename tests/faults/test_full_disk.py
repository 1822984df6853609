"""Programs whose output is on a full disk, too large, or read-only: one line, and nothing is lost."""

import shutil
import subprocess

import pytest

from tests.faults.invariant import COUNTS, holds
from tests.faults.programs import MADE, PROGRAMS, command_of, made_in, make_inputs
from tests.mounting import may_mount

pytestmark = pytest.mark.faults
SMALL = ("detect-faces", "annotate", "evaluate", "report", "make-prototxt")
"""Programs that write little: their disk is full to the last page."""
mounts = pytest.mark.skipif(not may_mount(), reason="mounts a file system")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    make_inputs(place)
    return place


@pytest.fixture
def place(inputs, tmp_path):
    shutil.copytree(inputs, tmp_path / "place")
    (tmp_path / "place" / MADE).mkdir()
    return tmp_path / "place"


@pytest.fixture
def disk(place):
    """made/ as a small file system of its own."""
    made = place / MADE
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", made], check=True)
    yield made
    subprocess.run(["umount", made], check=True)


@mounts
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_disk(program, place, disk):
    (disk / "others").write_bytes(b"x" * (1 << 16 if program in SMALL else 1 << 14))
    done = holds(command_of(program), place, [MADE, "lmdb"])
    COUNTS["full disks"] += 1
    assert done.code == 1, done.stderr
    assert f"{MADE}/" in done.error
    assert ".partial" not in done.error
    kept = {name for name in made_in(place) if not name.startswith("others")}
    # A training and an annotation keep what they need to go on, pictures and results that were finished stay.
    if not program.startswith(("train", "annotate", "turn-faces", "align", "make-prototxt")):
        assert kept <= {"", "models"}, kept
    assert not any(".partial" in name or ".complete" in name for name in kept)


@pytest.mark.parametrize("program", PROGRAMS)
def test_files_that_may_not_grow(program, place):
    temporary = place.with_name("tmp")
    done = holds(command_of(program), place, [MADE, "lmdb"], file_limit=50, temporary=temporary)
    COUNTS["full disks"] += 1
    assert done.code == 1, done.stderr
    assert f"{MADE}/" in done.error or done.error.startswith(f"{temporary}: ")
    assert ".partial" not in done.error
    assert not any(name.startswith(".") or "/." in name for name in made_in(place))


@mounts
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_read_only_output_is_noticed_before_the_work(program, place, disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    done = holds(command_of(program), place, [MADE])
    COUNTS["read-only outputs"] += 1
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"error: {done.error}"]
    assert done.error.startswith(f"{MADE}/")
    assert done.error.endswith("cannot be written (Read-only file system)")


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_output_below_a_file_is_noticed_before_the_work(program, place):
    (place / MADE).rmdir()
    (place / MADE).write_text("a file")
    done = holds(command_of(program), place)
    COUNTS["read-only outputs"] += 1
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [f"error: {done.error}"]
    assert done.error.startswith(f"{MADE}/")
    assert "is not a folder" in done.error
