"""facealign train as it is run: stage 1 on a few made-up faces, in batches of 64 as in earnest."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign.caffe_files.caffemodel import read_weights
from facealign.commands import train
from facealign.training.log import read_log
from facealign.training.snapshots import snapshots
from tests.dotted_photos import write_photo

ROOT = Path(__file__).parents[2]
# One thread: sums come out the same to the last bit.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "GLOG_minloglevel": "2",
}


def command(*arguments):
    return [sys.executable, "-m", "facealign", "train", *map(str, arguments)]


def tool(*arguments, **options):
    """Run the program to its end."""
    return subprocess.run(
        command(*arguments),
        **{"cwd": ROOT, "env": ENVIRONMENT, "capture_output": True, "text": True, "check": False, **options},
    )


def failure(result):
    """The one line of a program that could not start."""
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """LMDBs of facealign make-lmdb: 24 samples of 6 faces, and 2 for validation."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for index in range(8):
        write_photo(root / "photos", f"face{index}", rng, index)
    arguments = ("--copies", "4", "--validation", "0.25", "--boxes", "landmarks", "--workers", "1")
    arguments += ("--min-eye-distance", "0")  # the landmarks are a grid of dots, which has no eyes
    arguments += ("--keep-copies",)  # all are of the same dots
    subprocess.run(
        [
            *(sys.executable, "-m", "facealign", "make-lmdb", "--data", root, "--output", root / "lmdb"),
            *arguments,
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return root / "lmdb"


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """(folder, the finished process) of a run of 3 iterations."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    numbers = directory.parent / "numbers.json"
    arguments = ("--iterations", 3, "--snapshot-every", 2, "--validate-every", 2, "--seed", 3)
    result = tool("--stage", 1, "--data", data, "--run", directory, *arguments, "--json", numbers)
    assert result.returncode == 0, result.stderr
    result.numbers = json.loads(numbers.read_text())
    return directory, result


def same_weights(one, other):
    """Whether two caffemodels are the same numbers."""
    first, second = read_weights(one), read_weights(other)
    assert list(first) == list(second)
    return all(np.array_equal(a, b) for name in first for a, b in zip(first[name], second[name], strict=True))


def test_a_run_leaves_weights_a_log_and_its_plot(finished):
    directory, result = finished
    assert [snapshot.iteration for snapshot in snapshots(directory, "stage1")] == [3, 2]
    rows = read_log(directory / "log.csv")
    assert [row.iteration for row in rows] == [2, 3, 3]
    assert cv2.imread(str(directory / "log.png")) is not None
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["iteration 2", "iteration 3", str(directory)]
    assert f"{rows[0].nme_inter_pupil:.3f} % inter-pupil" in lines[0]
    assert "3 iterations" in lines[2]
    assert "starting from random weights" in result.stderr
    assert result.numbers == {
        "run": str(directory),
        "recipe": "mobilenet_v2/stage1",
        "weights": str(directory / "stage1_iter_3.caffemodel"),
        **dataclasses.asdict(rows[2]),
        **{name: getattr(rows[1], name) for name in ("loss", "rate")},
    }
    assert not (directory / "unfinished").exists()


def test_the_same_seed_gives_the_same_weights_to_the_last_bit(finished, data, tmp_path):
    directory, _ = finished
    arguments = ("--iterations", 3, "--snapshot-every", 100, "--validate-every", 3, "--seed", 3)
    assert tool("--stage", 1, "--data", data, "--run", tmp_path / "run", *arguments).returncode == 0
    last = "stage1_iter_3.caffemodel"
    assert same_weights(tmp_path / "run" / last, directory / last)
    assert not same_weights(tmp_path / "run" / last, directory / "stage1_iter_2.caffemodel")


@pytest.mark.parametrize("threads", ["2", "3"])
def test_so_it_does_with_more_threads(threads, finished, data, tmp_path):
    """What the threads do does not depend on how many there are; OpenBLAS has one, as ever in training."""
    directory, _ = finished
    arguments = ("--iterations", 3, "--snapshot-every", 100, "--validate-every", 3, "--seed", 3)
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": threads}
    result = tool("--stage", 1, "--data", data, "--run", tmp_path / "run", *arguments, env=environment)
    assert result.returncode == 0, result.stderr
    last = "stage1_iter_3.caffemodel"
    assert same_weights(tmp_path / "run" / last, directory / last)


def test_a_folder_of_something_else_is_refused(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    line = failure(tool("--stage", 1, "--data", data, "--run", tmp_path, "--iterations", 3))
    reason = "holds notes.txt and no run.json: a folder of something else; give another --run"
    assert line == f"error: {tmp_path}: {reason}\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_finished_run_says_so(finished, data):
    directory, _ = finished
    before = {path: path.read_bytes() for path in directory.iterdir()}
    result = tool("--stage", 1, "--data", data, "--run", directory, "--iterations", 3, "--seed", 3)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{directory}: has 3 iterations already; --restart starts again\n"
    fewer = tool("--stage", 1, "--data", data, "--run", directory, "--iterations", 2, "--seed", 3)
    assert "has 3 iterations, more than the 2 asked for; --restart starts again" in failure(fewer)
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("left", ["none", "an older one"])
def test_the_plot_that_a_kill_after_the_last_snapshot_prevented_is_made(left, finished, data, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory)
    plot = directory / "log.png"
    whole = plot.read_bytes()
    (directory / "unfinished").mkdir()
    if left == "none":
        plot.unlink()
    else:
        plot.write_bytes(b"of fewer iterations")
        log = (directory / "log.csv").stat()
        os.utime(plot, ns=(log.st_atime_ns, log.st_mtime_ns - 1))
    result = tool("--stage", 1, "--data", data, "--run", directory, "--iterations", 3, "--seed", 3)
    assert (result.returncode, result.stderr) == (0, "")
    assert "has 3 iterations already" in result.stdout
    assert plot.read_bytes() == whole
    assert not (directory / "unfinished").exists()


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(*arguments):
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_killed_run_goes_on_from_its_newest_snapshot_to_the_end(data, tmp_path):
    directory = tmp_path / "run"
    arguments = ("--stage", 1, "--data", data, "--run", directory, "--iterations", 6)
    every = ("--snapshot-every", 1, "--validate-every", 1)
    process = started(*arguments, *every)
    try:
        wait_for((directory / "stage1_iter_2.solverstate").exists, process)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    newest = snapshots(directory, "stage1")[0].iteration
    assert newest in (2, 3, 4)
    ahead = [row for row in read_log(directory / "log.csv") if row.iteration <= newest]
    result = tool(*arguments, *every, "--weights", "needless.caffemodel")
    assert result.returncode == 0, result.stderr
    assert f"resuming from iteration {newest}, not from needless.caffemodel" in result.stderr
    rows = read_log(directory / "log.csv")
    assert rows[: len(ahead)] == ahead
    assert [row.iteration for row in rows if row.nme_inter_pupil is not None] == list(range(1, 7))
    assert [snapshot.iteration for snapshot in snapshots(directory, "stage1")] == [6, 5, 4, 3, 2, 1]
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interruption_leaves_a_snapshot_of_the_last_iteration(data, tmp_path, number, group):
    directory = tmp_path / "run"
    process = started(
        *("--stage", 1, "--data", data, "--run", directory),
        *("--iterations", 100_000, "--validate-every", 2),
    )
    try:
        # it is under way when the first validation is logged, in the second line
        log = directory / "log.csv"
        wait_for(lambda: log.exists() and log.read_text().count("\n") > 1, process)
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == ("interrupted" if number == signal.SIGINT else "ended by a signal")
    (snapshot,) = snapshots(directory, "stage1")
    said = f"stopped: {directory}: at iteration {snapshot.iteration}; the same command goes on where it was"
    assert stderr.splitlines()[-2] == said
    logged = read_log(log)[-1].iteration
    assert snapshot.iteration in (logged, logged + 1, logged + 2)
    assert snapshot.iteration >= 2
    assert not (directory / "unfinished").exists()
    assert (directory / "log.png").is_file()


def test_stage_2_needs_stage_1_and_starts_from_exactly_its_newest_weights(finished, data, tmp_path):
    line = failure(tool("--stage", 2, "--data", data, cwd=tmp_path))
    assert "runs/mobilenet_v2_stage1: no weights of mobilenet_v2/stage1" in line
    assert "give --weights FILE" in line
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(finished[0], tmp_path / "runs" / "mobilenet_v2_stage1")
    result = tool("--stage", 2, "--data", data, "--iterations", 1, "--validate-every", 5, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    run = Path("runs/mobilenet_v2_stage2")
    start = "runs/mobilenet_v2_stage1/stage1_iter_3.caffemodel"
    assert f"{run}: starting from {start}" in result.stderr
    before, after = read_log(finished[0] / "log.csv")[-1], read_log(tmp_path / run / "log.csv")[0]
    assert after.iteration == 0
    assert (after.nme_inter_pupil, after.nme_inter_ocular) == (
        before.nme_inter_pupil,
        before.nme_inter_ocular,
    )
    # without stage 1 it goes on nevertheless: it has weights of its own by now
    shutil.rmtree(tmp_path / "runs" / "mobilenet_v2_stage1")
    result = tool("--stage", 2, "--data", data, "--iterations", 2, "--validate-every", 5, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{run}: resuming from iteration 1\n" in result.stderr
    began = json.loads((tmp_path / run / "run.json").read_text())["start"]
    assert began["weights"] == Path(start).name
    assert began["run"]["iteration"] == 3


def test_a_gpu_that_caffe_was_not_built_for_is_one_line(data, tmp_path):
    """What is broken is in tests/test_broken_input.py."""
    run = tmp_path / "run"
    assert "built without CUDA" in failure(
        tool("--stage", 1, "--run", run, "--data", data, "--device", "gpu")
    )
    assert not run.exists()


def test_another_seed_needs_restart_which_begins_anew(finished, data, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(finished[0], directory)
    arguments = ("--stage", 1, "--data", data, "--run", directory, "--iterations", 1, "--seed", 5)
    assert "holds a run with seed 3, not 5; use --restart" in failure(tool(*arguments))
    assert len(snapshots(directory, "stage1")) == 2
    result = tool(*arguments, "--restart")
    assert result.returncode == 0, result.stderr
    assert "starting from random weights" in result.stderr
    assert [snapshot.iteration for snapshot in snapshots(directory, "stage1")] == [1]


@pytest.fixture(scope="module")
def fresh(data):
    """Loose crops of the same faces."""
    arguments = ("--on-the-fly", "--validation", "0.25", "--boxes", "landmarks", "--workers", "1")
    output = data.parent / "fresh"
    subprocess.run(
        [
            *(sys.executable, "-m", "facealign", "make-lmdb", "--data", data.parent, "--output", output),
            *(*arguments, "--min-eye-distance", "0", "--keep-copies"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return output


def test_samples_varied_anew_train_and_go_on_where_they_were(fresh, data, tmp_path):
    directory = tmp_path / "run"
    common = (
        "--stage",
        1,
        "--run",
        directory,
        "--on-the-fly",
        "--photometric",
        "--elastic",
        0.02,
        "--weigh",
        "photos=2",
    )
    common += ("--set", "base_lr=0.0021")
    arguments = (*common, "--data", fresh, "--snapshot-every", 2, "--validate-every", 2)
    first = tool(*arguments, "--iterations", 2)
    assert first.returncode == 0, first.stderr
    net = (directory / "train_val.prototxt").read_text()
    assert "AugmentedFaceData" in net
    assert "rotate_min: -30" in net
    assert "occlusion" in net
    assert "deform" in net
    assert "first_sample: 0" in net
    assert "base_lr: 0.0021" in (directory / "solver.prototxt").read_text()
    second = tool(*arguments, "--iterations", 3)
    assert second.returncode == 0, second.stderr
    assert "first_sample: 128" in (directory / "train_val.prototxt").read_text()
    assert [snapshot.iteration for snapshot in snapshots(directory, "stage1")] == [3, 2]
    again = tmp_path / "again"
    arguments = ("--stage", 1, "--run", again, *arguments[4:])
    assert tool(*arguments, "--iterations", 2).returncode == 0
    last = "stage1_iter_2.caffemodel"
    assert same_weights(again / last, directory / last)
    # what would be another run, or cannot be one
    rate = ("--set", "base_lr=0.0021")
    other = tool("--stage", 1, "--run", again, "--data", fresh, "--on-the-fly", *rate, "--iterations", 4)
    assert "holds a run with other augmentation on the fly; use --restart" in failure(other)
    run = ("--stage", 1, "--run", tmp_path / "none", "--on-the-fly")
    assert "no faces of menpo; there are photos" in failure(
        tool(*run, "--data", fresh, "--weigh", "menpo=1", "photos=1")
    )
    assert "none is left for '*'" in failure(tool(*run, "--data", fresh, "--weigh", "*=1", "photos=1"))
    assert "train_faces: no LMDB; make it with `make lmdb ON_THE_FLY=1" in failure(tool(*run, "--data", data))
    assert "train_images: no LMDB" in failure(tool(*run[:-1], "--data", fresh))


def test_the_plain_command_trains_with_what_was_written(finished):
    """Caffe's own program, for who wants no Python in between."""
    directory, _ = finished
    result = subprocess.run(
        [Path(sys.executable).parent / "caffe", "train", "--solver", directory / "solver.prototxt"],
        env={**ENVIRONMENT, "GLOG_logtostderr": "1", "GLOG_minloglevel": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Optimization Done" in result.stderr
    assert "Solving mobilenet_v2_stage1" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--stage", "9"],
        ["--stage", "1", "--recipe", "vgg_shadow"],
        ["--recipe", "resnet"],
        ["--stage", "1", "--iterations", "0"],
        ["--stage", "1", "--snapshot-every", "0"],
        ["--stage", "1", "--validate-every", "-1"],
        ["--stage", "1", "--seed", "-1"],
        ["--stage", "1", "--device", "tpu"],
        ["--stage", "1", "--set", "base_lr=0"],
        ["--stage", "1", "--set", "base_lr=nan"],
        ["--stage", "1", "--photometric"],
        ["--stage", "1", "--elastic", "0.02"],
        ["--stage", "1", "--on-the-fly", "--elastic", "0.06"],
        ["--stage", "1", "--on-the-fly", "--elastic", "nan"],
        ["--stage", "1", "--weigh", "photos=1"],
        ["--stage", "1", "--on-the-fly", "--weigh", "photos"],
        ["--stage", "1", "--on-the-fly", "--weigh", "=1"],
        ["--stage", "1", "--on-the-fly", "--weigh", "photos=-1"],
        ["--stage", "1", "--on-the-fly", "--weigh", "photos=inf"],
        ["--stage", "1", "--on-the-fly", "--weigh", "photos=0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(arguments, capsys):
    """In this process: argparse ends it with 2 as it would the program."""
    with pytest.raises(SystemExit) as caught:
        train.arguments_of(arguments)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_wrong_usage_exits_with_2():
    result = tool("--stage", 1, "--iterations", 0)
    assert result.returncode == 2
    assert "--iterations: expected 1 or more" in result.stderr
