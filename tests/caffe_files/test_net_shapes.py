"""Shapes through a net against the real Caffe, and the refusal of what Caffe would abort on."""

import os
import re
import subprocess
import sys

import pytest
from google.protobuf import text_format
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facealign.caffe_files.net_shapes import check_inputs, declared_inputs, trace
from facealign.caffe_files.proto import caffe_pb2
from facealign.errors import FaceAlignError
from facealign.networks import mobilenet_v2, mtcnn, vgg_shadow
from tests.random_weights import in_caffe

NETS = {
    "mobilenet_v2": mobilenet_v2.deploy(),
    "vgg_shadow": vgg_shadow.deploy(),
    **{name: mtcnn.deploy(name) for name in mtcnn.NETS},
}
INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 9 dim: 8 } } } '
)


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def layer(kind, parameters="", bottom="data", top="y", name="x"):
    bottoms = " ".join(f'bottom: "{one}"' for one in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {parameters} }} '


def check_against_caffe(deploy, folder):
    traced = trace(deploy, "net")
    net = in_caffe(folder, deploy)
    assert {
        name: [tuple(b.data.shape) for b in blobs] for name, blobs in net.params.items()
    } == traced.weights
    for name, shape in traced.blobs.items():
        assert net.blobs[name].data.shape == (1, *shape), name


@pytest.mark.parametrize("name", NETS)
def test_a_committed_net_has_the_shapes_that_caffe_gives_it(name, tmp_path):
    check_against_caffe(NETS[name], tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["Convolution", "ConvolutionDepthwise", "Pooling", "Pooling of floor"]),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    pad=st.integers(0, 3),
    dilation=st.integers(1, 3),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    group=st.sampled_from([1, 2, 4]),
)
def test_windows_slide_as_caffe_s_do(
    tmp_path_factory, kind, kernel, stride, pad, dilation, height, width, group
):
    extent = dilation * (kernel - 1) + 1
    if kind.startswith("Pooling"):
        assume(pad < kernel)
        extent = kernel
        rounding = "FLOOR" if "floor" in kind else "CEIL"
        parameters = (
            f"pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} round_mode: {rounding} }}"
        )
    else:
        groups = f"group: {group}" if kind == "Convolution" else ""
        parameters = (
            f"convolution_param {{ num_output: 4 {groups} kernel_size: {kernel} stride: {stride} pad: {pad}"
            f" dilation: {dilation} }}"
        )
    assume(min(height, width) + 2 * pad >= extent)
    text = INPUT.replace("dim: 9 dim: 8", f"dim: {height} dim: {width}") + layer(kind.split()[0], parameters)
    check_against_caffe(parsed(text), tmp_path_factory.mktemp("window"))


def test_every_layer_type_has_caffe_s_shapes(tmp_path):
    text = INPUT
    text += layer(
        "Convolution", "convolution_param { num_output: 6 kernel_size: 3 bias_term: false }", top="c"
    )
    text += layer("BatchNorm", bottom="c", top="c", name="bn")
    text += layer("Scale", bottom="c", top="s", name="scale")
    text += layer("Scale", "scale_param { bias_term: true }", bottom="c", top="s2", name="scale2")
    text += layer("Eltwise", bottom="s s2", top="e", name="sum")
    text += layer("PReLU", bottom="e", top="e", name="prelu")
    text += layer("PReLU", "prelu_param { channel_shared: true }", bottom="e", top="e", name="shared")
    text += layer("Flatten", bottom="e", top="f", name="flat")
    text += layer("InnerProduct", "inner_product_param { num_output: 5 bias_term: false }", "f", "i", "fc")
    text += layer("BatchNorm", bottom="i", top="i", name="bn_i")
    text += layer("PReLU", bottom="i", top="i", name="prelu_i")
    text += layer("Dropout", bottom="i", top="d", name="drop")
    text += layer("Softmax", bottom="d", top="p", name="prob")
    text += layer("ReLU", bottom="p", top="p", name="relu")
    check_against_caffe(parsed(text), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        INPUT,
        'input: "data" input_dim: 1 input_dim: 4 input_dim: 9 input_dim: 8 ',
        'input: "data" input_shape { dim: 1 dim: 4 dim: 9 dim: 8 } ',
    ],
)
def test_inputs_may_be_declared_in_three_ways(text, tmp_path):
    net = parsed(text + layer("InnerProduct", "inner_product_param { num_output: 5 }"))
    assert declared_inputs(net, "net") == {"data": (1, 4, 9, 8)}
    check_against_caffe(net, tmp_path)


