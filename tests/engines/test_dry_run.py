"""Nets, solvers and data on which Caffe fails: reported in one line that names the place."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from facealign.engines.caffe import CaffeEngine, _our_nets
from facealign.engines.dry_run import dry_run
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError
from facealign.networks import mobilenet_v2
from facealign.networks.data_layers import LmdbSource
from facealign.networks.recipes import recipe_named
from facealign.networks.solver import solver
from tests.random_weights import fill, write_lmdbs

ROOT = Path(__file__).parents[2]
SOLVE = "caffe.get_solver(arguments[0])"


@pytest.fixture(scope="module")
def lmdbs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lmdbs")
    write_lmdbs(directory, (64, 64))
    return directory


@pytest.fixture
def files(lmdbs, tmp_path):
    """(train_val.prototxt, solver.prototxt) of stage 1."""
    recipe = recipe_named("mobilenet_v2/stage1")
    net = tmp_path / "train_val.prototxt"
    net.write_text(text_format.MessageToString(mobilenet_v2.train_val(recipe, LmdbSource(str(lmdbs)))))
    settings = solver(recipe, str(net), str(tmp_path / "snapshot"))
    (tmp_path / "solver.prototxt").write_text(text_format.MessageToString(settings))
    return net, tmp_path / "solver.prototxt"


def edit(path, old, new):
    """Replace the first `old`; its line."""
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def line_of(text, name):
    """The line on which the layer `name` of a net begins, as protobuf writes nets."""
    begin = text.rindex("layer {\n", 0, text.index(f'name: "{name}"'))
    return text[:begin].count("\n") + 1


def told(code, arguments, net):
    with pytest.raises(FaceAlignError) as caught:
        dry_run(code, [str(argument) for argument in arguments], net)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "Check failed" not in message
    return message


def test_what_is_whole_passes(files):
    net, settings = files
    dry_run(SOLVE, [str(settings)], net)
    dry_run("caffe.Net(arguments[0], 1)", [str(net)], net)


@pytest.mark.parametrize(
    ("old", "new", "layer", "says"),
    [
        ('type: "Eltwise"', 'type: "Eltwize"', "fuse3", "Eltwize"),
        ('bottom: "fc1"', 'bottom: "fc9"', "fc1_relu", "'fc9'"),
        ("num_output: 136", "num_output: 135", "landmarkloss", "must be N x 136"),
        ("num_output: 96", "num_output: 90", "ConvolutionDepthwise1", "num_output"),
        ("batch_size: 64", "batch_size: 0", "data", ""),
        ("train_images", "trian_images", "data", "trian_images is missing"),
        ("mean_value: 127.5", 'mean_file: "absent"', "data", "absent"),
        ("backend: LMDB", "backend: LEVELDB", "data", ""),
        ('name: "Scale1"', 'name: "Scale1" param {} param {} param {}', "Scale1", "Too many params"),
    ],
)
def test_a_wrong_train_net_is_told_with_the_line_of_the_layer_that_fails(files, old, new, layer, says):
    net, settings = files
    edit(net, old, new)
    line = line_of(net.read_text(), layer)
    message = told(SOLVE, [settings], net)
    assert message.startswith(f"{net}, line {line}: layer {layer!r}: Caffe cannot run it: "), message
    assert says in message


@pytest.mark.parametrize(("old", "new"), [("stride: 2", "strid: 2"), ("stride: 2", "stride: two")])
def test_text_that_caffe_cannot_read_is_told_with_its_line(files, old, new):
    net, settings = files
    line = edit(net, old, new)
    message = told(SOLVE, [settings], net)
    assert message.startswith(f"{net}, line {line}: Caffe cannot read it: "), message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [('type: "Adam"', 'type: "Eve"', "Eve"), ("base_lr:", "base_rl:", "base_rl"), ("net: ", "# ", "net")],
)
def test_a_wrong_solver_is_told(files, old, new, says):
    net, settings = files
    edit(settings, old, new)
    assert says in told(SOLVE, [settings], net)


def test_other_ends_are_told_too(files):
    net, _ = files
    assert "nonsense" in told("nonsense", [], net)
    assert "exit code -9" in told("import os; os.kill(os.getpid(), 9)", [], net)


EDITS = {
    "an unknown filler": ('type: "msra"', 'type: "mrsa"', "Convolution1"),
    "statistics that learn": ("batch_norm_param", "param { lr_mult: 1 } batch_norm_param", "BatchNorm1"),
    "a layer for training": ('name: "fc2"', 'name: "fc2" include { phase: TRAIN }', "fc2_relu"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_deploy_net_that_only_caffe_finds_wrong_does_not_end_this_process(name, tmp_path):
    old, new, layer = EDITS[name]
    deploy = mobilenet_v2.deploy()
    net, weights = tmp_path / "deploy.prototxt", tmp_path / "weights.caffemodel"
    net.write_text(text_format.MessageToString(deploy))
    weights.write_bytes(fill(deploy, np.random.default_rng(0)).SerializeToString())
    edit(net, old, new)
    with pytest.raises(
        FaceAlignError, match=rf"deploy\.prototxt, line \d+: layer '{layer}': Caffe cannot run"
    ):
        CaffeEngine(net, weights)


def test_nets_made_here_are_known_and_need_no_dry_run():
    """A dry run takes longer than all else that opening a net does."""
    files = [*ROOT.glob("prototxt/**/deploy.prototxt"), *ROOT.glob("prototxt/mtcnn/*.prototxt")]
    assert len(files) == 8
    for path in files:
        net = text_format.Parse(path.read_text(), import_caffe().proto.caffe_pb2.NetParameter())
        assert net.SerializeToString(deterministic=True) in _our_nets()
        net.layer[-1].name = "edited"
        assert net.SerializeToString(deterministic=True) not in _our_nets()
