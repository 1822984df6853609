"""What make would run, without running it: variables are quoted, and the environment does not reach them."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def recipe(*arguments, **environment):
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_clean_removes_nothing_that_the_environment_names():
    assert "precious" not in recipe("clean", OUT="/tmp/precious")
    assert '"out"' in recipe("clean", OUT="/tmp/precious")
    assert '"elsewhere"' in recipe("clean", "OUT=elsewhere")


@pytest.mark.parametrize("target", ["lmdb", "evaluate", "reproduce", "runtimes"])
def test_a_path_with_a_space_or_a_semicolon_is_one_argument(target):
    assert '--data "a b; touch c"' in recipe(target, "DATA=a b; touch c")
    assert "other" not in recipe(target, DATA="other")


def test_the_tour_goes_into_the_folder_of_outputs():
    assert '-m tools.tour --output "out/tour"' in recipe("tour")
    assert '-m tools.tour --output "a b/tour" --list' in recipe("tour", "OUT=a b", "ARGS=--list")


def test_weights_are_quoted_and_absent_when_there_are_none():
    assert '--weights "my weights.onnx"' in recipe("evaluate", "WEIGHTS=my weights.onnx")
    assert "--weights" not in recipe("evaluate")


def test_the_report_has_photos_only_from_a_folder_that_is_named():
    assert '"out/evaluation.json" --html "out/report.html"' in recipe("report")
    assert "--data" not in recipe("report", DATA="data")
    named = recipe("report", "DATA=a b; touch c", "EVALUATIONS=x.json y.json", "RUNS=runs/a runs/b")
    assert 'report x.json y.json --html "out/report.html"' in named
    assert '--log "runs/a" --log "runs/b" --data "a b; touch c"' in named


@pytest.mark.parametrize(
    ("target", "variable", "message"),
    [
        ("train", "STAGE=9", "make train: STAGE=9: expected 1, 2, 3 or cascade"),
        ("lmdb", "DATA=no such", "make lmdb: no such: no such folder"),
        ("evaluate", "DATA=no such", "make evaluate: no such: no such folder"),
        ("reproduce", "DATA=no such", "make reproduce: no such: no such folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(target, variable, message):
    # As if this was not run by make itself, of which the outer one's flags and depth would be taken.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", target, variable], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(message)
