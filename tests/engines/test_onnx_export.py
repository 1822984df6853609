"""ONNX files against the real Caffe: the same numbers, the same bytes each time, or a refusal."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from facealign.caffe_files.caffemodel import blobs_of
from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.model_spec import ModelSpec
from facealign.engines.onnx_export import export_onnx
from facealign.errors import FaceAlignError
from facealign.networks import mobilenet_v2, mtcnn, vgg_shadow
from tests.random_weights import caffe_outputs, fill, in_caffe, write_model

ROOT = Path(__file__).parents[2]
NETS = {
    "mobilenet_v2": (mobilenet_v2.deploy(), (64, 64), "fc4"),
    "vgg_shadow": (vgg_shadow.deploy(), (70, 60), "fc2"),
}


def in_opencv(model, data):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    net.setInput(data, "data")
    names = [output.name for output in model.graph.output]
    return dict(zip(names, net.forward(names), strict=True))


def in_reference(model, data):
    names = [output.name for output in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(names, {"data": data}), strict=True))


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def check_close(found, expected):
    """To a ten-thousandth of the largest output."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape
        assert np.isfinite(values).all()
        np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max(), rtol=0)


@pytest.fixture(scope="module", params=NETS)
def exported(request, tmp_path_factory):
    """(the ONNX model, the net in Caffe with the same random weights, size of its input)."""
    deploy, size, _ = NETS[request.param]
    weights = fill(deploy, np.random.default_rng(1))
    net = in_caffe(tmp_path_factory.mktemp(request.param), deploy, weights)
    return export_onnx(deploy, weights, None), net, size


@pytest.mark.parametrize("n", [1, 7])
def test_onnx_in_opencv_gives_what_caffe_gives(exported, n):
    model, net, size = exported
    data = uniform(n, 3, *size, seed=n)
    expected = caffe_outputs(net, data)
    (values,) = expected.values()
    assert values.shape == (n, 136)
    # The pictures' answers must differ by much more than the allowed error.
    assert n == 1 or np.ptp(values, axis=0).max() > 0.01 * np.abs(values).max()
    check_close(in_opencv(model, data), expected)


def test_the_reference_evaluator_gives_what_caffe_gives(exported):
    model, net, size = exported
    data = uniform(2, 3, *size)
    check_close(in_reference(model, data), caffe_outputs(net, data))


def operators(model):
    counts = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def test_mobilenet_s_batchnorms_and_scales_are_folded():
    deploy, _, _ = NETS["mobilenet_v2"]
    model = export_onnx(deploy, fill(deploy, np.random.default_rng(0)), None)
    # 19 convolutions; a LeakyReLU after conv1, two a block, and after fc1 and fc2; three residual sums.
    assert operators(model) == {"Conv": 19, "LeakyRelu": 15, "Add": 3, "Flatten": 4, "Gemm": 4}


def test_dropout_leaves_nothing_behind():
    deploy, _, _ = NETS["vgg_shadow"]
    model = export_onnx(deploy, fill(deploy, np.random.default_rng(0)), None)
    assert operators(model) == {"Conv": 7, "Relu": 8, "MaxPool": 3, "Flatten": 2, "Gemm": 2}


@pytest.mark.parametrize("name", NETS)
def test_the_same_input_gives_the_same_bytes(name):
    deploy, _, _ = NETS[name]
    weights = fill(deploy, np.random.default_rng(2))
    made = [export_onnx(deploy, source, ModelSpec()) for source in (weights, weights, blobs_of(weights, "x"))]
    assert len({model.SerializeToString(deterministic=True) for model in made}) == 1
    other = fill(deploy, np.random.default_rng(3))
    assert export_onnx(deploy, other, ModelSpec()).SerializeToString() != made[0].SerializeToString()


@pytest.mark.parametrize("name", NETS)
def test_the_model_is_valid_and_says_what_goes_in_and_out(name):
    deploy, (height, width), output = NETS[name]
    model = export_onnx(deploy, fill(deploy, np.random.default_rng(0)), None)
    onnx.checker.check_model(model, full_check=True)

    def declared(value):
        return value.name, [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]

    assert [declared(value) for value in model.graph.input] == [("data", ["N", 3, height, width])]
    assert [declared(value) for value in model.graph.output] == [(output, ["N", 136])]
    # Old enough for OpenCV 4.8.
    assert model.opset_import[0].version == 13
    assert model.ir_version <= 8


