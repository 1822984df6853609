"""pycaffe, as it is installed, against independent arithmetic: nets, solvers, NetSpec, caffe.io, Classifier,
Detector, drawings.
"""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import caffe
import caffe.coord_map
import caffe.draw
import numpy as np
import pytest
import skimage.io
from caffe import layers, params
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MakeNet = Callable[..., Any]


def input_layer(name: str, *dims: int) -> str:
    shape = " ".join(f"dim: {n}" for n in dims)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}\n'


def inner_product(bottom: str, outputs: int, top: str = "ip") -> str:
    filler = '{ type: "gaussian" std: 0.5 }'
    return (
        f'layer {{ name: "{top}" type: "InnerProduct" bottom: "{bottom}" top: "{top}"'
        " param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 } inner_product_param {"
        f" num_output: {outputs} weight_filler {filler} bias_filler {filler} }} }}\n"
    )


# --- Net ----------------------------------------------------------------------------------------------------


@pytest.fixture
def net(make_net: MakeNet) -> Any:
    """ip = data W' + b, then y = tanh(ip), for batches of 4 rows of 3."""
    text = input_layer("data", 4, 3) + inner_product("data", 2)
    return make_net(
        "force_backward: true " + text + 'layer { name: "y" type: "TanH" bottom: "ip" top: "y" }', seed=1
    )


def parameters(net: Any) -> tuple[Floats, Floats]:
    weights, bias = net.params["ip"]
    return weights.data.astype(float), bias.data.astype(float)


def test_forward_and_backward(net: Any) -> None:
    weights, bias = parameters(net)
    random = np.random.default_rng(0)
    data, slope = random.standard_normal((4, 3)), random.standard_normal((4, 2))
    y = np.tanh(data @ weights.T + bias)
    outs = net.forward(data=data, blobs=["ip"])
    assert set(outs) == {"y", "ip"}
    np.testing.assert_allclose(outs["y"], y, atol=1e-6)
    np.testing.assert_allclose(outs["ip"], data @ weights.T + bias, atol=1e-6)
    through = slope * (1 - y**2)
    np.testing.assert_allclose(net.backward(y=slope)["data"], through @ weights, atol=1e-6)
    np.testing.assert_allclose(net.params["ip"][0].diff, through.T @ data, atol=1e-5)
    np.testing.assert_allclose(net.params["ip"][1].diff, through.sum(0), atol=1e-5)


def test_parts_of_a_net(net: Any) -> None:
    assert (list(net.blobs), net.inputs, net.outputs) == (["data", "ip", "y"], ["data"], ["y"])
    assert net.top_names["ip"] == ["ip"]
    assert net.bottom_names["y"] == ["ip"]
    assert net.layer_dict["y"].type == "TanH"
    net.blobs["ip"].data[...] = 0.5
    np.testing.assert_allclose(net.forward(start="y", end="y")["y"], np.tanh(0.5), atol=1e-6)
    with pytest.raises(Exception, match="do not match net inputs"):
        net.forward(other=np.zeros((4, 3)))


@pytest.mark.parametrize("count", [3, 4, 10])
def test_any_number_of_rows_in_batches(count: int, net: Any) -> None:
    weights, bias = parameters(net)
    data = np.random.default_rng(count).standard_normal((count, 3))
    y = np.tanh(data @ weights.T + bias)
    np.testing.assert_allclose(net.forward_all(data=data)["y"], y, atol=1e-6)
    slope = np.random.default_rng(9).standard_normal((count, 2))
    outs, diffs = net.forward_backward_all(data=data, y=slope)
    np.testing.assert_allclose(outs["y"], y, atol=1e-6)
    np.testing.assert_allclose(diffs["data"], (slope * (1 - y**2)) @ weights, atol=1e-6)


def test_backward_of_all_with_the_diffs_that_are_there(net: Any) -> None:
    net.blobs["y"].diff[...] = 1
    data = np.random.default_rng(3).standard_normal((4, 3))
    outs, diffs = net.forward_backward_all(data=data)
    np.testing.assert_allclose(diffs["data"], (1 - outs["y"] ** 2) @ parameters(net)[0], atol=1e-6)


