"""The customised MobileNetV2 against its published description, layer by layer, in the real Caffe."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facealign.caffe_files import prototxt
from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.pycaffe import import_caffe
from facealign.networks import mobilenet_v2
from facealign.networks.data_layers import LmdbSource
from facealign.networks.recipes import RECIPES
from facealign.networks.solver import solver
from tests.random_weights import in_caffe, write_lmdbs

STAGES = ("mobilenet_v2/stage1", "mobilenet_v2/stage2")
PROTOTXT = Path(__file__).parents[2] / "prototxt"

# Name, type, bottoms -> top, shape of the top, settings: c channels, k kernel, s stride, p pad.
# "bare": no bias, msra, lr_mult 1, decay_mult 1; "first": bias, xavier; the bias has lr_mult 2, decay_mult 0.
# Written from the reference's description, not from the builder.
TRUNK = """
conv1                 Convolution           data                         -> conv1                 16 32 32   c16 k3 s2 p1 first
BatchNorm1            BatchNorm             conv1                        -> conv1                 16 32 32
Scale1                Scale                 conv1                        -> conv1                 16 32 32
relu1                 ReLU                  conv1                        -> conv1                 16 32 32
Convolution1          Convolution           conv1                        -> Convolution1          96 32 32   c96 k1 s1 p0 bare
BatchNorm2            BatchNorm             Convolution1                 -> Convolution1          96 32 32
Scale2                Scale                 Convolution1                 -> Convolution1          96 32 32
ReLU1                 ReLU                  Convolution1                 -> Convolution1          96 32 32
ConvolutionDepthwise1 ConvolutionDepthwise  Convolution1                 -> ConvolutionDepthwise1 96 16 16   c96 k3 s2 p1 bare
BatchNorm3            BatchNorm             ConvolutionDepthwise1        -> ConvolutionDepthwise1 96 16 16
Scale3                Scale                 ConvolutionDepthwise1        -> ConvolutionDepthwise1 96 16 16
ReLU2                 ReLU                  ConvolutionDepthwise1        -> ConvolutionDepthwise1 96 16 16
Convolution2          Convolution           ConvolutionDepthwise1        -> Convolution2          24 16 16   c24 k1 s1 p0 bare
BatchNorm4            BatchNorm             Convolution2                 -> Convolution2          24 16 16
fuse2                 Scale                 Convolution2                 -> Convolution2          24 16 16
Convolution3          Convolution           Convolution2                 -> Convolution3          144 16 16  c144 k1 s1 p0 bare
BatchNorm5            BatchNorm             Convolution3                 -> Convolution3          144 16 16
Scale4                Scale                 Convolution3                 -> Convolution3          144 16 16
ReLU3                 ReLU                  Convolution3                 -> Convolution3          144 16 16
ConvolutionDepthwise2 ConvolutionDepthwise  Convolution3                 -> ConvolutionDepthwise2 144 16 16  c144 k3 s1 p1 bare
BatchNorm6            BatchNorm             ConvolutionDepthwise2        -> ConvolutionDepthwise2 144 16 16
Scale5                Scale                 ConvolutionDepthwise2        -> ConvolutionDepthwise2 144 16 16
ReLU4                 ReLU                  ConvolutionDepthwise2        -> ConvolutionDepthwise2 144 16 16
Convolution4          Convolution           ConvolutionDepthwise2        -> Convolution4          24 16 16   c24 k1 s1 p0 bare
BatchNorm7            BatchNorm             Convolution4                 -> Convolution4          24 16 16
Scale6                Scale                 Convolution4                 -> Convolution4          24 16 16
fuse3                 Eltwise               Convolution2+Convolution4    -> fuse3                 24 16 16
Convolution5          Convolution           fuse3                        -> Convolution5          144 16 16  c144 k1 s1 p0 bare
BatchNorm8            BatchNorm             Convolution5                 -> Convolution5          144 16 16
Scale7                Scale                 Convolution5                 -> Convolution5          144 16 16
ReLU5                 ReLU                  Convolution5                 -> Convolution5          144 16 16
ConvolutionDepthwise3 ConvolutionDepthwise  Convolution5                 -> ConvolutionDepthwise3 144 8 8    c144 k3 s2 p1 bare
BatchNorm9            BatchNorm             ConvolutionDepthwise3        -> ConvolutionDepthwise3 144 8 8
Scale8                Scale                 ConvolutionDepthwise3        -> ConvolutionDepthwise3 144 8 8
ReLU6                 ReLU                  ConvolutionDepthwise3        -> ConvolutionDepthwise3 144 8 8
Convolution6          Convolution           ConvolutionDepthwise3        -> Convolution6          32 8 8     c32 k1 s1 p0 bare
BatchNorm10           BatchNorm             Convolution6                 -> Convolution6          32 8 8
fuse4                 Scale                 Convolution6                 -> Convolution6          32 8 8
Convolution7          Convolution           Convolution6                 -> Convolution7          192 8 8    c192 k1 s1 p0 bare
BatchNorm11           BatchNorm             Convolution7                 -> Convolution7          192 8 8
Scale9                Scale                 Convolution7                 -> Convolution7          192 8 8
ReLU7                 ReLU                  Convolution7                 -> Convolution7          192 8 8
ConvolutionDepthwise4 ConvolutionDepthwise  Convolution7                 -> ConvolutionDepthwise4 192 8 8    c192 k3 s1 p1 bare
BatchNorm12           BatchNorm             ConvolutionDepthwise4        -> ConvolutionDepthwise4 192 8 8
Scale10               Scale                 ConvolutionDepthwise4        -> ConvolutionDepthwise4 192 8 8
ReLU8                 ReLU                  ConvolutionDepthwise4        -> ConvolutionDepthwise4 192 8 8
Convolution8          Convolution           ConvolutionDepthwise4        -> Convolution8          32 8 8     c32 k1 s1 p0 bare
BatchNorm13           BatchNorm             Convolution8                 -> Convolution8          32 8 8
Scale11               Scale                 Convolution8                 -> Convolution8          32 8 8
fuse5                 Eltwise               Convolution6+Convolution8    -> fuse5                 32 8 8
Convolution9          Convolution           fuse5                        -> Convolution9          192 8 8    c192 k1 s1 p0 bare
BatchNorm14           BatchNorm             Convolution9                 -> Convolution9          192 8 8
Scale12               Scale                 Convolution9                 -> Convolution9          192 8 8
ReLU9                 ReLU                  Convolution9                 -> Convolution9          192 8 8
ConvolutionDepthwise5 ConvolutionDepthwise  Convolution9                 -> ConvolutionDepthwise5 192 4 4    c192 k3 s2 p1 bare
BatchNorm15           BatchNorm             ConvolutionDepthwise5        -> ConvolutionDepthwise5 192 4 4
Scale13               Scale                 ConvolutionDepthwise5        -> ConvolutionDepthwise5 192 4 4
ReLU10                ReLU                  ConvolutionDepthwise5        -> ConvolutionDepthwise5 192 4 4
Convolution10         Convolution           ConvolutionDepthwise5        -> Convolution10         64 4 4     c64 k1 s1 p0 bare
BatchNorm16           BatchNorm             Convolution10                -> Convolution10         64 4 4
fuse6                 Scale                 Convolution10                -> Convolution10         64 4 4
Convolution11         Convolution           Convolution10                -> Convolution11         192 4 4    c192 k1 s1 p0 bare
BatchNorm17           BatchNorm             Convolution11                -> Convolution11         192 4 4
Scale14               Scale                 Convolution11                -> Convolution11         192 4 4
ReLU11                ReLU                  Convolution11                -> Convolution11         192 4 4
ConvolutionDepthwise6 ConvolutionDepthwise  Convolution11                -> ConvolutionDepthwise6 192 4 4    c192 k3 s1 p1 bare
BatchNorm18           BatchNorm             ConvolutionDepthwise6        -> ConvolutionDepthwise6 192 4 4
Scale15               Scale                 ConvolutionDepthwise6        -> ConvolutionDepthwise6 192 4 4
ReLU12                ReLU                  ConvolutionDepthwise6        -> ConvolutionDepthwise6 192 4 4
Convolution12         Convolution           ConvolutionDepthwise6        -> Convolution12         64 4 4     c64 k1 s1 p0 bare
BatchNorm19           BatchNorm             Convolution12                -> Convolution12         64 4 4
Scale16               Scale                 Convolution12                -> Convolution12         64 4 4
fuse7                 Eltwise               Convolution10+Convolution12  -> fuse7                 64 4 4
fc1                   InnerProduct          fuse7                        -> fc1                   200        c200
fc1_relu              ReLU                  fc1                          -> fc1                   200
fc2                   InnerProduct          fc1                          -> fc2                   200        c200
fc2_relu              ReLU                  fc2                          -> fc2                   200
fc3                   InnerProduct          fc2                          -> fc3                   50         c50
fc4                   InnerProduct          fc3                          -> fc4                   136        c136
"""  # noqa: E501


def rows(text):
    """(name, type, bottoms, top, shape, settings) of each line of a table such as TRUNK."""
    result = []
    for line in text.strip().splitlines():
        left, right = line.split("->")
        name, kind, bottoms = left.split()
        top, *rest = right.split()
        shape = tuple(int(word) for word in rest if word.isdigit())
        result.append((name, kind, bottoms.split("+"), top, shape, rest[len(shape) :]))
    return result


def multipliers(layer):
    """(lr_mult, decay_mult) of each blob that has a ParamSpec; None where it says nothing."""
    return [(spec.lr_mult, spec.decay_mult if spec.HasField("decay_mult") else None) for spec in layer.param]


def check_convolution(layer, settings):
    conv = layer.convolution_param
    numbers = {setting[0]: int(setting[1:]) for setting in settings if setting[1:].isdigit()}
    assert conv.num_output == numbers["c"]
    assert list(conv.kernel_size) == [numbers["k"]]
    assert list(conv.stride) == [numbers["s"]]
    assert list(conv.pad) in ([numbers["p"]], [] if numbers["p"] == 0 else None)
    assert (conv.group, conv.axis, list(conv.dilation)) == (1, 1, [])
    if "first" in settings:
        assert conv.bias_term
        assert conv.weight_filler.type == "xavier"
        assert (conv.bias_filler.type, conv.bias_filler.value) == ("constant", 0)
        assert multipliers(layer) == [(1, 1), (2, 0)]
    else:
        assert settings[-1] == "bare"
        assert not conv.bias_term
        assert conv.weight_filler.type == "msra"
        assert multipliers(layer) == [(1, 1)]


def check_layer(layer, settings, deploy):
    assert not layer.include
    assert not layer.exclude
    if layer.type in ("Convolution", "ConvolutionDepthwise"):
        check_convolution(layer, settings)
    elif layer.type == "BatchNorm":
        # Written out: another Caffe's default fraction is 0.999.
        param = layer.batch_norm_param
        assert param.HasField("use_global_stats")
        assert param.use_global_stats == deploy
        assert param.HasField("moving_average_fraction")
        assert param.moving_average_fraction == pytest.approx(0.99)
        assert param.eps == pytest.approx(1e-5)
    elif layer.type == "Scale":
        assert layer.scale_param.bias_term
        assert (layer.scale_param.axis, layer.scale_param.num_axes) == (1, 1)
    elif layer.type == "ReLU":
        assert layer.relu_param.negative_slope == pytest.approx(0.01)
    elif layer.type == "Eltwise":
        assert layer.eltwise_param.operation == caffe_pb2.EltwiseParameter.SUM
        assert not layer.eltwise_param.coeff
    else:
        assert layer.type == "InnerProduct"
        inner = layer.inner_product_param
        assert [f"c{inner.num_output}"] == settings
        assert inner.bias_term
        assert inner.weight_filler.type == "xavier"
        assert (inner.bias_filler.type, inner.bias_filler.value) == ("constant", 0)
        assert multipliers(layer) == [(1, None), (2, None)]


def check_trunk(layers, deploy):
    table = rows(TRUNK)
    assert [layer.name for layer in layers] == [row[0] for row in table]
    for layer, (_, kind, bottoms, top, _, settings) in zip(layers, table, strict=True):
        assert (layer.type, list(layer.bottom), list(layer.top)) == (kind, bottoms, [top]), layer.name
        check_layer(layer, settings, deploy)


def phases(layer):
    return [rule.phase for rule in layer.include]


@pytest.mark.parametrize("name", STAGES)
def test_train_val_is_the_published_net_layer_by_layer(name):
    net = mobilenet_v2.train_val(RECIPES[name])
    front = [layer for layer in net.layer if layer.type == "Data"]
    noise = net.layer[len(front)]
    assert (noise.name, noise.type, list(noise.bottom), list(noise.top)) == (
        "data",
        "Noise",
        ["data"],
        ["data"],
    )
    assert not noise.include
    assert noise.noise_param.gaussian_std == pytest.approx(0.001)
    assert (noise.noise_param.bias, noise.noise_param.HasField("uniform_range")) == (0, False)

    check_trunk(net.layer[len(front) + 1 : -2], deploy=False)

    loss, error = net.layer[-2:]
    assert (loss.name, loss.type, list(loss.bottom)) == (
        "landmarkloss",
        "WeightEuclideanLoss",
        ["fc4", "landmark"],
    )
    assert phases(loss) == [caffe_pb2.TRAIN]
    param = loss.weight_euclidean_loss_param
    assert (param.contour_weight, param.main_weight, param.coarse_weight) == (1, 1, 1)
    # Stage 2 divides by the published "inter-pupil" distance; stage 1, our reconstruction, by nothing.
    assert param.normalized == (1 if name.endswith("stage2") else 0)
    assert param.normalized_type == 0
    assert (error.type, list(error.bottom), phases(error)) == (
        "EuclideanLoss",
        ["fc4", "landmark"],
        [caffe_pb2.TEST],
    )


def test_deploy_is_the_trunk_behind_an_input():
    net = mobilenet_v2.deploy()
    assert net.layer[0].type == "Input"
    assert list(net.layer[0].top) == ["data"]
    assert [list(shape.dim) for shape in net.layer[0].input_param.shape] == [[1, 3, 64, 64]]
    check_trunk(net.layer[1:], deploy=True)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    return in_caffe(tmp_path_factory.mktemp("deploy"), mobilenet_v2.deploy())


def test_caffe_makes_the_blobs_of_the_table(deployed):
    made = [
        (name, layer.type)
        for name, layer in zip(deployed._layer_names, deployed.layers, strict=True)
        if layer.type not in ("Input", "Split")
    ]
    assert made == [row[:2] for row in rows(TRUNK)]
    for name, _, _, top, shape, _ in rows(TRUNK):
        assert deployed.blobs[top].data.shape == (1, *shape), name
    assert list(deployed.outputs) == ["fc4"]


def test_it_learns_349738_numbers_and_keeps_4371_statistics(deployed):
    learnt, statistics = 0, 0
    for name, blobs in deployed.params.items():
        size = sum(blob.data.size for blob in blobs)
        if name.startswith("BatchNorm"):
            statistics += size
        else:
            learnt += size
    assert learnt == 349_738
    # A mean and a variance of each channel, and one factor a layer.
    channels = 16 + 2 * (96 + 144 + 144 + 192 + 192 + 192) + 2 * (24 + 32 + 64)
    assert statistics == 2 * channels + 19


def test_it_takes_8_4_million_multiply_adds(deployed):
    total = 0
    for name, kind, _, top, _, _ in rows(TRUNK):
        if kind in ("Convolution", "ConvolutionDepthwise", "InnerProduct"):
            places = deployed.blobs[top].data[0, 0].size if kind != "InnerProduct" else 1
            total += deployed.params[name][0].data.size * places
    assert total == 8_387_040
    assert round(total / 1e6, 1) == 8.4


LOAD_COMMITTED = """
import json, sys
import caffe
result = {}
for phase in (caffe.TRAIN, caffe.TEST):
    net = caffe.Net(sys.argv[1], phase)
    net.forward()
    names = [[n, l.type] for n, l in zip(net._layer_names, net.layers) if l.type != "Split"]
    shapes = {name: list(blob.data.shape) for name, blob in net.blobs.items()}
    losses = {name: float(net.blobs[name].data) for name in net.outputs}
    result[phase] = [names, shapes, losses]
