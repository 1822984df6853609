"""CaffeEngine: the real Caffe, and no input or file that it would fail on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.caffe import CaffeEngine
from facealign.errors import FaceAlignError
from facealign.networks import mobilenet_v2, mtcnn
from tests.random_weights import caffe_outputs, fill, in_caffe


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def write(folder: Path, deploy, weights=None):
    """(deploy, caffemodel) as files."""
    folder.mkdir(exist_ok=True, parents=True)
    net, model = folder / "deploy.prototxt", folder / "weights.caffemodel"
    net.write_text(text_format.MessageToString(deploy))
    model.write_bytes((weights or fill(deploy, np.random.default_rng(0))).SerializeToString())
    return net, model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def mobilenet(folder):
    return CaffeEngine(*write(folder / "mobilenet", mobilenet_v2.deploy()))


@pytest.fixture(scope="module")
def pnet(folder):
    return CaffeEngine(*write(folder / "pnet", mtcnn.deploy("pnet")))


def test_it_gives_what_caffe_gives_with_the_weights_loaded_by_caffe(mobilenet, folder):
    deploy = mobilenet_v2.deploy()
    net = in_caffe(folder / "plain", deploy, fill(deploy, np.random.default_rng(0)))
    data = uniform(3, 3, 64, 64)
    found = mobilenet.forward({"data": data})
    assert list(found) == ["fc4"]
    assert found["fc4"].dtype == np.float32
    np.testing.assert_array_equal(found["fc4"], caffe_outputs(net, data)["fc4"])


def test_batches_may_grow_and_shrink(mobilenet):
    pictures = uniform(9, 3, 64, 64)
    alone = np.concatenate([mobilenet.forward({"data": pictures[i : i + 1]})["fc4"] for i in range(9)])
    for n in (9, 1, 4, 9, 2, 2, 7):
        np.testing.assert_allclose(mobilenet.forward({"data": pictures[:n]})["fc4"], alone[:n], atol=1e-5)


def test_sizes_may_change_when_no_layer_is_fully_connected(pnet, folder):
    net = in_caffe(
        folder / "pnet plain", mtcnn.deploy("pnet"), fill(mtcnn.deploy("pnet"), np.random.default_rng(0))
    )
    for shape in [(1, 3, 12, 12), (1, 3, 31, 50), (2, 3, 12, 40), (1, 3, 12, 12)]:
        data = uniform(*shape)
        found, expected = pnet.forward({"data": data}), caffe_outputs(net, data)
        assert set(found) == {"prob", "conv4-2"}
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_answers_are_the_caller_s_own(mobilenet):
    """The next run must not change what the last one returned."""
    first = mobilenet.forward({"data": uniform(2, 3, 64, 64, seed=1)})["fc4"]
    kept = first.copy()
    mobilenet.forward({"data": uniform(2, 3, 64, 64, seed=2)})
    np.testing.assert_array_equal(first, kept)


def test_inputs_of_other_types_are_numbers_too(mobilenet):
    data = np.random.default_rng(3).integers(-1, 2, (2, 3, 64, 64))
    expected = mobilenet.forward({"data": data.astype(np.float32)})["fc4"]
    for kind in (np.int8, np.float64, np.float16):
        np.testing.assert_array_equal(mobilenet.forward({"data": data.astype(kind)})["fc4"], expected)
    strided = np.ascontiguousarray(data.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(mobilenet.forward({"data": strided})["fc4"], expected)


WRONG = [
    ({}, r"got inputs \[\], expected \['data'\]"),
    ({"image": (1, 3, 64, 64)}, r"\['image'\], expected \['data'\]"),
    ({"data": (1, 3, 64, 64), "image": (1, 3, 64, 64)}, r"expected \['data'\]"),
    ({"data": (1, 1, 64, 64)}, r"expected \(n, 3, 64, 64\)"),
    ({"data": (1, 64, 64, 3)}, r"expected \(n, 3, 64, 64\)"),
    ({"data": (1, 3, 63, 64)}, r"expected \(n, 3, 64, 64\)"),
    ({"data": (1, 3, 128, 128)}, r"expected \(n, 3, 64, 64\)"),
    ({"data": (3, 64, 64)}, r"expected \(n, 3, 64, 64\)"),
    ({"data": (0, 3, 64, 64)}, r"expected \(n, 3, 64, 64\)"),
]


@pytest.mark.parametrize(("shapes", "message"), WRONG, ids=str)
def test_other_inputs_are_refused_and_the_engine_goes_on(mobilenet, shapes, message):
    data = uniform(2, 3, 64, 64)
    before = mobilenet.forward({"data": data})["fc4"]
    with pytest.raises(FaceAlignError, match=message) as caught:
        mobilenet.forward({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert "deploy.prototxt" in str(caught.value)
    np.testing.assert_array_equal(mobilenet.forward({"data": data})["fc4"], before)


@pytest.mark.parametrize("shape", [(1, 3, 9, 40), (1, 3, 40, 3), (1, 3, 1, 1), (1, 4, 40, 40)], ids=str)
def test_pictures_too_small_for_a_window_are_refused(pnet, shape):
    with pytest.raises(FaceAlignError, match=r"smaller than its window|expected \(n, 3, height, width\)"):
        pnet.forward({"data": np.zeros(shape, np.float32)})


def test_caffe_itself_fails_on_the_same_inputs(folder):
    """Else there was nothing to guard against."""
    net, model = write(folder / "unguarded", mobilenet_v2.deploy())
    code = (
        "import caffe, sys\n"
        f"net = caffe.Net({str(net)!r}, caffe.TEST, weights={str(model)!r})\n"
        "net.blobs['data'].reshape(1, 1, 64, 64)\nnet.reshape()\nprint('alive')"
    )
    environment = {**os.environ, "GLOG_minloglevel": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError: Check failed" in done.stderr
    assert "alive" not in done.stdout


def squeezed(net):
    """1x1 convolutions as matrices: a shape on which Caffe's own loading fails."""
    for layer in net.layer:
        if layer.type == "Convolution" and list(layer.blobs[0].shape.dim[2:]) == [1, 1]:
            del layer.blobs[0].shape.dim[2:]