@pytest.mark.parametrize("form", ["caffemodel", "hdf5"])
def test_weights_are_saved_and_loaded(form: str, net: Any, make_net: MakeNet, tmp_path: Path) -> None:
    path = str(tmp_path / "weights")
    (net.save if form == "caffemodel" else net.save_hdf5)(path)
    other = make_net(input_layer("data", 1, 3) + inner_product("data", 2), seed=2)
    assert (parameters(other)[0] != parameters(net)[0]).all()
    (other.copy_from if form == "caffemodel" else other.load_hdf5)(path)
    for ours, theirs in zip(parameters(other), parameters(net), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_reshaping(net: Any) -> None:
    net.blobs["data"].reshape(7, 3)
    net.reshape()
    assert net.forward(data=np.ones((7, 3)))["y"].shape == (7, 2)


def test_arrays_as_data_layer(make_net: MakeNet) -> None:
    net = make_net(
        'layer { name: "m" type: "MemoryData" top: "data" top: "label"'
        " memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }"
    )
    data = np.random.default_rng(4).standard_normal((4, 1, 2, 3)).astype(np.float32)
    labels = np.arange(4, dtype=np.float32)
    net.set_input_arrays(data, labels)
    for first in (0, 2, 0):
        net.forward()
        np.testing.assert_array_equal(net.blobs["data"].data, data[first : first + 2])
        np.testing.assert_array_equal(net.blobs["label"].data.ravel(), labels[first : first + 2])


# --- solvers ------------------------------------------------------------------------------------------------

ROWS, INS, OUTS = 8, 5, 3
DECAY, MOMENTUM, RATE = 0.01, 0.9, 0.05


class Formula:
    """The update rules, in float64, as in the papers. gradient and returned step: any shape, of one blob."""

    def __init__(self, kind: str) -> None:
        self.kind, self.a, self.b, self.t = kind, np.float64(0), np.float64(0), 0

    def step(self, g: Floats, rate: float) -> Floats:
        """What is subtracted from the blob."""
        self.t += 1
        if self.kind == "SGD":
            self.a = MOMENTUM * self.a + rate * g
            return np.asarray(self.a)
        if self.kind == "Nesterov":
            before = self.a
            self.a = MOMENTUM * before + rate * g
            return np.asarray((1 + MOMENTUM) * self.a - MOMENTUM * before)
        if self.kind == "AdaGrad":
            self.a = self.a + g**2
            return rate * g / (np.sqrt(self.a) + 1e-8)
        if self.kind == "RMSProp":
            self.a = 0.98 * self.a + 0.02 * g**2
            return rate * g / (np.sqrt(self.a) + 1e-8)
        if self.kind == "AdaDelta":
            self.a = MOMENTUM * self.a + (1 - MOMENTUM) * g**2
            update = np.sqrt((self.b + 1e-6) / (self.a + 1e-6)) * g
            self.b = MOMENTUM * self.b + (1 - MOMENTUM) * update**2
            return rate * update
        assert self.kind == "Adam"
        self.a = MOMENTUM * self.a + (1 - MOMENTUM) * g
        self.b = 0.999 * self.b + (1 - 0.999) * g**2
        corrected = self.a / (1 - MOMENTUM**self.t), self.b / (1 - 0.999**self.t)
        return rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)


SOLVERS = {
    "SGD": f"momentum: {MOMENTUM}",
    "Nesterov": f"momentum: {MOMENTUM}",
    "AdaGrad": "",
    "RMSProp": "rms_decay: 0.98",
    "AdaDelta": f"momentum: {MOMENTUM} delta: 1e-6",
    "Adam": f"momentum: {MOMENTUM}",
}


