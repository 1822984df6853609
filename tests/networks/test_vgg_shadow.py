"""VGG-Shadow against its published description, in the real Caffe."""

import dataclasses

import numpy as np
import pytest

from facealign.caffe_files import prototxt
from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.pycaffe import import_caffe
from facealign.networks import vgg_shadow
from facealign.networks.data_layers import LmdbSource
from facealign.networks.recipes import RECIPES
from tests.random_weights import in_caffe, write_lmdbs

RECIPE = RECIPES["vgg_shadow"]

# Name, type, bottom, top, shape of the top behind a 3x70x60 input, and for convolutions: pad, bias.
TRUNK = [
    ("conv11", "Convolution", "data", "conv11", (64, 70, 60), (1, False)),
    ("relu11", "ReLU", "conv11", "conv11", (64, 70, 60), None),
    ("conv12", "Convolution", "conv11", "conv12", (64, 70, 60), (1, False)),
    ("relu12", "ReLU", "conv12", "conv12", (64, 70, 60), None),
    ("pool1", "Pooling", "conv12", "pool1", (64, 35, 30), None),
    ("conv21", "Convolution", "pool1", "conv21", (128, 35, 30), (1, False)),
    ("relu21", "ReLU", "conv21", "conv21", (128, 35, 30), None),
    ("conv22", "Convolution", "conv21", "conv22", (128, 35, 30), (1, False)),
    ("relu22", "ReLU", "conv22", "conv22", (128, 35, 30), None),
    ("pool2", "Pooling", "conv22", "pool2", (128, 18, 15), None),
    ("conv31", "Convolution", "pool2", "conv31", (192, 18, 15), (1, False)),
    ("relu31", "ReLU", "conv31", "conv31", (192, 18, 15), None),
    ("conv32", "Convolution", "conv31", "conv32", (192, 18, 15), (1, False)),
    ("relu32", "ReLU", "conv32", "conv32", (192, 18, 15), None),
    ("pool3", "Pooling", "conv32", "pool3", (192, 9, 8), None),
    ("conv4", "Convolution", "pool3", "conv4", (256, 7, 6), (0, True)),
    ("relu4", "ReLU", "conv4", "conv4", (256, 7, 6), None),
    ("fc1", "InnerProduct", "conv4", "fc1", (256,), None),
    ("relu_fc1", "ReLU", "fc1", "fc1", (256,), None),
    ("drop1", "Dropout", "fc1", "fc1", (256,), None),
    ("fc2", "InnerProduct", "fc1", "fc2", (136,), None),
]


def check_trunk(layers, dropout):
    assert [layer.name for layer in layers] == [row[0] for row in TRUNK]
    for layer, (name, kind, bottom, top, shape, convolution) in zip(layers, TRUNK, strict=True):
        assert (layer.type, list(layer.bottom), list(layer.top)) == (kind, [bottom], [top]), name
        assert not layer.include
        if kind == "Convolution":
            conv = layer.convolution_param
            assert (conv.num_output, list(conv.kernel_size), list(conv.stride)) == (shape[0], [3], [1]), name
            assert (list(conv.pad), conv.bias_term) == ([convolution[0]], convolution[1]), name
            assert conv.weight_filler.type == "xavier"
        elif kind == "Pooling":
            pool = layer.pooling_param
            assert (pool.pool, pool.kernel_size, pool.stride, pool.pad) == (pool.MAX, 2, 2, 0), name
        elif kind == "ReLU":
            assert layer.relu_param.negative_slope == 0, name
        elif kind == "InnerProduct":
            assert layer.inner_product_param.num_output == shape[0]
            assert layer.inner_product_param.bias_term
            assert layer.inner_product_param.weight_filler.type == "xavier"
        else:
            assert layer.dropout_param.dropout_ratio == pytest.approx(dropout)


