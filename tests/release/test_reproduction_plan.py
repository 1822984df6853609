"""All of it from the photos: the plan's order, what is done again and what is not, and a small run."""

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import detection_pictures
from facealign.datasets.sample import Sample
from facealign.evaluation.results_file import read_results
from facealign.io.lock import exclusive
from facealign.release.machine_speed import iteration_seconds
from facealign.release.progress import Progress, minutes_left
from facealign.release.reproduction_plan import PLAN, PlannedStep, plan, weights_of
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
STEPS = 47
WEIGHTS = tomllib.loads(PLAN.read_text())["weights"]
FOLDERS = [name for name in WEIGHTS if name != "*"]


def faces(*folders):
    """A face in each of the folders."""
    points = upright_face((200, 200), 100)
    return [Sample(Path(one) / "1.jpg", points, one, f"{one}/1.jpg", f"{one}/1") for one in folders]


@pytest.mark.parametrize(("mesh", "number"), [(None, STEPS), (Path("/python"), STEPS + 2)])
def test_each_step_finds_what_it_reads_made_before_it(mesh, number, tmp_path):
    """A path in the work folder that a step names is its own result, or an earlier one's that it needs."""
    made = {}
    for step in plan(Path("photos"), tmp_path, faces(*FOLDERS), mesh=mesh):
        assert set(step.needs) <= set(made)
        needed, ahead = set(), list(step.needs)
        while ahead:
            name = ahead.pop()
            needed.add(name)
            ahead += made[name].needs
        for word in step.command:
            path = Path(word)
            if path.is_relative_to(tmp_path) and path not in (step.result, step.result.parent):
                assert any(path.is_relative_to(made[name].result.parent) for name in needed), (
                    step.name,
                    word,
                )
        made[step.name] = step
    assert len(made) == number
    assert made["boxes"].needs == ()


def test_folders_that_are_not_there_are_not_named_and_others_share_a_weight():
    assert weights_of(["afw", "menpo", "mine"], WEIGHTS) == ["afw=12", "*=10"]
    assert weights_of(["helen_256"], WEIGHTS) == ["helen_256=18"]
    commands = [step.command for step in plan(Path("photos"), Path("work"), faces("afw"))]
    assert not any("youtube_faces" in word for command in commands for word in command)


def test_turned_faces_are_drawn_only_where_there_is_a_face_mesh():
    samples = faces("lfw", *FOLDERS)
    with_mesh = plan(Path("photos"), Path("work"), samples, mesh=Path("/python"))
    drawn = [step.name for step in with_mesh if "lfw_turned=16" in step.command]
    assert drawn == ["stage3_run4", "cascade_run3"]
    (turned,) = (step for step in with_mesh if step.command[0] == "turn-faces")
    (annotated,) = (step for step in with_mesh if step.command[0] == "annotate")
    for step in (turned, annotated):
        assert step.command[step.command.index("--mesh") + 1] == "/python"
    without = [step.command for step in plan(Path("photos"), Path("work"), samples)]
    assert not [step for step in without if "turn-faces" in step or "lfw_turned=16" in step]
    assert [step for step in without if "--no-mesh" in step]


def test_the_iterations_are_scaled_and_so_is_the_time(tmp_path):
    steps = {step.name: step for step in plan(Path("photos"), tmp_path, faces(*FOLDERS))}
    tenth = {step.name: step for step in plan(Path("photos"), tmp_path, faces(*FOLDERS), 0.1)}
    stage3 = "stage3_run1"
    assert tenth[stage3].iterations == steps[stage3].iterations / 10
    assert minutes_left(tenth[stage3], 1) == pytest.approx(minutes_left(steps[stage3], 1) / 10)
    assert minutes_left(steps["lmdb_on_the_fly"], 2.0) == steps["lmdb_on_the_fly"].minutes / 2


@pytest.fixture
def chain(tmp_path):
    """Steps a, b that needs a, and c; all their results are there."""
    steps = [
        PlannedStep("a", ("program", "one"), 1, tmp_path / "a"),
        PlannedStep("b", ("program", "two"), 1, tmp_path / "b", needs=("a",)),
        PlannedStep("c", ("program", "three"), 1, tmp_path / "c"),
    ]
    for step in steps:
        step.result.write_text("made")
    return steps


def done(path, steps):
    progress = Progress(path, steps)
    return "".join(step.name for step in steps if progress.has(step))


def test_what_was_done_is_remembered_until_it_or_what_it_needs_changes(chain, tmp_path):
    kept = tmp_path / "done.json"
    assert done(kept, chain) == ""
    progress = Progress(kept, chain)
    for step in chain[:2]:
        progress.add(step)
    assert done(kept, chain) == "ab"
    Progress(kept, chain).add(chain[2])
    assert done(kept, chain) == "abc"
    other = [replace(chain[0], command=("program", "other")), *chain[1:]]
    assert done(kept, other) == "c"
    assert done(kept, [chain[0], replace(chain[1], command=("x",)), chain[2]]) == "ac"
    chain[2].result.unlink()
    assert done(kept, chain) == "ab"
    for text in ("", "[]", "{", json.dumps({"a": 1})):
        kept.write_text(text)
        assert done(kept, chain) == ""