@pytest.fixture
def make_solver(tmp_path: Path) -> Callable[[str], Any]:
    """A function that makes a solver of least squares, 8 rows of 5 to 3, always from the same start."""

    def make(kind: str) -> Any:
        loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }'
        text = (
            input_layer("data", ROWS, INS) + input_layer("target", ROWS, OUTS) + inner_product("data", OUTS)
        )
        (tmp_path / "net.prototxt").write_text(text + loss)
        (tmp_path / "solver.prototxt").write_text(
            f'net: "{tmp_path}/net.prototxt" type: "{kind}" {SOLVERS[kind]} base_lr: {RATE} lr_policy: "inv"'
            f" gamma: 0.1 power: 0.75 weight_decay: {DECAY} max_iter: 100 random_seed: 5"
            f' snapshot_prefix: "{tmp_path}/s"'
        )
        solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
        random = np.random.default_rng(6)
        for name in ("data", "target"):
            solver.net.blobs[name].data[...] = random.standard_normal(solver.net.blobs[name].data.shape)
        return solver

    return make


@pytest.mark.parametrize("kind", list(SOLVERS))
def test_solvers_follow_their_formulas(kind: str, make_solver: Callable[[str], Any]) -> None:
    solver = make_solver(kind)
    assert type(solver).__name__ == f"{kind}Solver"
    data, target = (solver.net.blobs[name].data.astype(float) for name in ("data", "target"))
    weights, bias = parameters(solver.net)
    of_weights, of_bias = Formula(kind), Formula(kind)
    for iteration in range(6):
        rate = RATE * (1 + 0.1 * iteration) ** -0.75
        assert solver.lr == pytest.approx(rate, rel=1e-6)
        solver.step(1)
        error = (data @ weights.T + bias - target) / ROWS
        weights = weights - of_weights.step(error.T @ data + DECAY * weights, rate)
        bias = bias - of_bias.step(error.sum(0), 2 * rate)
        assert solver.iter == iteration + 1
        np.testing.assert_allclose(solver.net.params["ip"][0].data, weights, atol=2e-5)
        np.testing.assert_allclose(solver.net.params["ip"][1].data, bias, atol=2e-5)


@pytest.mark.parametrize("kind", list(SOLVERS))
def test_a_snapshot_is_gone_on_from(kind: str, make_solver: Callable[[str], Any], tmp_path: Path) -> None:
    whole = make_solver(kind)
    whole.step(3)
    whole.snapshot()
    whole.step(3)
    resumed = make_solver(kind)
    resumed.restore(str(tmp_path / "s_iter_3.solverstate"))
    assert resumed.iter == 3
    resumed.step(3)
    for ours, theirs in zip(parameters(resumed.net), parameters(whole.net), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_callbacks_come_before_and_after_each_iteration(make_solver: Callable[[str], Any]) -> None:
    solver, calls = make_solver("SGD"), []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients ready"))
    solver.step(2)
    assert calls == ["start", "gradients ready"] * 2


# --- NetSpec and coord_map ----------------------------------------------------------------------------------


def spec() -> Any:
    net = caffe.NetSpec()
    net.data, net.label = layers.DummyData(shape=[{"dim": [2, 3, 9, 9]}, {"dim": [2]}], ntop=2)
    net.conv = layers.Convolution(
        net.data,
        num_output=np.int64(4),
        kernel_size=np.int32(3),
        pad=1,
        param=[{"lr_mult": np.float32(0.5)}, {"lr_mult": 2}],
        weight_filler={"type": "xavier"},
    )
    net.relu = layers.ReLU(net.conv, in_place=True, negative_slope=0.25)
    net.pool = layers.Pooling(net.relu, pool=params.Pooling.AVE, kernel_size=3, stride=2)
    net["fc"] = layers.InnerProduct(net.pool, num_output=5)
    net.loss = layers.SoftmaxWithLoss(net.fc, net.label, include={"phase": caffe.TRAIN})
    return net


WRITTEN = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 0.5 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.25 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
  include { phase: TRAIN } }