def test_deploy_is_the_published_trunk():
    net = vgg_shadow.deploy()
    assert [list(shape.dim) for shape in net.layer[0].input_param.shape] == [[1, 3, 70, 60]]
    check_trunk(net.layer[1:], dropout=0.2)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_recipe_sets_the_dropout(dropout):
    net = vgg_shadow.train_val(dataclasses.replace(RECIPE, dropout=dropout))
    names = [layer.name for layer in net.layer]
    check_trunk(net.layer[names.index("conv11") : names.index("loss")], dropout)


def test_noise_and_losses_are_the_published_ones():
    net = vgg_shadow.train_val(RECIPE)
    (noise,) = (layer for layer in net.layer if layer.type == "Noise")
    assert (noise.name, list(noise.bottom), list(noise.top)) == ("noise", ["data"], ["data"])
    assert noise.noise_param.gaussian_std == pytest.approx(0.001)
    assert not noise.include
    found = {}
    for layer in net.layer:
        if layer.type == "WeightEuclideanLoss":
            assert list(layer.bottom) == ["fc2", "landmark"]
            param = layer.weight_euclidean_loss_param
            assert param.normalized == 0
            weights = (param.main_weight, param.contour_weight, param.coarse_weight)
            assert list(layer.top) == [layer.name]
            found[layer.name] = (weights, list(layer.loss_weight), [rule.phase for rule in layer.include])
    assert found == {
        "loss": ((1, 1, 1), [], [caffe_pb2.TRAIN]),
        "main_loss": ((1, 0, 0), [], [caffe_pb2.TEST]),
        "contour_loss": ((0, 1, 0), [0], [caffe_pb2.TEST]),
        "coarse_loss": ((0, 0, 1), [], [caffe_pb2.TEST]),
    }
    (error,) = (layer for layer in net.layer if layer.type == "EuclideanLoss")
    assert (error.name, list(error.top)) == ("error", ["loss"])
    assert [rule.phase for rule in error.include] == [caffe_pb2.TEST]


def test_caffe_makes_the_blobs_of_the_table(tmp_path):
    net = in_caffe(tmp_path, vgg_shadow.deploy())
    for name, _, _, top, shape, _ in TRUNK:
        assert net.blobs[top].data.shape == (1, *shape), name
    assert list(net.outputs) == ["fc2"]
    # Seven convolutions without bias but the last, and the two fully connected layers.
    convolutions = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 192 + 192 * 192 + 192 * 256) + 256
    connected = 256 * 7 * 6 * 256 + 256 + 256 * 136 + 136
    assert sum(blob.data.size for blobs in net.params.values() for blob in blobs) == convolutions + connected


def test_a_step_and_a_test_run_in_caffe(tmp_path):
    """The losses by parts add up as the weights say, and every weight learns."""
    caffe = import_caffe()
    write_lmdbs(tmp_path / "lmdb", (70, 60), n=2)
    recipe = dataclasses.replace(RECIPE, batch_size=2)
    path = tmp_path / "train_val.prototxt"
    path.write_text(prototxt.text(vgg_shadow.train_val(recipe, LmdbSource(str(tmp_path / "lmdb"))), "test"))
    test = caffe.Net(str(path), caffe.TEST)
    losses = {name: float(value) for name, value in test.forward().items()}
    error = (test.blobs["fc2"].data - test.blobs["landmark"].data.reshape(2, 136)).astype(float) ** 2 / 4
    landmark = np.arange(136) % 68 + 1
    coarse = np.isin(landmark, [18, 22, 23, 27, 37, 40, 43, 46, 28, 32, 36, 49, 55])
    by_hand = {
        "loss": error.sum(),
        "main_loss": error[:, landmark >= 18].sum(),
        "contour_loss": error[:, landmark <= 17].sum(),
        "coarse_loss": error[:, coarse].sum(),
    }
    assert losses == pytest.approx(by_hand, rel=1e-4)

    train = caffe.Net(str(path), caffe.TRAIN)
    assert train.blobs["data"].data.shape == (2, 3, 70, 60)
    assert np.isfinite(float(train.forward()["loss"]))
    train.backward()
    for name, blobs in train.params.items():
        assert all(np.abs(blob.diff).max() > 0 for blob in blobs), name
