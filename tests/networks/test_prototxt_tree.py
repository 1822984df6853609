"""The committed prototxt: what the recipes give, no more and no less, and the same to Caffe as to us."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.pycaffe import import_caffe
from facealign.networks.prototxt_tree import files
from facealign.networks.recipes import RECIPES

ROOT = Path(__file__).parents[2]
COMMITTED = sorted(
    path.relative_to(ROOT / "prototxt").as_posix() for path in ROOT.glob("prototxt/**/*") if path.is_file()
)


def make_prototxt(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/make_prototxt.py"), *map(str, arguments)],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(files()))
def test_the_committed_file_is_what_its_recipe_gives(name):
    assert (ROOT / "prototxt" / name).read_text() == files()[name], "stale: run `make prototxt`"


def test_no_file_is_committed_that_no_recipe_makes():
    assert sorted(files()) == COMMITTED


@pytest.mark.parametrize("name", COMMITTED)
def test_caffe_s_schema_and_ours_read_the_same_message(name):
    theirs_pb2 = import_caffe().proto.caffe_pb2
    kind = "SolverParameter" if name.endswith("solver.prototxt") else "NetParameter"
    text = (ROOT / "prototxt" / name).read_text()
    theirs = text_format.Parse(text, getattr(theirs_pb2, kind)())
    ours = text_format.Parse(text, getattr(caffe_pb2, kind)())
    assert len(theirs.ListFields()) > 1
    binary = theirs.SerializeToString(deterministic=True)
    assert ours.SerializeToString(deterministic=True) == binary
    assert getattr(caffe_pb2, kind).FromString(binary) == ours


def test_each_file_says_what_it_is_and_that_it_is_generated():
    for name, content in files().items():
        comments = [line for line in content.splitlines() if line.startswith("#")]
        assert len(comments) >= 2, name
        assert "make prototxt" in comments[-1]
        assert all(len(line) < 120 for line in comments)


def test_solvers_point_to_the_net_beside_them():
    solvers = [name for name in files() if name.endswith("solver.prototxt")]
    assert len(solvers) == len(RECIPES)
    for name in solvers:
        message = text_format.Parse(files()[name], caffe_pb2.SolverParameter())
        net = ROOT / message.net
        assert net == ROOT / "prototxt" / Path(name).parent / "train_val.prototxt"
        assert net.is_file()


def test_the_tool_writes_the_committed_files(tmp_path):
    done = make_prototxt("--output", tmp_path / "made")
    assert (done.returncode, done.stderr) == (0, "")
    made = {
        path.relative_to(tmp_path / "made").as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert made == {name: (ROOT / "prototxt" / name).read_bytes() for name in COMMITTED}
    assert make_prototxt("--output", tmp_path / "made", "--check").returncode == 0


@pytest.mark.parametrize("fault", ["changed", "missing", "foreign", "not text"])
def test_check_fails_on_a_stale_tree_and_leaves_it(fault, tmp_path):
    tree = tmp_path / "prototxt"
    shutil.copytree(ROOT / "prototxt", tree)
    file = tree / "mobilenet_v2/stage2/solver.prototxt"
    if fault == "changed":
        file.write_text(file.read_text().replace("0.0001", "0.0002"))
    elif fault == "missing":
        file.unlink()
    elif fault == "foreign":
        file = tree / "mobilenet_v2/stage9/solver.prototxt"
        file.parent.mkdir()
        file.write_text('type: "SGD"\n')
    else:
        file.write_bytes(b"\xff\xfe")
    before = {path: path.read_bytes() for path in tree.rglob("*.prototxt")}
    done = make_prototxt("--check", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(file.relative_to(tmp_path)) in done.stderr
    assert {path: path.read_bytes() for path in tree.rglob("*.prototxt")} == before


def test_the_tool_refuses_what_it_does_not_know():
    done = make_prototxt("--nonsense")
    assert done.returncode == 2
    assert "usage" in done.stderr
