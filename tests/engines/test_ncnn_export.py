"""ncnn's files, read by ncnn itself: what it computes from them is what Caffe does."""

from pathlib import Path

import ncnn
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facealign.engines.ncnn_export import export_ncnn
from facealign.engines.opening import onnx_engine
from facealign.engines.quantisation import quantise
from facealign.errors import FaceAlignError
from tests.astronaut_crops import astronaut_crops

MODELS = Path(__file__).parents[2] / "models"
STAGE3 = MODELS / "mobilenet_v2_stage3.onnx"


def run(folder, text, weights, data, output):
    (folder / "net.param").write_text(text)
    (folder / "net.bin").write_bytes(weights)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(folder / "net.param")) == 0
    assert net.load_model(str(folder / "net.bin")) == 0
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(data).clone())
    failed, found = extractor.extract(output)
    assert failed == 0
    return np.array(found)


@pytest.mark.parametrize(("half", "pixels"), [(False, 1e-3), (True, 0.1)])
def test_weights_of_32_and_of_16_bits(half, pixels, tmp_path):
    data = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64)).astype(np.float32)
    text, weights = export_ncnn(onnx.load(str(STAGE3)), "stage 3", half)
    found = run(tmp_path, text, weights, data, "fc4")
    expected = onnx_engine("onnx")(STAGE3).forward({"data": data[None]})["fc4"][0]
    assert 64 * np.abs(found - expected).max() < pixels
    sizes = {True: 0.51, False: 1.0}
    assert abs(len(weights) / STAGE3.stat().st_size - sizes[half]) < 0.02


def test_weights_of_8_bits(tmp_path):
    """As quantised here, but for the steps of each layer's input: as near to the float32 network."""
    inputs = astronaut_crops(onnx_engine("onnx")(STAGE3).spec, 24)
    small = quantise(onnx.load(str(STAGE3)), inputs[:20], "stage 3")
    text, weights = export_ncnn(small, "stage 3 in int8")
    assert len(weights) < 0.45 * STAGE3.stat().st_size
    assert sum(" 8=1" in line for line in text.splitlines()) == 20
    for image in inputs[20:]:
        expected = onnx_engine("onnx")(STAGE3).forward({"data": image[None]})["fc4"][0]
        found = run(tmp_path, text, weights, image, "fc4")
        apart = 64 * np.linalg.norm((found - expected).reshape(2, 68), axis=0)
        assert 0.01 < apart.mean() < 0.5


def test_the_same_model_gives_the_same_bytes_and_activations_have_no_layer_of_their_own():
    model = onnx.load(str(STAGE3))
    text, weights = export_ncnn(model, "stage 3")
    assert (text, weights) == export_ncnn(model, "stage 3")
    kinds = [line.split()[0] for line in text.splitlines()[2:]]
    assert "ReLU" not in kinds
    assert kinds.count("ConvolutionDepthWise") == 6
    assert kinds.count("Split") == kinds.count("BinaryOp") == 3


def net(nodes, constants, shape=("N", 2, 5, 5)):
    weights = [numpy_helper.from_array(np.float32(values), name) for name, values in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], name=f"{kind} to {output}", **attributes)


def test_scalings_that_no_convolution_absorbs(tmp_path):
    """As of a BatchNorm at the start of a net."""
    factor, offset = np.reshape([2.0, -3.0], (-1, 1, 1)), np.reshape([0.5, 1.5], (-1, 1, 1))
    model = net(
        [
            helper.make_node("Mul", ["data", "f"], ["x"], name="mul"),
            helper.make_node("Add", ["x", "o"], ["y"]),
        ],
        {"f": factor, "o": offset},
    )
    data = np.random.default_rng(0).uniform(-1, 1, (2, 5, 5)).astype(np.float32)
    found = run(tmp_path, *export_ncnn(model, "here"), data, "y")
    np.testing.assert_allclose(found, data * factor + offset, atol=1e-6)


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Softmax"])
def test_an_activation_that_no_layer_computes_too(activation, tmp_path):
    attributes = {"LeakyRelu": {"alpha": 0.2}, "Softmax": {"axis": 1}}.get(activation, {})
    data = np.random.default_rng(0).uniform(-1, 1, (2, 5, 5)).astype(np.float32)
    model = net([helper.make_node(activation, ["data"], ["y"], name="act", **attributes)], {})
    expected = {
        "Relu": np.maximum(data, 0),
        "LeakyRelu": np.where(data < 0, 0.2 * data, data),
        "Softmax": np.exp(data) / np.exp(data).sum(axis=0),
    }
    found = run(tmp_path, *export_ncnn(model, "here"), data, "y")
    np.testing.assert_allclose(found, expected[activation], atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            net([node("Sigmoid", ["data"], "y")], {}),
            "here: cannot be written for ncnn: Sigmoid 'Sigmoid to y'",
        ),
        (net([node("Softmax", ["data"], "y", axis=3)], {}), "cannot be written for ncnn: Softmax"),
        (
            net([node("MaxPool", ["data"], "y", kernel_shape=[2, 3], strides=[1, 1], pads=[0] * 4)], {}),
            "expected the same number on all sides",
        ),
        (net([node("Relu", ["data"], "a b"), node("Relu", ["a b"], "y")], {}), "'a b'"),
    ],
    ids=["operator", "axis", "window", "name"],
)
def test_what_ncnn_would_compute_otherwise_is_refused(wrong, message):
    with pytest.raises(FaceAlignError, match=message):
        export_ncnn(wrong, "here")
