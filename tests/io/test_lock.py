"""The lock of a folder, against real other processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from facealign.errors import FaceAlignError
from facealign.io.lock import exclusive

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from facealign.io.lock import exclusive
with exclusive(Path(sys.argv[1]), "a training"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path/run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_refused_with_the_holder_s_number(holder, tmp_path):
    with (
        pytest.raises(FaceAlignError, match=rf"run: a training is at work in it \(process {holder.pid}\)"),
        exclusive(tmp_path / "run", "an alignment"),
    ):
        pass
    with exclusive(tmp_path / "other", "a training"):
        pass


def test_the_lock_of_a_killed_process_is_free(holder, tmp_path):
    holder.kill()
    holder.wait()
    with exclusive(tmp_path / "run", "a training"):
        pass


def test_nothing_is_left_and_the_folder_may_go_meanwhile(tmp_path):
    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run", "a training"):
        (tmp_path / "run").rmdir()
    assert list(tmp_path.iterdir()) == []


def test_an_error_within_frees_it(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match="within"), exclusive(tmp_path / "run", "a training"):
            raise ValueError("within")