print(json.dumps(result))
"""


@pytest.mark.parametrize("name", STAGES)
def test_the_committed_train_val_runs_where_the_lmdbs_are(name, tmp_path):
    write_lmdbs(tmp_path / "data/lmdb", (64, 64))
    # The paths in the file are relative to where Caffe is started.
    done = subprocess.run(
        [sys.executable, "-c", LOAD_COMMITTED, str(PROTOTXT / name / "train_val.prototxt")],
        cwd=tmp_path,
        env={**os.environ, "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    train, test = json.loads(done.stdout).values()
    trunk = [list(row[:2]) for row in rows(TRUNK)]
    data = [["data", "Data"], ["landmark", "Data"]]
    loss = ["landmarkloss", "WeightEuclideanLoss"]
    assert train[0] == [*data, ["data", "Noise"], *trunk, loss]
    assert test[0] == [*data, ["data", "Noise"], *trunk, ["error", "EuclideanLoss"]]
    for _, shapes, losses in (train, test):
        assert shapes["data"] == [64, 3, 64, 64]
        assert shapes["landmark"] == [64, 136, 1, 1]
        for row in rows(TRUNK):
            assert shapes[row[3]] == [64, *row[4]], row[0]
        assert all(0 < loss < 1e4 for loss in losses.values())
    assert list(train[2]) == ["landmarkloss"]
    assert list(test[2]) == ["error"]


@pytest.mark.parametrize("name", STAGES)
def test_a_step_of_the_recipe_s_solver_moves_every_weight_by_the_learning_rate(name, tmp_path):
    """Adam's first step is the learning rate times lr_mult, unless the gradient is next to nothing."""
    caffe = import_caffe()
    write_lmdbs(tmp_path / "lmdb", (64, 64), n=8)
    recipe = dataclasses.replace(RECIPES[name], batch_size=8, test_iter=1)
    net = tmp_path / "train_val.prototxt"
    net.write_text(prototxt.text(mobilenet_v2.train_val(recipe, LmdbSource(str(tmp_path / "lmdb"))), "test"))
    message = solver(recipe, str(net), snapshot_prefix=str(tmp_path / "s"), seed=1)
    (tmp_path / "solver.prototxt").write_text(prototxt.text(message, "test"))
    run = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    assert isinstance(run, caffe.AdamSolver)
    before = {name: [blob.data.copy() for blob in blobs] for name, blobs in run.net.params.items()}
    run.step(1)

    prediction, target = (
        run.net.blobs[blob].data.reshape(8, 136).astype(float) for blob in ("fc4", "landmark")
    )
    eyes = np.hypot(target[:, 36] - target[:, 42], target[:, 68 + 39] - target[:, 68 + 45])
    divisor = eyes if name.endswith("stage2") else np.ones(8)
    expected = (np.sum((prediction - target) ** 2, axis=1) / divisor).sum() / (2 * 8)
    assert float(run.net.blobs["landmarkloss"].data) == pytest.approx(expected, rel=1e-4)

    rate = {"mobilenet_v2/stage1": 3e-3, "mobilenet_v2/stage2": 1e-4}[name]
    for layer, blobs in run.net.params.items():
        moved = [np.abs(blob.data - old) for blob, old in zip(blobs, before[layer], strict=True)]
        if layer.startswith("BatchNorm"):
            # Not learnt: running sums over two batches, that of the solver's first test and that of the step.
            assert moved[2] == pytest.approx(0.99 + 1)
            continue
        assert np.max(moved[0]) == pytest.approx(rate, rel=0.05), layer
        if layer in ("fc1", "fc2", "fc3", "fc4"):
            assert np.max(moved[1]) == pytest.approx(2 * rate, rel=0.05), layer