"""


def test_netspec_writes_what_one_would_write_by_hand(make_net: MakeNet) -> None:
    message = spec().to_proto()
    assert message == text_format.Parse(WRITTEN, caffe_pb2.NetParameter())
    again = text_format.Parse(text_format.MessageToString(message), caffe_pb2.NetParameter())
    assert again == message
    net = make_net(str(message))
    assert net.blobs["pool"].data.shape == (2, 4, 4, 4)
    net.forward()  # of zeros: the fc layer's output is 0, so all 5 classes are as likely
    assert net.blobs["loss"].data == pytest.approx(np.log(5), rel=1e-5)


def test_netspec_names_what_has_none() -> None:
    data = layers.Input(shape={"dim": [1, 2]})
    message = caffe.to_proto(layers.ReLU(layers.ReLU(data)))
    assert [layer.name for layer in message.layer] == ["Input1", "ReLU1", "ReLU2"]
    assert message.layer[0].input_param.shape[0].dim == [1, 2]
    with pytest.raises(TypeError, match="input 0 is not a Top"):
        layers.ReLU("data")


def test_a_crop_lines_up_what_padding_moved(make_net: MakeNet) -> None:
    net = caffe.NetSpec()
    net.data = layers.Input(shape={"dim": [1, 1, 12, 12]})
    one = {"num_output": 1, "bias_term": False, "weight_filler": {"type": "constant", "value": 1}}
    net.wide = layers.Convolution(net.data, kernel_size=1, pad=5, **one)
    net.cut = caffe.coord_map.crop(net.wide, net.data)
    message = net.to_proto()
    assert message.layer[-1].crop_param == caffe_pb2.CropParameter(axis=2, offset=[5])
    built = make_net(str(message))
    picture = np.random.default_rng(1).standard_normal((1, 1, 12, 12)).astype(np.float32)
    np.testing.assert_array_equal(built.forward(data=picture)["cut"], picture)


# --- caffe.io -----------------------------------------------------------------------------------------------


def stretched(picture: Floats, height: int, width: int, outside: float) -> Floats:
    """Bilinear interpolation at pixel centres, (H, W, K) to (height, width, K); `outside` surrounds it."""
    h, w = picture.shape[:2]
    bordered = np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=outside)
    rows = (np.arange(height) + 0.5) * h / height - 0.5 + 1
    columns = (np.arange(width) + 0.5) * w / width - 0.5 + 1
    r, c = np.floor(rows).astype(int), np.floor(columns).astype(int)
    fr, fc = (rows - r)[:, None, None], (columns - c)[None, :, None]
    upper = bordered[r][:, c] * (1 - fc) + bordered[r][:, c + 1] * fc
    lower = bordered[r + 1][:, c] * (1 - fc) + bordered[r + 1][:, c + 1] * fc
    return np.asarray(upper * (1 - fr) + lower * fr)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(14, 20), (5, 4), (3, 17)], ids=["larger", "smaller", "both"])
def test_resizing_is_bilinear_and_does_not_smooth(size: tuple[int, int], channels: int) -> None:
    picture = np.random.default_rng(2).uniform(-3, 5, (7, 10, channels))
    resized = caffe.io.resize_image(picture.astype(np.float32), size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, stretched(picture, *size, outside=picture.min()), atol=1e-5)


def test_resizing_other_numbers_of_channels_keeps_the_corners() -> None:
    picture = np.random.default_rng(3).uniform(0, 1, (4, 6, 2))
    resized = caffe.io.resize_image(picture, (7, 11))
    assert resized.shape == (7, 11, 2)
    np.testing.assert_allclose(resized[::2, ::2], picture, atol=1e-6)  # every other sample is an old one
    np.testing.assert_allclose(resized[1::2, ::2], (picture[1:] + picture[:-1]) / 2, atol=1e-6)


def test_resizing_a_plain_picture() -> None:
    np.testing.assert_array_equal(
        caffe.io.resize_image(np.full((4, 4, 3), 0.3, np.float32), (2, 5)), np.float32(0.3)
    )


@pytest.mark.parametrize("kind", ["rgb", "rgba", "gray", "gray16"])
def test_pictures_are_loaded_between_0_and_1(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    shape = {"rgb": (6, 5, 3), "rgba": (6, 5, 4)}.get(kind, (6, 5))
    top = 65535 if kind == "gray16" else 255
    pixels = random.integers(0, top + 1, shape, dtype=np.uint16 if kind == "gray16" else np.uint8)
    if kind == "rgba":
        pixels[..., 3] = 255
    skimage.io.imsave(tmp_path / "x.png", pixels, check_contrast=False)
    whole = pixels / top
    colour = np.repeat(whole[..., None], 3, axis=2) if whole.ndim == 2 else whole[..., :3]
    loaded = caffe.io.load_image(str(tmp_path / "x.png"))
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, colour, atol=1e-6)
    gray = whole if whole.ndim == 2 else whole[..., :3] @ [0.2125, 0.7154, 0.0721]
    np.testing.assert_allclose(
        caffe.io.load_image(str(tmp_path / "x.png"), color=False), gray[..., None], atol=1e-6
    )


@pytest.fixture
def transformer() -> Any:
    """RGB in [0, 1], any size, to BGR of 4x6, minus a mean, a quarter of it."""
    made = caffe.io.Transformer({"data": (1, 3, 4, 6)})
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (2, 1, 0))
    made.set_raw_scale("data", 255)
    made.set_mean("data", np.array([10.0, 20.0, 30.0]))
    made.set_input_scale("data", 0.25)
    return made


@pytest.mark.parametrize("size", [(4, 6), (9, 5)], ids=["as it is", "resized"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_transformer(size: tuple[int, int], kind: type, transformer: Any) -> None:
    picture = np.random.default_rng(6).uniform(0, 1, (*size, 3)).astype(kind)
    before = picture.copy()
    ready = transformer.preprocess("data", picture)
    np.testing.assert_array_equal(picture, before)
    same = picture if size == (4, 6) else stretched(picture, 4, 6, outside=float(picture.min()))
    means = (10.0, 20.0, 30.0)
    by_hand = [(255 * same[:, :, 2 - channel] - means[channel]) / 4 for channel in range(3)]
    np.testing.assert_allclose(ready, by_hand, atol=1e-4)
    np.testing.assert_allclose(transformer.deprocess("data", ready[None]), same, atol=1e-5)


def test_transformer_alone_changes_nothing_it_is_given() -> None:
    plain = caffe.io.Transformer({"data": (1, 3, 4, 6)})
    plain.set_raw_scale("data", 255)
    picture = np.full((4, 6, 3), 0.5, np.float32)
    assert (plain.preprocess("data", picture) == 127.5).all()
    assert (picture == 0.5).all()


def test_means_of_several_shapes(transformer: Any) -> None:
    whole = np.random.default_rng(7).uniform(0, 255, (3, 4, 6))
    transformer.set_mean("data", whole)
    np.testing.assert_array_equal(transformer.mean["data"], whole)
    larger = np.random.default_rng(8).uniform(0, 255, (3, 8, 12))
    transformer.set_mean("data", larger)
    # Half as large: each pixel lies between four.
    by_hand = larger.reshape(3, 4, 2, 6, 2).mean((2, 4))
    np.testing.assert_allclose(transformer.mean["data"], by_hand, atol=1e-3)
    with pytest.raises(ValueError, match="Mean channels"):
        transformer.set_mean("data", np.zeros(2))
    with pytest.raises(Exception, match="not one of the net inputs"):
        transformer.set_mean("other", np.zeros(3))


def test_blobs_become_messages_and_arrays_again() -> None:
    random = np.random.default_rng(9)
    array, diff = random.standard_normal((2, 3, 5)), random.standard_normal((2, 3, 5))
    message = caffe_pb2.BlobProto.FromString(caffe.io.array_to_blobproto(array, diff).SerializeToString())
    np.testing.assert_allclose(caffe.io.blobproto_to_array(message), array, rtol=1e-6)
    np.testing.assert_allclose(caffe.io.blobproto_to_array(message, return_diff=True), diff, rtol=1e-6)
    old = caffe_pb2.BlobProto(num=1, channels=2, height=2, width=1, data=[1, 2, 3, 4])
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(old), [[[[1], [2]], [[3], [4]]]])
    pair = [array, random.standard_normal(4)]
    back = caffe.io.blobprotovector_str_to_arraylist(caffe.io.arraylist_to_blobprotovector_str(pair))
    for ours, theirs in zip(back, pair, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_datums(kind: type, make_net: MakeNet) -> None:
    array = np.random.default_rng(10).integers(0, 256, (3, 5, 4)).astype(kind)
    datum = caffe_pb2.Datum.FromString(caffe.io.array_to_datum(array, label=np.int64(7)).SerializeToString())
    assert (datum.channels, datum.height, datum.width, datum.label) == (3, 5, 4, 7)
    assert datum.data == (array.tobytes() if kind is np.uint8 else b"")
    back = caffe.io.datum_to_array(datum)
    np.testing.assert_array_equal(back, array)
    back[0] = 0  # an array of one's own
    with pytest.raises(ValueError, match="Incorrect array shape"):
        caffe.io.array_to_datum(array[0])


# --- Classifier and Detector --------------------------------------------------------------------------------

MEAN = np.array([0.2, 0.1, 0.3])


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


@pytest.fixture
def deploy(tmp_path: Path) -> tuple[str, str]:
    """A net of batches of 4 BGR pictures of 8x8 to 5 classes, and its weights."""
    text = input_layer("data", 4, 3, 8, 8) + inner_product("data", 5)
    text += 'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }'
    (tmp_path / "deploy.prototxt").write_text(text)
    caffe.set_random_seed(3)
    caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    return str(tmp_path / "deploy.prototxt"), str(tmp_path / "w.caffemodel")


def classes(net: Any, crop: Floats) -> Floats:
    """What the net should say to an RGB crop (8, 8, 3), preprocessed with MEAN and input scale 2."""
    weights, bias = parameters(net)
    ready = 2 * (crop[:, :, ::-1] - MEAN).transpose(2, 0, 1)
    return softmax(weights @ ready.ravel() + bias)


def options() -> dict[str, Any]:
    return {"mean": MEAN, "input_scale": 2, "channel_swap": (2, 1, 0)}


def test_classifier_averages_ten_crops(deploy: tuple[str, str]) -> None:
    net = caffe.Classifier(*deploy, image_dims=(12, 14), **options())
    pictures = list(np.random.default_rng(11).uniform(0, 1, (3, 12, 14, 3)).astype(np.float32))
    said = net.predict(pictures)
    assert said.shape == (3, 5)
    for picture, probabilities in zip(pictures, said, strict=True):
        # The corners and the middle: 4 rows and 6 columns are left over.
        crops = [picture[y : y + 8, x : x + 8] for y, x in [(0, 0), (0, 6), (4, 0), (4, 6), (2, 3)]]
        crops += [crop[:, ::-1] for crop in crops]
        np.testing.assert_allclose(
            probabilities, np.mean([classes(net, crop) for crop in crops], 0), atol=1e-5
        )


def test_classifier_takes_the_middle(deploy: tuple[str, str]) -> None:
    net = caffe.Classifier(*deploy, image_dims=(12, 14), **options())
    picture = np.random.default_rng(12).uniform(0, 1, (24, 30, 3)).astype(np.float32)
    small = stretched(picture, 12, 14, outside=float(picture.min()))
    said = net.predict([picture], oversample=False)
    np.testing.assert_allclose(said, [classes(net, small[2:10, 3:11])], atol=1e-4)


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Floats]:
    """Two pictures, in files, by path."""
    found = {}
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        skimage.io.imsave(tmp_path / f"{number}.png", pixels, check_contrast=False)
        found[str(tmp_path / f"{number}.png")] = pixels / 255
    return found


@pytest.mark.parametrize("kind", ["lists", "arrays", "floats", "iterators"])
def test_detector_classifies_windows(kind: str, deploy: tuple[str, str], photos: dict[str, Floats]) -> None:
    net = caffe.Detector(*deploy, **options())
    windows: list[Any] = [[2, 3, 10, 11], [12, 22, 20, 30], [0, 0, 8, 8]]
    asked: Any = [(path, windows) for path in photos]
    if kind in ("arrays", "floats"):
        asked = [(path, np.array(windows, int if kind == "arrays" else float)) for path in photos]
    elif kind == "iterators":
        asked = zip(photos, (iter(windows) for _ in photos), strict=True)
    said = net.detect_windows(asked)
    pairs = list(itertools.product(photos.items(), windows))
    assert len(said) == len(pairs) == 6
    for one, ((path, photo), window) in zip(said, pairs, strict=True):
        assert one["filename"] == path
        assert list(one["window"]) == window
        y1, x1, y2, x2 = window
        np.testing.assert_allclose(one["prediction"], classes(net, photo[y1:y2, x1:x2]), atol=1e-5)


def context(size: int, pad: int) -> Iterator[tuple[list[int], tuple[slice, slice], tuple[slice, slice]]]:
    """Windows of 12x12 in a picture of 40x50; what they take of it for 16x16 with 2 pixels of context, and
    where that goes: enlarged by 16 / 12 around (y1 + 6, x1 + 6), that is 8 to each side.
    """
    assert (size, pad) == (16, 2)
    whole = slice(0, 16)
    yield [10, 20, 21, 31], (slice(8, 24), slice(18, 34)), (whole, whole)
    # At the top 2 rows are missing, at the left 2 columns.
    yield [0, 20, 11, 31], (slice(0, 14), slice(18, 34)), (slice(2, 16), whole)
    yield [10, 0, 21, 11], (slice(8, 24), slice(0, 14)), (whole, slice(2, 16))
    yield [0, 0, 11, 11], (slice(0, 14), slice(0, 14)), (slice(2, 16), slice(2, 16))


@pytest.mark.parametrize("number", range(4), ids=["inside", "top", "left", "corner"])
@pytest.mark.parametrize(
    "kind", [list, np.array, lambda window: np.array(window, float)], ids=["list", "int", "float"]
)
def test_detector_takes_context_along(number: int, kind: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "n").write_text(input_layer("data", 1, 3, 16, 16) + inner_product("data", 2))
    caffe.Net(str(tmp_path / "n"), caffe.TEST).save(str(tmp_path / "w"))
    means = np.array([30.0, 20.0, 10.0])
    net = caffe.Detector(
        str(tmp_path / "n"),
        str(tmp_path / "w"),
        mean=means,
        raw_scale=255,
        channel_swap=(2, 1, 0),
        context_pad=2,
    )
    photo = np.random.default_rng(13).uniform(0, 1, (40, 50, 3)).astype(np.float32)
    window, taken, place = list(context(16, 2))[number]
    by_hand = np.tile(np.float32(means[::-1] / 255), (16, 16, 1))  # outside is the mean, as RGB in [0, 1]
    by_hand[place] = photo[taken]
    crop = net.crop(photo, kind(window))
    np.testing.assert_allclose(crop, by_hand, atol=1e-6)
    # To the net the outside is 0.
    outside = np.ones((16, 16), bool)
    outside[place] = False
    ready = net.transformer.preprocess("data", crop)
    assert np.abs(ready[:, outside]).max(initial=0) < 1e-4


def test_detector_without_a_mean_pads_with_zeros(deploy: tuple[str, str]) -> None:
    net = caffe.Detector(*deploy, context_pad=1)
    photo = np.random.default_rng(14).uniform(0.5, 1, (40, 50, 3)).astype(np.float32)
    crop = net.crop(photo, [0, 0, 5, 5])  # of 6x6, enlarged to 8x8: one row and one column are missing
    by_hand = np.zeros((8, 8, 3), np.float32)
    by_hand[1:, 1:] = photo[:7, :7]
    np.testing.assert_allclose(crop, by_hand, atol=1e-6)


# --- draw ---------------------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def drawn(message: Any, rankdir: str = "LR", **options: Any) -> tuple[list[str], set[tuple[str, str]]]:
    """The nodes, each as its text, and the edges between them, in a net's SVG."""
    root = ElementTree.fromstring(caffe.draw.draw_net(message, rankdir, "svg", **options))
    nodes, edges = {}, set()
    for group in root.iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title") or ""
        if group.get("class") == "node":
            nodes[title] = " ".join(text.text or "" for text in group.iter(f"{SVG}text"))
        elif group.get("class") == "edge":
            ends = title.split("->")
            edges.add((ends[0], ends[1]))
    return list(nodes.values()), {(nodes[a], nodes[b]) for a, b in edges}


