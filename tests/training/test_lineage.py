"""What a run keeps of the weights it began with, and the runs behind these."""

import hashlib
import json

import pytest

from facealign.training.lineage import origin, runs_before
from facealign.training.log import LogRow, write_log

RECIPE = {"name": "net/stage3", "stage": "stage3"}


@pytest.fixture
def snapshot(tmp_path):
    """Weights of iteration 20 in a run's folder, whose log goes on to 30."""
    path = tmp_path / "stage3_iter_20.caffemodel"
    path.write_bytes(b"weights")
    (tmp_path / "run.json").write_text(json.dumps({"recipe": RECIPE, "seed": 4}))
    write_log(tmp_path / "log.csv", [LogRow(10, 1.5, 0.2), LogRow(20, 2.5, 0.1), LogRow(30, 4.0, 0.1)])
    return path


def test_a_snapshot_is_told_with_its_run(snapshot):
    assert origin(snapshot) == {
        "weights": "stage3_iter_20.caffemodel",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "run": {"recipe": RECIPE, "seed": 4, "iteration": 20, "seconds": 2.5},
    }


def test_other_weights_are_told_by_their_digest(snapshot):
    released = snapshot.with_name("mobilenet_v2_stage3.caffemodel")
    snapshot.rename(released)
    assert origin(released).keys() == {"weights", "sha256"}
    moved = released.rename(released.with_name("stage3_iter_20.caffemodel"))
    for text in ("{", "[1]"):
        (moved.parent / "run.json").write_text(text)
        assert origin(moved).keys() == {"weights", "sha256"}
    (moved.parent / "run.json").unlink()
    assert origin(moved).keys() == {"weights", "sha256"}


def test_the_runs_before_are_those_of_the_same_recipe():
    def run(name, start=None):
        return {"recipe": {"name": name}, "start": start and {"weights": "w", "sha256": "s", "run": start}}

    first = run("net/stage3", run("net/stage1"))
    second = run("net/stage3", first)
    assert runs_before(run("net/stage3", second)) == [first, second]
    assert runs_before(first) == []
    assert runs_before({"recipe": {"name": "net/stage3"}}) == []
    assert runs_before({**first, "start": {"weights": "w", "sha256": "s"}}) == []