def test_metadata_holds_the_spec():
    deploy, _, _ = NETS["mobilenet_v2"]
    spec = ModelSpec(box_scale=1.3, box_shift=(0.1, -0.2), origin=0)
    weights = fill(deploy, np.random.default_rng(0))
    model = onnx.load_from_string(export_onnx(deploy, weights, spec).SerializeToString())
    (entry,) = model.metadata_props
    assert entry.key == "facealign"
    assert ModelSpec.from_json(entry.value, "x") == spec
    assert json.loads(entry.value)["box_shift"] == [0.1, -0.2]
    assert not export_onnx(deploy, weights, None).metadata_props


@pytest.mark.parametrize("factor", [1e-3, 0.5, 99.0, 999.982])
def test_the_scale_factor_of_batchnorm_divides_its_statistics_as_in_caffe(factor, tmp_path):
    """Caffe keeps running sums and their weight."""
    deploy, size, _ = NETS["mobilenet_v2"]
    weights = fill(deploy, np.random.default_rng(4))
    for layer in weights.layer:
        if layer.type == "BatchNorm":
            for blob in layer.blobs[:2]:
                blob.data[:] = [value * factor for value in blob.data]
            layer.blobs[2].data[:] = [factor]
    data = uniform(2, 3, *size)
    expected = caffe_outputs(in_caffe(tmp_path, deploy, weights), data)
    check_close(in_opencv(export_onnx(deploy, weights, None), data), expected)


def test_eps_is_the_layer_s(tmp_path):
    deploy = caffe_pb2.NetParameter()
    deploy.CopyFrom(NETS["mobilenet_v2"][0])
    for layer in deploy.layer:
        if layer.type == "BatchNorm":
            layer.batch_norm_param.eps = 0.1
    weights = fill(deploy, np.random.default_rng(5))
    data = uniform(1, 3, 64, 64)
    check_close(
        in_opencv(export_onnx(deploy, weights, None), data),
        caffe_outputs(in_caffe(tmp_path, deploy, weights), data),
    )


INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 9 dim: 8 } } } '
)


def layer(kind, name, bottom, top, parameters=""):
    bottoms = " ".join(f'bottom: "{one}"' for one in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {parameters} }} '


def conv(name, bottom, parameters="num_output: 4 kernel_size: 3 pad: 1", kind="Convolution"):
    return layer(kind, name, bottom, name, f"convolution_param {{ {parameters} }}")


def pool(parameters):
    return layer("Pooling", "p", "data", "p", f"pooling_param {{ {parameters} }}")


def inner(name, bottom, parameters="num_output: 6"):
    return layer("InnerProduct", name, bottom, name, f"inner_product_param {{ {parameters} }}")


BIASED = "scale_param { bias_term: true }"
SMALL = {
    "batchnorm and scale of the input": [
        layer("BatchNorm", "bn", "data", "data"),
        layer("Scale", "s", "data", "data", BIASED),
        conv("c", "data"),
    ],
    "batchnorm out of place": [
        conv("c", "data"),
        layer("BatchNorm", "bn", "c", "b"),
        layer("ReLU", "r", "b", "r"),
    ],
    "scale without bias": [conv("c", "data"), layer("Scale", "s", "c", "c")],
    "a convolution used before and after its batchnorm": [
        conv("c", "data"),
        layer("BatchNorm", "bn", "c", "b"),
        layer("Eltwise", "e", "c b", "e"),
    ],
    "scale after relu is not folded": [
        conv("c", "data"),
        layer("ReLU", "r", "c", "c", "relu_param { negative_slope: 0.3 }"),
        layer("Scale", "s", "c", "c", BIASED),
    ],
    "a sum of three": [conv("a", "data"), conv("b", "data"), layer("Eltwise", "e", "a b data", "e")],
    "coefficients of one": [
        conv("a", "data"),
        layer("Eltwise", "e", "a data", "e", "eltwise_param { coeff: 1 coeff: 1 }"),
    ],
    "fully connected, prelu twice, scale and batchnorm": [
        inner("i", "data"),
        layer("PReLU", "p", "i", "i"),
        layer("PReLU", "q", "i", "i"),
        layer("Scale", "s", "i", "i", BIASED),
        layer("BatchNorm", "bn", "i", "i"),
    ],
    "prelu of one slope": [
        conv("c", "data"),
        layer("PReLU", "p", "c", "c", "prelu_param { channel_shared: true }"),
    ],
    "no biases": [
        conv("c", "data", "num_output: 4 kernel_size: 1 bias_term: false"),
        inner("i", "c", "num_output: 3 bias_term: false"),
    ],
    "groups": [conv("c", "data", "num_output: 6 kernel_size: 3 group: 2")],
    "stride, pad and dilation": [
        conv("c", "data", "num_output: 5 kernel_size: 2 stride: 2 pad: 2 dilation: 3")
    ],
    "depthwise with bias": [
        conv("c", "data", "num_output: 4 kernel_size: 3 stride: 2", "ConvolutionDepthwise")
    ],
    "pooling that rounds up": [pool("kernel_size: 3 stride: 2")],
    "pooling that rounds down": [pool("kernel_size: 3 stride: 2 round_mode: FLOOR")],
    "padded pooling": [pool("kernel_size: 3 stride: 2 pad: 1")],
    "flatten and softmax": [layer("Flatten", "f", "data", "f"), layer("Softmax", "s", "f", "s")],
    "softmax of maps": [conv("c", "data"), layer("Softmax", "s", "c", "s")],
    "two outputs": [conv("a", "data"), conv("b", "a"), conv("c", "a")],
    "dropout between": [inner("i", "data"), layer("Dropout", "d", "i", "d"), inner("j", "d")],
    "dropout at the end": [inner("i", "data"), layer("Dropout", "d", "i", "d")],
    "layers that share a name": [
        conv("c", "data"),
        layer("ReLU", "r", "c", "c"),
        layer("ReLU", "r", "c", "r"),
    ],
}