def test_a_drawing_has_the_layers_and_what_flows() -> None:
    nodes, edges = drawn(spec().to_proto())
    conv = "conv (Convolution) kernel size: 3 stride: 1 pad: 1"
    pool = "pool (Pooling AVE) kernel size: 3 stride: 2 pad: 0"
    fc, loss = "fc (InnerProduct)", "loss (SoftmaxWithLoss)"
    made = {"data (DummyData)", conv, "relu (ReLU)", pool, fc, loss}
    assert set(nodes) == made | {"data", "label", "conv", "pool", "fc", "loss"}
    assert len(nodes) == 12
    assert edges == {
        ("data (DummyData)", "data"), ("data (DummyData)", "label"), ("data", conv), (conv, "conv"),
        ("conv", "relu (ReLU)"), ("relu (ReLU)", "conv"), ("conv", pool), (pool, "pool"), ("pool", fc),
        (fc, "fc"), ("fc", loss), ("label", loss), (loss, "loss"),
    }  # fmt: skip


def test_a_drawing_of_one_phase_with_learning_rates() -> None:
    nodes, _ = drawn(spec().to_proto(), "TB", phase=caffe.TEST, display_lrm=True)
    assert not any("loss" in node for node in nodes)
    assert "conv (Convolution) kernel size: 3 stride: 1 pad: 1 lr mult: 0.5, 2.0" in nodes
    assert "fc (InnerProduct) lr mult: 1.0, 1.0" in nodes


