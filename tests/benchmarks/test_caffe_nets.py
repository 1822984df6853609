"""The nets that are compared: stock Caffe's has upstream's layers only, and all compute the same."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.caffe_nets import BATCH, STOCK, deploy_net, training_net
from benchmarks.closeness import check_close, check_gradient
from benchmarks.inference import peers
from benchmarks.measure import Peer, interleave
from benchmarks.training import prepare
from facealign.caffe_files.proto import caffe_pb2

OURS = {"ConvolutionDepthwise", "Noise", "WeightEuclideanLoss", "ImageFloatData"}


@pytest.mark.parametrize("net", [training_net(stock=True, noise=True), deploy_net(stock=True, faces=3)])
def test_stock_is_upstreams_layers_with_upstreams_engine(net):
    assert {layer.type for layer in net.layer} & OURS <= {"Noise", "WeightEuclideanLoss"}
    spatial = [layer for layer in net.layer if layer.name.startswith("ConvolutionDepthwise")]
    # Channels of the six depthwise layers as the published prototxt has them.
    assert [layer.convolution_param.group for layer in spatial] == [96, 144, 144, 192, 192, 192]
    engines = [
        layer.convolution_param.engine if layer.type == "Convolution" else layer.relu_param.engine
        for layer in net.layer
        if layer.type in ("Convolution", "ReLU")
    ]
    assert len(engines) == 19 + 15
    assert set(engines) == {caffe_pb2.CAFFE}


def test_the_batch_comes_from_memory():
    net = training_net(stock=False, noise=False)
    assert [layer.type for layer in net.layer[:3]] == ["Input", "Input", "Convolution"]
    assert list(net.layer[0].input_param.shape[0].dim) == [BATCH, 3, 64, 64]
    assert list(net.layer[1].input_param.shape[0].dim) == [BATCH, 136]
    assert net.layer[-1].type == "WeightEuclideanLoss"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A directory with the nets and the references."""
    return Path(prepare(tmp_path_factory.mktemp("nets")))


def test_engines_are_checked_before_they_are_timed(prepared):
    ours = [one for one in peers(str(prepared), 2, 1) if one.python is None]
    assert [one.name for one in ours] == ["stock Caffe", "facealign: Caffe", "facealign: ONNX in OpenCV"]
    assert ours[0].environment == STOCK
    measured = interleave("forward", ours, threads=1, rounds=1, slice_seconds=0.001)
    assert [one.note for one in measured] == ["", "", ""]
    reference = dict(np.load(prepared / "reference.npz"))
    reference["output"] += 2e-4
    np.savez(prepared / "reference.npz", allow_pickle=False, **reference)
    measured = interleave("forward", ours, threads=1, rounds=1, slice_seconds=0.001)
    assert all("computes something else than stock Caffe" in one.note for one in measured)


def test_vgg_shadow_is_checked_before_it_is_timed(prepared):
    arguments = {"directory": str(prepared), "stock": False}
    ours = [Peer("facealign", "benchmarks.caffe_nets:vgg_shadow_training", arguments)]
    (measured,) = interleave("training", ours, threads=2, rounds=1, slice_seconds=0.001)
    assert measured.note == ""
    reference = dict(np.load(prepared / "vgg_shadow.npz"))
    reference["gradient/conv12"] *= 1.1
    np.savez(prepared / "vgg_shadow.npz", allow_pickle=False, **reference)
    (measured,) = interleave("training", ours, threads=2, rounds=1, slice_seconds=0.001)
    assert "computes something else than stock Caffe: gradient/conv12" in measured.note


def test_check_close():
    check_close(np.array([1.0, 2.0]), np.array([1.0, 2.00009]), "output")
    with pytest.raises(ValueError, match=r"output differs by 0\.00011"):
        check_close(np.array([1.0, 2.0]), np.array([1.0, 2.00011]), "output")
    with pytest.raises(ValueError, match="differs by nan"):
        check_close(np.array([np.nan]), np.array([1.0]), "output")


def test_check_gradient():
    expected = np.random.default_rng(0).standard_normal((200, 30))
    turned = expected.copy()
    turned[7] *= 1.1  # one channel, by a sign that rounding turned
    check_gradient(turned, expected, "gradient")
    with pytest.raises(ValueError, match=r"gradient differs by 6 %"):
        check_gradient(1.06 * expected, expected, "gradient")
    with pytest.raises(ValueError, match="differs"):
        check_gradient(expected[:, ::-1], expected, "gradient")
    check_gradient(np.full(5, 1e-4), np.zeros(5), "rounding")
    with pytest.raises(ValueError, match="nan"):
        check_gradient(np.full(5, np.nan), np.zeros(5), "gradient")