def test_a_training_begun_by_another_command_is_not_gone_on_with(tmp_path):
    run = PlannedStep("run", ("train", "2"), 1, tmp_path / "run", iterations=2, stage="stage1")
    longer = replace(run, command=("train", "4"), iterations=4)
    kept = tmp_path / "done.json"
    Progress(kept, [longer]).begin(longer)
    run.result.mkdir()
    (run.result / "stage1_iter_4.caffemodel").write_text("")
    Progress(kept, [longer]).begin(longer)  # resumed
    assert list(run.result.iterdir())
    shorter = Progress(kept, [run])
    assert not shorter.has(run)
    shorter.begin(run)
    assert not run.result.exists()
    run.result.mkdir()
    Progress(kept, [run]).begin(run)
    assert run.result.exists()


def test_the_machine_s_speed_is_told(tmp_path):
    assert 0 < iteration_seconds(tmp_path, rounds=1) < 60


def reproduce(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "facealign", "reproduce", "--mesh", "none", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("share", ["0", "1.5", "x"])
def test_wrong_usage(share, tmp_path):
    assert reproduce("--data", tmp_path, "--scale", share).returncode == 2


def test_no_photos(tmp_path):
    result = reproduce("--data", tmp_path, "--work", tmp_path / "work")
    assert result.returncode == 1
    assert result.stderr == f"error: {tmp_path}: no image with 68 points in a .pts file beside it\n"
    assert not (tmp_path / "work").exists()


def write_photos(folder, count):
    """Photos of one person's face, anywhere, and landmarks that are about where a face has them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for index in range(count):
        picture = detection_pictures.background("coffee")
        centre = rng.uniform((120, 120), (520, 360))
        box = detection_pictures.paste(picture, centre, rng.uniform(90, 150), rng.uniform(-10, 10))
        cv2.imwrite(str(folder / f"face{index}.png"), picture)
        points = upright_face((box[:2] + box[2:]) / 2, box[2] - box[0])
        lines = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
        (folder / f"face{index}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")


def test_it_runs_the_code_of_its_first_start(tmp_path):
    photos, work = tmp_path / "photos", tmp_path / "work"
    write_photos(photos / "mine", 1)
    (work / "boxes.json").mkdir(parents=True)  # in the way of the first step
    (work / "done.json").write_text("{}")
    states = tmp_path / "states.json"
    command = ("--data", photos, "--work", work, "--scale", "0.0005", "--json", states)
    (work / "done.json").rename(tmp_path / "done.json")
    refused = reproduce(*command)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {work}: holds boxes.json and no done.json or code: a folder of something else; give another "
        "--work\n"
    )
    (tmp_path / "done.json").rename(work / "done.json")
    first = reproduce(*command)
    assert first.returncode == 1
    steps = json.loads(states.read_text())["steps"]
    assert len(steps) == STEPS
    assert steps[0] == {"name": "boxes", "done": False}
    assert first.stdout.startswith(f"{STEPS} of {STEPS} steps to do")
    assert "error: boxes: failed" in first.stderr
    copy = work / "code" / "facealign" / "release" / "reproduction_plan.toml"
    plan_before = copy.read_text()
    copy.write_text(plan_before[: plan_before.rindex("[[step]]")])
    (copy.parent / "progress.py").open("a").write("\n")
    again = reproduce(*command)
    assert again.stdout.startswith(f"{STEPS - 3} of {STEPS - 3} steps to do")
    assert "1 file changed since (release/progress.py...): --update takes what changed" in again.stderr
    assert reproduce(*command, "--update").stdout.startswith(f"{STEPS} of {STEPS} steps to do")


def test_one_reproduction_at_a_time_is_at_work_in_a_folder(tmp_path):
    write_photos(tmp_path / "photos" / "mine", 1)
    with exclusive(tmp_path / "work", "a reproduction"):
        result = reproduce("--data", tmp_path / "photos", "--work", tmp_path / "work")
    assert result.returncode == 1
    assert "a reproduction is at work in it" in result.stderr


@pytest.mark.slow
def test_all_of_it_on_a_few_photos_interrupted_once(tmp_path):
    photos, work = tmp_path / "photos", tmp_path / "work"
    write_photos(photos / "mine", 20)
    (work / "lmdb_reference").mkdir(parents=True)
    (work / "lmdb_reference" / "in_the_way").write_text("")
    command = ("--data", photos, "--work", work, "--scale", "0.0005")
    stopped = reproduce(*command)
    assert stopped.returncode == 1
    assert "error: lmdb_reference: failed" in stopped.stderr
    assert f"[34/{STEPS}] cascade: release: took" in stopped.stdout
    (work / "lmdb_reference" / "in_the_way").unlink()
    ended = reproduce(*command)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith(f"{STEPS - 34} of {STEPS} steps to do, in about ")
    names = ["mobilenet_v2_stage1", "mobilenet_v2_stage2", "mobilenet_v2_stage3", "mobilenet_v2_cascade"]
    for name in (*names, "vgg_shadow"):
        for suffix in (".caffemodel", ".onnx", ".json", ".md"):
            assert (work / "models" / f"{name}{suffix}").is_file()
        assert read_results(work / "evaluations" / f"{name}.json")["subsets"]
    assert len((work / "report.md").read_text()) > 500
    again = reproduce(*command)
    assert again.stdout.startswith(f"0 of {STEPS} steps to do")