@pytest.mark.parametrize("name", SMALL)
def test_small_nets_give_what_caffe_gives(name, tmp_path):
    deploy = text_format.Parse(INPUT + "".join(SMALL[name]), caffe_pb2.NetParameter())
    weights = fill(deploy, np.random.default_rng(6))
    data = uniform(3, 4, 9, 8)
    expected = caffe_outputs(in_caffe(tmp_path, deploy, weights if blobs(weights) else None), data)
    model = export_onnx(deploy, blobs(weights), None)
    check_close(in_reference(model, data), expected)
    check_close(in_opencv(model, data), expected)


def blobs(net):
    """The weights of a net, which may have none."""
    return blobs_of(net, "x") if any(layer.blobs for layer in net.layer) else {}


def test_a_scale_factor_of_0_means_that_nothing_was_summed_as_in_caffe(tmp_path):
    """Mean and variance count as 0, whatever the file has: BatchNorm then divides by the root of eps."""
    text = INPUT + conv("c", "data") + layer("BatchNorm", "bn", "c", "c")
    deploy = text_format.Parse(text, caffe_pb2.NetParameter())
    weights = fill(deploy, np.random.default_rng(12))
    weights.layer[2].blobs[2].data[:] = [0]
    data = uniform(2, 4, 9, 8)
    expected = caffe_outputs(in_caffe(tmp_path, deploy, weights), data)
    assert np.abs(expected["c"]).max() > 100
    check_close(in_opencv(export_onnx(deploy, weights, None), data), expected)


def test_old_input_fields_are_read(tmp_path):
    text = 'input: "data" input_dim: 1 input_dim: 4 input_dim: 9 input_dim: 8 ' + conv("c", "data")
    deploy = text_format.Parse(text, caffe_pb2.NetParameter())
    weights = fill(deploy, np.random.default_rng(7))
    data = uniform(2, 4, 9, 8)
    expected = caffe_outputs(in_caffe(tmp_path, deploy, weights), data)
    check_close(in_opencv(export_onnx(deploy, weights, None), data), expected)


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    height=st.integers(4, 14),
    width=st.integers(4, 14),
    slope=st.floats(0, 0.5, width=32),
)
def test_windows_and_slopes_of_any_size_agree_in_opencv(
    tmp_path_factory, kernel, stride, height, width, slope
):
    text = INPUT.replace("dim: 9 dim: 8", f"dim: {height} dim: {width}")
    text += layer(
        "Pooling",
        "p",
        "data",
        "p",
        f"pooling_param {{ kernel_size: {kernel} stride: {min(stride, kernel)} }}",
    )
    text += conv("c", "p", f"num_output: 5 kernel_size: {kernel} stride: {stride} pad: {kernel // 2}")
    text += layer("ReLU", "r", "c", "c", f"relu_param {{ negative_slope: {slope} }}")
    deploy = text_format.Parse(text, caffe_pb2.NetParameter())
    weights = fill(deploy, np.random.default_rng(8))
    data = uniform(2, 4, height, width)
    net = in_caffe(tmp_path_factory.mktemp("net"), deploy, weights)
    check_close(in_opencv(export_onnx(deploy, weights, None), data), caffe_outputs(net, data))


