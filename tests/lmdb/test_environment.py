"""Damaged LMDBs, on which LMDB ends the process: found in another one first."""

import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from facealign.errors import FaceAlignError
from facealign.lmdb.environment import open_lmdb
from tests.lmdb import broken_pages

N = 300


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "train_images"
    with lmdb.open(str(path), map_size=1 << 25) as opened, opened.begin(write=True) as transaction:
        for index in range(N):
            transaction.put(b"%09d" % index, bytes([index % 256]) * 9000)
    return path


def read_all(path):
    with open_lmdb(path) as opened, opened.begin() as transaction:
        return list(transaction.cursor())


def read_plainly(path):
    """How a process ends that reads an LMDB by the library alone."""
    code = (
        "import lmdb, resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "with lmdb.open(sys.argv[1], readonly=True, lock=False) as opened, opened.begin() as transaction:\n"
        "    for record in transaction.cursor(): pass\n"
    )
    return subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=False).returncode


def test_a_sound_one_is_read(database):
    assert read_all(database) == [(b"%09d" % index, bytes([index % 256]) * 9000) for index in range(N)]
    assert read_plainly(database) == 0


@pytest.mark.parametrize("name", ["root_without_children", "value_beyond_the_end"])
def test_a_damage_that_ends_the_process_is_one_line(database, name):
    getattr(broken_pages, name)(database / "data.mdb")
    assert read_plainly(database) < 0, "else nothing is proved"
    with pytest.raises(FaceAlignError, match=r"train_images: its data\.mdb is damaged \(SIG.*make it again"):
        read_all(database)


def test_a_copy_with_a_hole_is_one_line(database):
    broken_pages.hole(database / "data.mdb")
    with pytest.raises(FaceAlignError, match=r"train_images: .*make it again"):
        read_all(database)


def test_a_damage_that_comes_later_is_found_too(database):
    read_all(database)
    broken_pages.root_without_children(database / "data.mdb")
    with pytest.raises(FaceAlignError, match="damaged"):
        read_all(database)


def test_records_that_cannot_be_found_by_their_keys_are_damage(database):
    """A key in the middle is changed, so that the keys are not in order."""
    file = database / "data.mdb"
    file.write_bytes(file.read_bytes().replace(b"000000150", b"000000999"))
    with pytest.raises(FaceAlignError, match=r"damaged \(key b'000000"):
        read_all(database)


def test_a_larger_file_is_no_damage(database):
    """LMDB makes its files larger in advance."""
    file = database / "data.mdb"
    os.truncate(file, file.stat().st_size + 40960)
    assert len(read_all(Path(database))) == N
