"""A forked program ends as one that was started from nothing."""

import subprocess
import sys

import pytest

from tests.forked import ROOT, Forked, facealign


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (0, ["align", "--help"]),
        (1, ["align", "--images", "none", "--output", "out"]),
        (1, ["train", "--stage", "1", "--data", "none", "--run", "out"]),
        (2, ["align", "--images"]),
        (2, ["no-such-verb"]),
    ],
)
def test_it_says_and_returns_the_same(code, arguments, tmp_path):
    forked = facealign(*arguments, cwd=tmp_path)
    started = subprocess.run(
        [sys.executable, "-m", "facealign", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert forked.returncode == started.returncode == code
    assert (forked.stdout, forked.stderr) == (started.stdout, started.stderr)
    assert forked.stdout + forked.stderr


def test_several_are_at_work_at_once_and_one_may_be_limited(tmp_path):
    limited = Forked(["make-prototxt", "--output", tmp_path / "limited"], tmp_path, file_limit=100)
    other = Forked(["make-prototxt", "--output", tmp_path / "other"], tmp_path)
    assert other.communicate()[1] == ""
    assert limited.communicate()[1].startswith(f"error: {tmp_path / 'limited'}")
    assert (limited.returncode, other.returncode) == (1, 0)
