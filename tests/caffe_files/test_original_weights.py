"""Weights as the reference's author has them, read by layer names: pycaffe, our engine, ONNX export."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as samples

from facealign.crops.model_spec import ModelSpec
from facealign.crops.published import published_crop, published_landmarks
from facealign.engines.caffe import CaffeEngine
from facealign.engines.onnx import OnnxEngine
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from tests import original_files

ROOT = Path(__file__).parents[2]
PROTOTXT = ROOT / "prototxt"
NETS = {
    "mobilenet_v2": (
        original_files.mobilenet_deploy(),
        PROTOTXT / "mobilenet_v2" / "stage2",
        "fc4",
        (64, 64),
    ),
    "vgg_shadow": (original_files.vgg_shadow_deploy(), PROTOTXT / "vgg_shadow", "fc2", (70, 60)),
}
V1_TYPES = {
    "Convolution": "CONVOLUTION",
    "ReLU": "RELU",
    "Pooling": "POOLING",
    "InnerProduct": "INNER_PRODUCT",
    "Dropout": "DROPOUT",
    "HDF5Data": "HDF5_DATA",
    "EuclideanLoss": "EUCLIDEAN_LOSS",
}
# Field 301, a string: one of the some sixty messages that the fork adds to LayerParameter.
UNKNOWN = b"\xea\x12\x03abc"


def random_blobs(name, kind, shapes, rng):
    """Weights such as training leaves behind; BatchNorm's are sums over `factor` batches."""
    if kind == "BatchNorm":
        factor = 99.95
        return [rng.normal(0, 0.2, shapes[0]) * factor, rng.uniform(0.5, 2, shapes[1]) * factor, [factor]]
    if kind == "Scale":
        return [rng.uniform(0.5, 1.5, shapes[0]), rng.normal(0, 0.1, shapes[1])]
    if name in ("fc2", "fc4") and shapes[0][0] == 136:
        return [rng.normal(0, 0.02, shapes[0]), rng.uniform(0.2, 0.8, shapes[1])]
    gain = 1 if kind == "InnerProduct" else 2
    arrays = [rng.normal(0, np.sqrt(gain / np.prod(shapes[0][1:])), shapes[0])]
    return arrays + [rng.normal(0, 0.1, shape) for shape in shapes[1:]]


def fill_old(blob, values):
    """In the manner of old: always four sides, the missing ones in front."""
    values = np.asarray(values, dtype=np.float32)
    sides = [1] * (4 - values.ndim) + list(values.shape)
    blob.num, blob.channels, blob.height, blob.width = sides
    blob.data.extend(values.ravel().tolist())


def extra_layers(messages, network):
    """The train net's layers before and behind the trunk."""
    data = "ImageFloatData" if network == "mobilenet_v2" else "HDF5Data"
    front = [
        messages.LayerParameter(name="data", type=data, top=["data", "landmark"]),
        messages.LayerParameter(name="data", type="Noise", bottom=["data"], top=["data"]),
    ]
    loss = messages.LayerParameter(
        name="loss", type="WeightEuclideanLoss", bottom=["fc", "landmark"], top=["loss"]
    )
    return front, [loss]


def write_author_s(folder, network, v1=False):
    """(the caffemodel, layer -> arrays that are in it, the original's deploy net as a file).

    v1: in the format before layers had their types by name.
    """
    text, _, _, _ = NETS[network]
    deploy = folder / "deploy.prototxt"
    deploy.write_text(text)
    caffe = import_caffe()
    messages = caffe.proto.caffe_pb2
    net = caffe.Net(str(deploy), caffe.TEST)
    kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
    rng = np.random.default_rng(5)
    arrays = {
        name: [
            np.asarray(values, np.float32).reshape(blob.data.shape)
            for values, blob in zip(
                random_blobs(name, kinds[name], [blob.data.shape for blob in blobs], rng), blobs, strict=True
            )
        ]
        for name, blobs in net.params.items()
    }
    front, back = extra_layers(messages, network)
    trunk = [messages.LayerParameter(name=name, type=kind) for name, kind in kinds.items() if kind != "Input"]
    model = messages.NetParameter(name="a name of its own")
    for layer in [*front, *trunk, *back]:
        if v1:
            if layer.type not in V1_TYPES:  # they did not exist then
                continue
            target = model.layers.add(name=layer.name, top=layer.top, bottom=layer.bottom)
            target.type = messages.V1LayerParameter.LayerType.Value(V1_TYPES[layer.type])
        else:
            model.layer.add().MergeFrom(layer)
            target = model.layer[-1]
            target.MergeFromString(UNKNOWN)
        for values in arrays.get(layer.name, []) if layer in trunk else []:
            fill_old(target.blobs.add(), values)
    path = folder / "step2_1_iter_600000.caffemodel"
    path.write_bytes(model.SerializeToString())
    assert v1 or UNKNOWN in path.read_bytes()
    return path, arrays, deploy