def surplus(net):
    """Weights in a layer that has none, on which it fails as well."""
    relu = next(layer for layer in net.layer if layer.type == "ReLU")
    relu.blobs.add(data=[1]).shape.dim.append(1)


@pytest.mark.parametrize("change", [squeezed, surplus])
def test_weights_on_which_caffe_itself_fails_are_read_all_the_same(change, mobilenet, folder):
    deploy = mobilenet_v2.deploy()
    weights = fill(deploy, np.random.default_rng(0))
    change(weights)
    engine = CaffeEngine(*write(folder / change.__name__, deploy, weights))
    data = uniform(1, 3, 64, 64)
    np.testing.assert_array_equal(
        engine.forward({"data": data})["fc4"], mobilenet.forward({"data": data})["fc4"]
    )


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("no deploy", "deploy.prototxt"),
        ("no weights", "weights.caffemodel"),
        ("truncated weights", "weights.caffemodel"),
        ("weights of another net", "weights.caffemodel"),
        ("a field that Caffe lacks", "deploy.prototxt"),
        ("a bottom that nothing makes", "deploy.prototxt"),
        ("a layer that Caffe lacks", "deploy.prototxt"),
    ],
)
def test_files_on_which_caffe_itself_fails_are_refused_in_one_line(fault, named, tmp_path):
    net, model = write(tmp_path, mtcnn.deploy("rnet"))
    text = net.read_text()
    if fault == "no deploy":
        net.unlink()
    elif fault == "no weights":
        model.unlink()
    elif fault == "truncated weights":
        model.write_bytes(model.read_bytes()[:5000])
    elif fault == "weights of another net":
        write(tmp_path, mtcnn.deploy("rnet"), fill(mtcnn.deploy("onet"), np.random.default_rng(0)))
    elif fault == "a field that Caffe lacks":
        net.write_text(text.replace("num_output", "nmu_output: 1 num_output", 1))
    elif fault == "a bottom that nothing makes":
        net.write_text(text.replace('bottom: "pool1"', 'bottom: "pool9"'))
    else:
        net.write_text(text.replace('"PReLU"', '"QReLU"', 1))
    with pytest.raises(FaceAlignError) as caught:
        CaffeEngine(net, model)
    assert re.match(rf"{re.escape(str(tmp_path / named))}(, line \d+)?: ", str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_a_net_declared_by_the_older_input_fields_runs(tmp_path):
    deploy = mtcnn.deploy("rnet")
    old = caffe_pb2.NetParameter(input=["data"], input_dim=[1, 3, 24, 24], layer=list(deploy.layer)[1:])
    weights = fill(deploy, np.random.default_rng(0))
    data = uniform(2, 3, 24, 24)
    found = CaffeEngine(*write(tmp_path / "old", old, weights)).forward({"data": data})
    expected = CaffeEngine(*write(tmp_path / "new", deploy, weights)).forward({"data": data})
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
