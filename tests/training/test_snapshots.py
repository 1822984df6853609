"""Snapshots of the real solver, on a net so small that every way to cut one short can be tried."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.caffe_solver import CaffeSolver
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError
from facealign.training.snapshots import Snapshot, damaged, is_whole, newest_weights, restore, snapshots, take

ROOT = Path(__file__).parents[2]
NET = """
layer { name: "data" type: "DummyData" top: "data" top: "target" dummy_data_param {
  shape { dim: 4 dim: WIDTH } shape { dim: 4 dim: 2 }
  data_filler { type: "constant" value: 0.5 } data_filler { type: "constant" value: 1 } } }
layer { name: "hidden" type: "InnerProduct" bottom: "data" top: "hidden" inner_product_param {
  num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "out" type: "InnerProduct" bottom: "hidden" top: "out" inner_product_param {
  num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "out" bottom: "target" top: "loss" }
"""


def make_solver(directory, stage="stage1", width=4, kind="Adam"):
    """A solver of the small net, whose snapshots go to `directory`/unfinished first."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "net.prototxt").write_text(NET.replace("WIDTH", str(width)))
    momentum2 = "momentum2: 0.999" if kind == "Adam" else ""
    (directory / "solver.prototxt").write_text(
        f'net: "{directory}/net.prototxt" type: "{kind}" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 '
        f'{momentum2} snapshot_prefix: "{directory}/unfinished/{stage}" snapshot_after_train: false '
        "max_iter: 12 random_seed: 1 solver_mode: CPU"
    )
    return CaffeSolver(directory / "solver.prototxt")


def save(solver, directory, stage="stage1"):
    return take(solver, directory, stage, directory / "unfinished")


def weights_of(solver):
    return [array.copy() for arrays in solver.weights.values() for array in arrays]


def read(snapshot):
    """(state, net) of a snapshot as pycaffe's messages."""
    messages = import_caffe().proto.caffe_pb2
    state, net = messages.SolverState(), messages.NetParameter()
    state.ParseFromString(snapshot.state.read_bytes())
    net.ParseFromString(snapshot.weights.read_bytes())
    return state, net


def assert_equal(arrays, others):
    for one, other in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def run(tmp_path):
    """A run's directory with whole snapshots of iterations 3, 9 and 10."""
    solver = make_solver(tmp_path / "run")
    for iteration in (3, 9, 10):
        solver.step(iteration - solver.iteration)
        save(solver, tmp_path / "run")
    return tmp_path / "run"


def test_a_snapshot_is_two_files_and_holds_the_solver_s_weights_and_moments(tmp_path):
    solver = make_solver(tmp_path)
    solver.step(5)
    made = save(solver, tmp_path)
    assert made == Snapshot(5, tmp_path / "stage1_iter_5.caffemodel", tmp_path / "stage1_iter_5.solverstate")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "net.prototxt",
        "solver.prototxt",
        "stage1_iter_5.caffemodel",
        "stage1_iter_5.solverstate",
    ]
    state, net = read(made)
    stored = [np.array(blob.data) for layer in net.layer for blob in layer.blobs]
    assert_equal(stored, [values.ravel() for values in weights_of(solver)])
    assert state.iter == 5
    assert len(state.history) == 8
    assert all(np.any(blob.data) for blob in state.history)
    assert is_whole(made)


def test_the_newest_is_first_by_number_not_by_name(run):
    assert [snapshot.iteration for snapshot in snapshots(run, "stage1")] == [10, 9, 3]
    assert newest_weights(run, "stage1") == run / "stage1_iter_10.caffemodel"


def test_other_stages_and_other_files_are_no_snapshots(run):
    shutil.copy(run / "stage1_iter_10.solverstate", run / "stage1_iter_10_copy.solverstate")
    shutil.copy(run / "stage1_iter_10.solverstate", run / "stage1_iter_.solverstate")
    assert len(snapshots(run, "stage1")) == 3
    for stage in ("stage2", "stage", "tage1", "stage1_iter_10"):
        assert snapshots(run, stage) == []
        assert newest_weights(run, stage) is None
    assert snapshots(run / "absent", "stage1") == []


@pytest.mark.parametrize("suffix", [".caffemodel", ".solverstate"])
def test_a_file_cut_short_anywhere_is_passed_over(run, suffix):
    """At each of its bytes; what is taken nevertheless has lost nothing that the solver needs."""
    path = run / f"stage1_iter_10{suffix}"
    whole = path.read_bytes()
    newest = snapshots(run, "stage1")[0]
    state, net = read(newest)
    arrays = [list(blob.data) for layer in net.layer for blob in layer.blobs]
    taken = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if not is_whole(newest):
            continue
        taken += 1
        cut_state, cut_net = read(newest)
        assert cut_state.history == state.history
        assert (cut_state.iter, cut_state.current_step) == (10, 0)
        assert [list(blob.data) for layer in cut_net.layer for blob in layer.blobs] == arrays
    assert taken < 20
    path.write_bytes(whole[: len(whole) // 2])
    assert [snapshot.iteration for snapshot in snapshots(run, "stage1")] == [9, 3]
    path.write_bytes(whole)
    assert [snapshot.iteration for snapshot in snapshots(run, "stage1")] == [10, 9, 3]


@pytest.mark.parametrize("content", [b"", bytes(500), b"\xff" * 500], ids=["empty", "zeros", "ones"])
@pytest.mark.parametrize("suffix", [".caffemodel", ".solverstate"])
def test_a_file_that_a_crash_left_empty_or_blank_is_passed_over(run, suffix, content):
    (run / f"stage1_iter_10{suffix}").write_bytes(content)
    assert [snapshot.iteration for snapshot in snapshots(run, "stage1")] == [9, 3]


def test_what_is_damaged_is_named_with_the_reason(run):
    """As many moments of other shapes are no state of these weights: Caffe would read beyond their end."""
    state = caffe_pb2.SolverState.FromString((run / "stage1_iter_10.solverstate").read_bytes())
    state.history[0].shape.dim.append(1)
    (run / "stage1_iter_10.solverstate").write_bytes(state.SerializeToString())
    (run / "stage1_iter_9.caffemodel").unlink()
    state = caffe_pb2.SolverState.FromString((run / "stage1_iter_3.solverstate").read_bytes())
    del state.history[0].data[-1]
    (run / "stage1_iter_3.solverstate").write_bytes(state.SerializeToString())
    assert snapshots(run, "stage1") == []
    found = [(snapshot.iteration, reason) for snapshot, reason in damaged(run, "stage1")]
    assert [iteration for iteration, _ in found] == [10, 9, 3]
    assert found[0][1].startswith(f"{run}/stage1_iter_10.solverstate: not Adam's state of the weights in ")
    assert found[1][1] == f"{run}/stage1_iter_9.caffemodel: No such file or directory"
    assert found[2][1] == f"{run}/stage1_iter_3.solverstate: its numbers do not fill their shapes"


def test_a_snapshot_without_its_weights_or_under_another_number_is_passed_over(run):
    (run / "stage1_iter_10.caffemodel").unlink()
    (run / "stage1_iter_9.solverstate").rename(run / "stage1_iter_11.solverstate")
    (run / "stage1_iter_9.caffemodel").rename(run / "stage1_iter_11.caffemodel")
    assert [snapshot.iteration for snapshot in snapshots(run, "stage1")] == [3]


def test_the_state_of_another_kind_of_solver_is_passed_over(tmp_path):
    """Caffe would end the process: it counts the arrays of the history."""
    solver = make_solver(tmp_path, kind="SGD")
    solver.step(2)
    (tmp_path / "unfinished").mkdir()
    solver.snapshot()
    for suffix in ("caffemodel", "solverstate"):
        (tmp_path / "unfinished" / f"stage1_iter_2.{suffix}").rename(tmp_path / f"stage1_iter_2.{suffix}")
    assert snapshots(tmp_path, "stage1") == []


def test_a_restored_solver_goes_on_as_the_first_would_have(tmp_path):
    """The data never change: equal weights after more steps mean that Adam's moments came back too."""
    first = make_solver(tmp_path)
    first.step(6)
    made = save(first, tmp_path)
    first.step(6)
    second = make_solver(tmp_path)
    second.step(1)
    restore(second, made, tmp_path / "unfinished")
    assert second.iteration == 6
    second.step(6)
    assert_equal(weights_of(second), weights_of(first))
    assert not (tmp_path / "unfinished").exists()


def test_the_plain_command_goes_on_from_a_snapshot(tmp_path):
    solver = make_solver(tmp_path)
    solver.step(6)
    made = save(solver, tmp_path)
    solver.step(6)
    plain = tmp_path / "plain.prototxt"
    text = (tmp_path / "solver.prototxt").read_text().replace("unfinished/stage1", "plain")
    plain.write_text(text.replace("snapshot_after_train: false", "snapshot_after_train: true"))
    caffe = Path(sys.executable).parent / "caffe"
    environment = {**os.environ, "GLOG_logtostderr": "1", "GLOG_minloglevel": "2"}
    command = [caffe, "train", "--solver", plain, "--snapshot", made.state]
    subprocess.run(command, env=environment, check=True)
    weights, state = tmp_path / "plain_iter_12.caffemodel", tmp_path / "plain_iter_12.solverstate"
    _, net = read(Snapshot(12, weights, state))
    stored = [np.array(blob.data) for layer in net.layer for blob in layer.blobs]
    assert_equal(stored, [values.ravel() for values in weights_of(solver)])


def restored_elsewhere(directory):
    """Restore the newest snapshot in a process of its own, which Caffe may end; its weights and iteration."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from tests.training.test_snapshots import make_solver, weights_of\n"
        "from facealign.training.snapshots import restore, snapshots\n"
        "directory = Path(sys.argv[1])\n"
        "solver = make_solver(directory)\n"
        "restore(solver, snapshots(directory, 'stage1')[0], directory / 'unfinished')\n"
        "np.savez(directory / 'restored.npz', solver.iteration, *weights_of(solver))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, directory, ROOT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    with np.load(directory / "restored.npz") as arrays:
        iteration, *weights = arrays.values()
    return int(iteration), weights


@pytest.mark.parametrize("left", ["nothing", "other weights"])
def test_a_moved_run_goes_on_with_the_weights_it_has_now(tmp_path, left):
    """Caffe keeps the place where the weights once were, where there may be nothing, or something else."""
    solver = make_solver(tmp_path / "old")
    solver.step(4)
    made = save(solver, tmp_path / "old")
    expected = weights_of(solver)
    new = tmp_path / 'new "run" é'
    shutil.copytree(tmp_path / "old", tmp_path / "moved")
    (tmp_path / "moved").rename(new)
    if left == "nothing":
        shutil.rmtree(tmp_path / "old")
    else:
        solver.step(3)
        shutil.copy(save(solver, tmp_path / "old").weights, made.weights)
    # a prototxt takes quotes only escaped
    moved = tmp_path / "plain"
    moved.symlink_to(new)
    iteration, weights = restored_elsewhere(moved)
    assert iteration == 4
    assert_equal(weights, expected)
    assert not (new / "unfinished").exists()


@pytest.fixture
def small_disk():
    """A function (directory, bytes) that leaves only so much room there, where mounting is allowed."""
    mounted = []

    def make(directory, size):
        directory.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            mounted.append(directory)
            return True
        return False

    yield make
    for directory in mounted:
        subprocess.run(["umount", str(directory)], check=True)


IN_LITTLE_ROOM = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from facealign.errors import FaceAlignError
from tests.training.test_snapshots import make_solver, save
directory = Path(sys.argv[1])
solver = make_solver(directory, width=20_000)  # a snapshot takes 0.7 MB, and as much again while it is made
solver.step(1)
save(solver, directory)
if sys.argv[3] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
else:
    (directory / "other").write_bytes(bytes(1_000_000))
solver.step(1)
try:
    save(solver, directory)
except FaceAlignError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [False, True], ids=["disk", "file size"])
def test_no_room_is_one_line_and_earlier_snapshots_stay(tmp_path, small_disk, limit):
    directory = tmp_path / "run"
    mounted = not limit and small_disk(directory, 3_000_000)
    result = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_ROOM, directory, ROOT, "disk" if mounted else "limit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    assert "no room for a snapshot of iteration 2, 1.9 MB" in result.stdout
    assert ("No space left" if mounted else "too large") in result.stdout
    assert [snapshot.iteration for snapshot in snapshots(directory, "stage1")] == [1]
    assert not list(directory.rglob("*iter_2*"))
    assert not list(directory.rglob("room"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_not_saved(run, value):
    solver = make_solver(run)
    solver.step(11)
    solver.weights["out"][1][1] = value
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(FaceAlignError, match="no snapshot of iteration 11: weights of layer 'out'") as caught:
        save(solver, run)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in run.iterdir()) == before


def test_what_an_earlier_try_left_half_written_is_not_in_the_way(run):
    (run / "unfinished").mkdir()
    (run / "unfinished" / "stage1_iter_11.solverstate").write_bytes(b"half")
    solver = make_solver(run)
    solver.step(11)
    assert is_whole(save(solver, run))
    assert not (run / "unfinished").exists()
    assert snapshots(run, "stage1")[0].iteration == 11