CONV = "convolution_param { num_output: 4 kernel_size: 3 %s }"
# What Caffe ends the process for -> what ours says of it.
ABORTS = {
    layer("Konvolution"): "Konvolution",
    layer("ReLU", bottom="dada"): "dada",
    layer("ReLU", bottom="data data"): "one bottom",
    layer("Eltwise"): "two or more",
    layer("Convolution", "convolution_param { num_output: 4 }"): "kernel=0",
    layer("Convolution", "convolution_param { kernel_size: 3 }"): "0 outputs",
    layer("Convolution", CONV % "stride: 0"): "stride=0",
    layer("Convolution", CONV % "group: 3"): "3 groups",
    layer("ConvolutionDepthwise", "convolution_param { num_output: 8 kernel_size: 3 }"): "8 outputs",
    layer("ConvolutionDepthwise", CONV % "dilation: 5"): "smaller than its window",
    layer("Pooling", "pooling_param { stride: 2 }"): "kernel=0",
    layer("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"): "pad=2",
    layer("ReLU") + layer("ReLU"): "second time",
    layer("Flatten", top="data"): "second time",
    layer("Scale", top="s", name="s") + layer("ReLU", top="data"): "in place",
    layer("Eltwise", bottom="data data", top="data"): "in place",
    layer("Convolution", CONV % "") + layer("Eltwise", bottom="data y", top="z"): "different shapes",
    layer("InnerProduct", "inner_product_param { num_output: 5 axis: 7 }"): "axis 1",
    layer("Scale", "scale_param { axis: 3 num_axes: 2 }"): "axis 1",
}
# What Caffe can and this library cannot.
UNKNOWN = {
    layer("Convolution", "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 1 }"): "square",
    layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 kernel_size: 1 }"): "square",
    layer("Pooling", "pooling_param { global_pooling: true }"): "square",
    layer("InnerProduct", "inner_product_param { num_output: 5 transpose: true }"): "transpose",
    layer("Softmax", "softmax_param { axis: 2 }"): "Softmax",
    layer("Flatten", "flatten_param { axis: 2 }"): "Flatten",
    layer("Sigmoid"): "Sigmoid",
    layer("InnerProduct", "inner_product_param { num_output: 5 }")
    + layer("Convolution", CONV % "", bottom="y", top="z"): "smaller than its window",
}


@pytest.mark.parametrize("text", [*ABORTS, *UNKNOWN])
def test_a_net_that_cannot_be_followed_is_refused_with_the_layer_s_name(text):
    with pytest.raises(FaceAlignError, match=re.escape({**ABORTS, **UNKNOWN}[text])) as caught:
        trace(parsed(INPUT + text), "some net")
    assert str(caught.value).startswith("some net: layer 'x'")
    assert "\n" not in str(caught.value)


