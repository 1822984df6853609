"""MTCNN's nets in the real Caffe, and the same in ONNX."""

import cv2
import numpy as np
import pytest

from facealign.engines.onnx_export import export_onnx
from facealign.networks import mtcnn
from tests.random_weights import caffe_outputs, fill, in_caffe

# The layers and the shapes of their tops at the net's own window, as the paper's figure 2 has them.
SHAPES = {
    "pnet": {
        "conv1": (10, 10, 10),
        "pool1": (10, 5, 5),
        "conv2": (16, 3, 3),
        "conv3": (32, 1, 1),
        "conv4-2": (4, 1, 1),
        "prob": (2, 1, 1),
    },
    "rnet": {
        "conv1": (28, 22, 22),
        "pool1": (28, 11, 11),
        "conv2": (48, 9, 9),
        "pool2": (48, 4, 4),
        "conv3": (64, 3, 3),
        "conv4": (128,),
        "conv5-2": (4,),
        "prob": (2,),
    },
    "onet": {
        "conv1": (32, 46, 46),
        "pool1": (32, 23, 23),
        "conv2": (64, 21, 21),
        "pool2": (64, 10, 10),
        "conv3": (64, 8, 8),
        "pool3": (64, 4, 4),
        "conv4": (128, 3, 3),
        "conv5": (256,),
        "conv6-2": (4,),
        "conv6-3": (10,),
        "prob": (2,),
    },
}
WINDOWS = {"pnet": 12, "rnet": 24, "onet": 48}
OUTPUTS = {"pnet": {"prob", "conv4-2"}, "rnet": {"prob", "conv5-2"}, "onet": {"prob", "conv6-2", "conv6-3"}}


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Name -> (the net in Caffe, the same in OpenCV from our ONNX), with the same random weights."""
    result = {}
    for number, name in enumerate(SHAPES):
        deploy = mtcnn.deploy(name)
        weights = fill(deploy, np.random.default_rng(number))
        model = export_onnx(deploy, weights, None)
        in_opencv = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
        result[name] = in_caffe(tmp_path_factory.mktemp(name), deploy, weights), in_opencv
    return result


def picture(n, height, width, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_in_caffe_at_the_net_s_window(nets, name):
    net, _ = nets[name]
    side = WINDOWS[name]
    outputs = caffe_outputs(net, picture(1, side, side))
    assert set(outputs) == OUTPUTS[name]
    for blob, shape in SHAPES[name].items():
        assert net.blobs[blob].data.shape == (1, *shape), blob


@pytest.mark.parametrize(("height", "width"), [(12, 12), (31, 40), (64, 33), (240, 320)])
def test_pnet_slides_over_pictures_in_steps_of_two(nets, height, width):
    outputs = caffe_outputs(nets["pnet"][0], picture(1, height, width))
    # The window's place in the last map: 2x2 pooling rounds up, and the rest is valid convolution.
    rows, columns = (-(-(side - 12) // 2) + 1 for side in (height, width))
    assert outputs["prob"].shape == (1, 2, rows, columns)
    assert outputs["conv4-2"].shape == (1, 4, rows, columns)
    np.testing.assert_allclose(outputs["prob"].sum(axis=1), 1, atol=1e-5)


def test_pnet_sees_at_each_place_what_it_sees_in_a_window_cut_out_there(nets):
    whole = picture(1, 40, 50)
    everywhere = caffe_outputs(nets["pnet"][0], whole)["conv4-2"].copy()
    for row, column in [(0, 0), (3, 7), (14, 19)]:
        y, x = 2 * row, 2 * column
        alone = caffe_outputs(nets["pnet"][0], whole[:, :, y : y + 12, x : x + 12])["conv4-2"]
        np.testing.assert_allclose(everywhere[0, :, row, column], alone[0, :, 0, 0], atol=1e-5)


def check_agreement(nets, name, data):
    net, in_opencv = nets[name]
    expected = caffe_outputs(net, data)
    in_opencv.setInput(data, "data")
    names = sorted(expected)
    for output, values in zip(names, in_opencv.forward(names), strict=True):
        assert values.shape == expected[output].shape
        np.testing.assert_allclose(values, expected[output], rtol=1e-4, atol=1e-4)
        assert np.ptp(values) > 1e-3


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("name", SHAPES)
def test_onnx_in_opencv_agrees_with_caffe_at_the_net_s_window(nets, name, n):
    check_agreement(nets, name, picture(n, WINDOWS[name], WINDOWS[name], seed=n))


# Caffe's pooling rounds up; one loop, so that sizes change in the same net.
SIZES = [(12, 13), (13, 12), (13, 13), (14, 17), (15, 15), (17, 14), (40, 30), (101, 77), (12, 200), (18, 18)]


def test_onnx_pnet_agrees_with_caffe_on_odd_and_even_sizes(nets):
    for height, width in SIZES:
        check_agreement(nets, "pnet", picture(2, height, width, seed=height))