@pytest.fixture(scope="module", params=[("mobilenet_v2", False), ("vgg_shadow", False), ("vgg_shadow", True)])
def author_s(request, tmp_path_factory):
    """(network, and what write_author_s returns)."""
    return request.param[0], *write_author_s(tmp_path_factory.mktemp("author"), *request.param)


def uniform(n, size, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 3, *size)).astype(np.float32)


def in_pycaffe(deploy, weights, pictures):
    """(the net with its weights, its output) by copy_from and the original's own deploy net."""
    caffe = import_caffe()
    net = caffe.Net(str(deploy), caffe.TEST)
    net.copy_from(str(weights))
    net.blobs["data"].reshape(*pictures.shape)
    net.reshape()
    net.blobs["data"].data[...] = pictures
    (values,) = net.forward().values()
    return net, values.copy()


def test_pycaffe_copies_them_by_name(author_s):
    _, weights, arrays, deploy = author_s
    caffe = import_caffe()
    net = caffe.Net(str(deploy), caffe.TEST)
    net.copy_from(str(weights))
    assert set(net.params) == set(arrays)
    for name, blobs in net.params.items():
        for blob, values in zip(blobs, arrays[name], strict=True):
            np.testing.assert_array_equal(blob.data, values)


def test_the_original_s_net_in_pycaffe_and_ours_in_the_engine_agree(author_s):
    network, weights, _, deploy = author_s
    _, ours, output, size = NETS[network]
    pictures = uniform(5, size)
    _, expected = in_pycaffe(deploy, weights, pictures)
    found = CaffeEngine(ours / "deploy.prototxt", weights).forward({"data": pictures})[output]
    # The pictures' answers must differ by much more than the allowed error.
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(
        CaffeEngine(deploy, weights).forward({"data": pictures})[output], expected, atol=1e-4, rtol=0
    )


def export(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/export_onnx.py"), *map(str, arguments)],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_export_gives_what_the_original_s_net_gives(author_s, tmp_path):
    network, weights, _, deploy = author_s
    _, _, output, size = NETS[network]
    made = tmp_path / "author.onnx"
    if network == "mobilenet_v2":
        done = export("--weights", weights, "--published", "--output", made, cwd=tmp_path)
    else:
        spec = ModelSpec(
            network=network, deploy=str(deploy), output_name=output, input_height=70, input_width=60
        )
        described = tmp_path / "author.json"
        described.write_text(spec.to_json())
        (tmp_path / "author.caffemodel").write_bytes(weights.read_bytes())
        done = export("--weights", "author.caffemodel", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    pictures = uniform(5, size)
    _, expected = in_pycaffe(deploy, weights, pictures)
    found = OnnxEngine(made).forward({"data": pictures})[output]
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_the_aligner_takes_them_with_nothing_beside_them(tmp_path):
    weights, _, deploy = write_author_s(tmp_path, "mobilenet_v2")
    photo = cv2.cvtColor(samples.astronaut(), cv2.COLOR_RGB2BGR)
    boxes = np.array([[170.0, 70.0, 280.0, 190.0], [3.0, -8.0, 130.0, 140.0]])
    expected = []
    for box in boxes:
        crop, record = published_crop(photo, box + 1)
        _, values = in_pycaffe(deploy, weights, ((crop - 127.5) / 128).transpose(2, 0, 1)[None])
        expected.append(published_landmarks(values[0], record))
    found = FaceAligner.open(weights, "caffe", detector=False, published=True).landmarks_in(photo, boxes)
    # A 64x64 crop shows about twice as many pixels: 1e-4 of it is 0.02 of them.
    np.testing.assert_allclose(found, expected, atol=0.02)

    done = export("--weights", weights, "--published", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # The file says itself how to crop.
    made = weights.with_suffix(".onnx")
    assert str(tmp_path).encode() not in made.read_bytes()
    for published in (False, True):
        aligner = FaceAligner.open(made, "onnx", detector=False, published=published)
        np.testing.assert_allclose(aligner.landmarks_in(photo, boxes), expected, atol=0.02)


def test_without_published_they_are_refused_with_the_remedy(tmp_path):
    weights, _, _ = write_author_s(tmp_path, "mobilenet_v2")
    with pytest.raises(FaceAlignError, match=r"step2_1_iter_600000\.caffemodel: .*--published"):
        FaceAligner.open(weights, "caffe", detector=False)
    done = export("--weights", weights, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {weights}: ")
    assert "--published" in done.stderr
    assert done.stderr.count("\n") == 1