OPEN_ALL = """
import os, sys
os.environ["GLOG_minloglevel"] = "3"
import caffe
for index in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        caffe.Net(f"{index}.prototxt", caffe.TEST).forward()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_caffe_does_abort_on_those_nets(tmp_path):
    """Else a refusal would keep somebody from a net that works; the last two show that the others run."""
    works = [layer("ReLU"), next(iter(UNKNOWN))]
    for index, text in enumerate([*ABORTS, *works]):
        (tmp_path / f"{index}.prototxt").write_text(INPUT + text)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, str(len(ABORTS) + len(works))],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    codes = dict(zip([*ABORTS, *works], map(int, done.stdout.split()), strict=True))
    assert [text for text in ABORTS if codes[text] == 0] == []
    assert [codes[text] for text in works] == [0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("ReLU"), "no input"),
        (INPUT.replace("dim: 8", "") + layer("ReLU"), "four positive"),
        (INPUT.replace("dim: 8", "dim: 0") + layer("ReLU"), "four positive"),
        ('layer { name: "data" type: "Input" top: "data" } ', "four positive"),
        ('input: "data" input_dim: 1 input_dim: 4 input_dim: 9 ' + layer("ReLU"), "four positive"),
    ],
)
def test_an_input_without_a_shape_is_refused(text, message):
    with pytest.raises(FaceAlignError, match=message):
        trace(parsed(text), "some net")


def test_two_layers_of_a_name_with_weights_are_refused():
    """A caffemodel is matched by name: Caffe would give both the weights of either."""
    scales = layer("Scale", top="y") + layer("Scale", bottom="y", top="z")
    with pytest.raises(FaceAlignError, match="two layers of this name"):
        trace(parsed(INPUT + scales), "some net")


@pytest.mark.parametrize("n", [1, 7])
def test_nets_take_any_number_of_pictures_of_their_size(n):
    check_inputs(NETS["mobilenet_v2"], "net", {"data": (n, 3, 64, 64)})
    check_inputs(NETS["vgg_shadow"], "net", {"data": (n, 3, 70, 60)})


@given(height=st.integers(1, 60), width=st.integers(1, 60))
def test_pnet_takes_pictures_of_any_size_from_its_window(height, width):
    fits = min(height, width) >= 12
    # Pooling rounds up: from 11 pixels on a window is whole enough for Caffe.
    assume(fits or min(height, width) <= 10)
    if fits:
        check_inputs(NETS["pnet"], "pnet", {"data": (2, 3, height, width)})
    else:
        with pytest.raises(FaceAlignError, match="smaller than its window"):
            check_inputs(NETS["pnet"], "pnet", {"data": (2, 3, height, width)})


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 64, 64), (1, 4, 64, 64), (0, 3, 64, 64), (3, 64, 64), (), (1, 3, 64, 64, 1), (1, 3, 32, 32),
     (1, 3, 128, 128), (1, 64, 64, 3)],
    ids=str,
)  # fmt: skip
def test_an_input_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(FaceAlignError) as caught:
        check_inputs(NETS["mobilenet_v2"], "the net", {"data": shape})
    assert str(caught.value).startswith("the net: input 'data' has shape (")
    assert str(shape) in str(caught.value)
    assert "(n, 3, 64, 64)" in str(caught.value)


@pytest.mark.parametrize("names", [[], ["image"], ["data", "image"]])
def test_inputs_of_other_names_are_refused(names):
    with pytest.raises(FaceAlignError, match=r"expected \['data'\]"):
        check_inputs(NETS["pnet"], "the net", {name: (1, 3, 12, 12) for name in names})


def test_a_picture_lying_on_its_side_is_refused():
    """Its fully connected layer would have as many weights: Caffe would run it and give nonsense."""
    turned = {"data": (1, 3, 60, 70)}
    upright = trace(NETS["vgg_shadow"], "net").weights
    assert trace(NETS["vgg_shadow"], "net", turned).weights == upright
    with pytest.raises(FaceAlignError, match=r"expected \(n, 3, 70, 60\)"):
        check_inputs(NETS["vgg_shadow"], "net", turned)


def test_what_is_free_in_a_fully_convolutional_net_is_said():
    with pytest.raises(FaceAlignError, match=r"\(2, 1, 40, 40\), expected \(n, 3, height, width\)"):
        check_inputs(NETS["pnet"], "net", {"data": (2, 1, 40, 40)})