def test_a_drawing_in_a_file(tmp_path: Path) -> None:
    caffe.draw.draw_net_to_file(spec().to_proto(), str(tmp_path / "net.png"), "TB")
    picture = skimage.io.imread(tmp_path / "net.png")
    assert picture.shape[0] > picture.shape[1] > 100  # from top to bottom
    colours = {tuple(pixel[:3]) for pixel in picture.reshape(-1, picture.shape[2])}
    # Convolution, pooling, inner product, a layer in place.
    assert {(0xFF, 0x50, 0x50), (0xFF, 0x99, 0x00), (0xCC, 0x33, 0xFF), (0x90, 0xEE, 0x90)} <= colours


@pytest.mark.parametrize(
    "name",
    ["a:0", "incep/1x1", "node", "1", "two words", "a-b", "a,b", 'say "a"', "a|b", "{a}", "<a>", "a\\b"],
)
def test_a_drawing_of_any_name(name: str) -> None:
    message = caffe_pb2.NetParameter(name=name)
    message.layer.add(name=name, type="ReLU", bottom=[name], top=["out"])
    nodes, edges = drawn(message)
    assert sorted(nodes) == sorted([name, f"{name} (ReLU)", "out"])
    assert len(edges) == 2


def test_libraries_for_images_are_imported_when_they_are_needed(run_python: Callable[..., Any]) -> None:
    """They take longer than all else of a program's start."""
    code = "import sys, caffe; print([name for name in ('scipy', 'skimage') if name in sys.modules])"
    assert run_python(code).stdout == "[]\n"