AVERAGE = "pooling_param { pool: AVE kernel_size: 2 }"
REFUSED = {
    "average pooling": (layer("Pooling", "the one", "data", "p", AVERAGE), "max pooling"),
    "a product": (
        layer("Eltwise", "the one", "data data", "e", "eltwise_param { operation: PROD }"),
        "Eltwise sum",
    ),
    "a difference": (
        layer("Eltwise", "the one", "data data", "e", "eltwise_param { coeff: 1 coeff: -1 }"),
        "Eltwise sum",
    ),
    "statistics of the batch": (
        conv("c", "data")
        + layer("BatchNorm", "the one", "c", "c", "batch_norm_param { use_global_stats: false }"),
        "use_global_stats",
    ),
    "an unknown layer": (layer("LRN", "the one", "data", "l"), "LRN"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_give_the_same_is_refused(name):
    text, message = REFUSED[name]
    deploy = text_format.Parse(INPUT + text, caffe_pb2.NetParameter())
    weights = {} if name == "an unknown layer" else blobs(fill(deploy, np.random.default_rng(9)))
    with pytest.raises(FaceAlignError, match=message) as caught:
        export_onnx(deploy, weights, None, where="some.caffemodel")
    assert "layer 'the one'" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("variance", [-1.0, 3e38])
def test_statistics_that_make_no_number_are_refused(variance):
    deploy = text_format.Parse(
        INPUT + conv("c", "data") + layer("BatchNorm", "bn", "c", "c"), caffe_pb2.NetParameter()
    )
    weights = fill(deploy, np.random.default_rng(10))
    weights.layer[2].blobs[1].data[0] = variance
    if variance > 0:
        # 1 / sqrt(3e38 / 1e-38) is still a number: the mean is what overflows.
        weights.layer[2].blobs[0].data[0] = 3e38
        weights.layer[2].blobs[1].data[0] = 0
    with pytest.raises(FaceAlignError, match=r"some\.caffemodel: c\.(weight|bias).*not finite"):
        export_onnx(deploy, weights, None, where="some.caffemodel")


def test_weights_of_another_net_are_refused_by_the_layer():
    weights = fill(mtcnn.deploy("onet"), np.random.default_rng(11))
    with pytest.raises(FaceAlignError, match=r"some\.caffemodel: layer 'conv1'"):
        export_onnx(NETS["mobilenet_v2"][0], weights, None, where="some.caffemodel")


# The program.


def run_tool(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/export_onnx.py"), *map(str, arguments)],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tool_writes_what_the_caffemodel_gives_in_caffe(tmp_path):
    weights = write_model(tmp_path, box_scale=1.4)
    (tmp_path / "weights.onnx").unlink()
    done = run_tool("--weights", "weights.caffemodel", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    made = tmp_path / "weights.onnx"
    assert done.stdout == f"weights.onnx: {made.stat().st_size} bytes\n"
    model = onnx.load(str(made))
    data = uniform(2, 3, 64, 64)
    net = in_caffe(
        tmp_path / "caffe", NETS["mobilenet_v2"][0], caffe_pb2.NetParameter.FromString(weights.read_bytes())
    )
    check_close(in_opencv(model, data), caffe_outputs(net, data))
    spec = ModelSpec.from_json(model.metadata_props[0].value, "x")
    assert spec.box_scale == 1.4
    # A path of this machine has no place in a file that travels.
    assert spec.deploy == ""
    assert str(tmp_path).encode() not in made.read_bytes()

    again = run_tool("--weights", weights, "--output", tmp_path / "new" / "other.onnx", cwd=tmp_path)
    assert again.returncode == 0
    assert (tmp_path / "new" / "other.onnx").read_bytes() == made.read_bytes()


@pytest.mark.parametrize("arguments", [[], ["--weights"], ["--weights", "x", "--nonsense"]], ids=str)
def test_wrong_usage_of_the_tool_is_2(arguments, tmp_path):
    done = run_tool(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "usage:" in done.stderr
