"""Reading nets and weights: what Caffe wrote, and every way in which a file can be wrong."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facealign.caffe_files.caffemodel import (
    blobs_of,
    expected_shapes,
    matching_weights,
    read_weights,
    with_weights,
)
from facealign.caffe_files.proto import caffe_pb2
from facealign.caffe_files.prototxt import layer_lines, read_deploy, read_net
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError
from facealign.networks import mobilenet_v2, mtcnn, vgg_shadow
from tests.random_weights import fill, in_caffe

NETS = {
    "mobilenet_v2": mobilenet_v2.deploy(),
    "vgg_shadow": vgg_shadow.deploy(),
    **{name: mtcnn.deploy(name) for name in mtcnn.NETS},
}


def refused(call, path):
    """What the one line says after the file with which it begins, as that path holds the test's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FaceAlignError) as caught:
            call()
    message = str(caught.value)
    assert is_one_line(message, path)
    return message.removeprefix(str(path))


def is_one_line(message, path):
    beginning = re.match(rf"{re.escape(str(path))}(, line \d+)?: ", message)
    return beginning is not None and len(message.splitlines()) == 1


def result_or_line(call, path):
    """What the call returns; None when it was refused in one line. Any other exception is a fault."""
    try:
        return call()
    except FaceAlignError as error:
        if not is_one_line(str(error), path):
            raise
        return None


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(path, bytes) of a caffemodel that Caffe itself wrote, and the arrays it had."""
    folder = tmp_path_factory.mktemp("saved")
    net = in_caffe(folder, NETS["mobilenet_v2"], fill(NETS["mobilenet_v2"], np.random.default_rng(0)))
    path = folder / "saved.caffemodel"
    net.save(str(path))
    arrays = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
    return path, path.read_bytes(), arrays


def test_a_caffemodel_saved_by_caffe_gives_its_arrays(saved):
    path, _, arrays = saved
    read = read_weights(path)
    assert read.keys() == arrays.keys()
    for name, blobs in read.items():
        for ours, theirs in zip(blobs, arrays[name], strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", NETS)
def test_expected_shapes_are_what_caffe_allocates(name, tmp_path):
    net = in_caffe(tmp_path, NETS[name])
    allocated = {layer: [tuple(blob.data.shape) for blob in blobs] for layer, blobs in net.params.items()}
    assert expected_shapes(NETS[name], name) == allocated


def test_caffe_loads_what_with_weights_makes(tmp_path):
    rng = np.random.default_rng(1)
    shapes = expected_shapes(NETS["onet"], "onet")
    blobs = {name: [rng.normal(size=shape).astype(np.float32) for shape in of] for name, of in shapes.items()}
    net = in_caffe(tmp_path, NETS["onet"], with_weights(NETS["onet"], blobs))
    for name, arrays in blobs.items():
        for values, blob in zip(arrays, net.params[name], strict=True):
            np.testing.assert_array_equal(blob.data, values)


def test_weights_match_by_name_whatever_else_the_file_has(saved):
    """As after training: the file has layers that the deploy net has not, in another order."""
    _, content, arrays = saved
    message = caffe_pb2.NetParameter.FromString(content)
    message.layer.add(name="landmarkloss").blobs.add(data=[1.0]).shape.dim.append(1)
    layers = list(message.layer)[::-1]
    turned = caffe_pb2.NetParameter(layer=layers)
    matched = matching_weights(NETS["mobilenet_v2"], blobs_of(turned, "x"), "net", "x")
    assert matched.keys() == arrays.keys()
    np.testing.assert_array_equal(matched["fc4"][0], arrays["fc4"][0])


def legacy(values):
    """A blob as the oldest files have it: four sides, none of them left out."""
    sides = (1,) * (4 - values.ndim) + values.shape
    num, channels, height, width = sides
    return caffe_pb2.BlobProto(num=num, channels=channels, height=height, width=width, data=values.ravel())


@pytest.mark.parametrize("field", ["layer", "layers"])
def test_old_files_have_four_sides_and_are_read_as_caffe_reads_them(field, tmp_path):
    deploy = NETS["rnet"]
    weights = blobs_of(fill(deploy, np.random.default_rng(2)), "x")
    old = caffe_pb2.NetParameter()
    for name, arrays in weights.items():
        getattr(old, field).add(name=name, blobs=[legacy(values) for values in arrays])
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    matched = matching_weights(deploy, read_weights(path), "rnet", str(path))
    for name, arrays in matched.items():
        for ours, values in zip(arrays, weights[name], strict=True):
            np.testing.assert_array_equal(ours, values)
    if field == "layer":
        net = in_caffe(tmp_path / "caffe", deploy, old)
        np.testing.assert_array_equal(net.params["conv5-1"][0].data, matched["conv5-1"][0])


def test_double_weights_are_read_as_floats(tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(name="a").blobs.add(double_data=[0.1, 1e-50]).shape.dim.append(2)
    (values,) = blobs_of(net, "x")["a"]
    np.testing.assert_array_equal(values, np.array([0.1, 0], np.float32))


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.caffemodel"
    assert "no such file" in refused(lambda: read_weights(path), path)
    assert "no such file" in refused(lambda: read_net(path), path)


def test_a_folder_is_named(tmp_path):
    assert "folder" in refused(lambda: read_weights(tmp_path), tmp_path)
    refused(lambda: read_net(tmp_path), tmp_path)


def test_an_empty_file_is_named(tmp_path):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert "no layer" in refused(lambda: read_weights(path), path)
    assert "no layer" in refused(lambda: read_net(path), path)


def test_an_onnx_file_is_named_as_one():
    path = Path(__file__).parents[2] / "models" / "mobilenet_v2_stage1.onnx"
    assert "an ONNX file; expected a .caffemodel" in refused(lambda: read_weights(path), path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_truncated_caffemodel_is_never_taken_for_whole(share, saved, tmp_path):
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(saved[1][: int(len(saved[1]) * share)])
    refused(lambda: matching_weights(NETS["mobilenet_v2"], read_weights(path), "net", str(path)), path)


def test_a_caffemodel_cut_between_two_layers_lacks_a_layer(saved, tmp_path):
    """Such a piece is a valid message: only the net knows that something is missing."""
    message = caffe_pb2.NetParameter.FromString(saved[1])
    del message.layer[40:]
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(message.SerializeToString())
    weights = read_weights(path)
    assert "no weights for layer" in refused(
        lambda: matching_weights(NETS["mobilenet_v2"], weights, "net", str(path)), path
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80))
def test_random_bytes_are_refused_in_one_line(content, tmp_path):
    path = tmp_path / "noise.caffemodel"
    path.write_bytes(content)
    refused(lambda: matching_weights(NETS["pnet"], read_weights(path), "net", str(path)), path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_weights_or_one_line(data, tmp_path):
    """A changed byte may be a changed weight; all else must be noticed, and never as another exception."""
    content = bytearray(fill(NETS["pnet"], np.random.default_rng(3)).SerializeToString())
    # Most bytes are weights: aim at the structure, which is at the beginnings of layers.
    starts = [match.start() for match in re.finditer(rb"conv|prelu|prob|data", bytes(content))]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(starts)) + data.draw(st.integers(-8, 90))
        content[place % len(content)] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.caffemodel"
    path.write_bytes(content)
    matched = result_or_line(
        lambda: matching_weights(NETS["pnet"], read_weights(path), "net", str(path)), path
    )
    if matched is not None:
        shapes = {name: [values.shape for values in arrays] for name, arrays in matched.items()}
        assert shapes == expected_shapes(NETS["pnet"], "pnet")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_prototxt_gives_a_net_or_one_line(data, tmp_path):
    text = text_format.MessageToString(NETS["pnet"])
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, len(text)))
        replaced = data.draw(st.integers(0, 20))
        text = text[:start] + data.draw(st.text(max_size=4)) + text[start + replaced :]
    path = tmp_path / "damaged.prototxt"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    shapes = result_or_line(lambda: expected_shapes(read_net(path), str(path)), path)
    if shapes is not None:
        assert all(min(shape, default=1) > 0 for of in shapes.values() for shape in of)


@pytest.mark.parametrize(
    ("other", "net", "message"),
    [
        ("rnet", "onet", "layer 'conv1' has weights [(28, 3, 3, 3), (28,)]"),
        ("mobilenet_v2", "rnet", "layer 'conv1' has weights [(16, 3, 3, 3), (16,)]"),
        ("mobilenet_v2", "vgg_shadow", "no weights for layer 'conv11'"),
    ],
)
def test_a_caffemodel_of_another_net_is_refused_by_the_layer(other, net, message):
    weights = blobs_of(fill(NETS[other], np.random.default_rng(4)), "x")
    found = refused(lambda: matching_weights(NETS[net], weights, f"{net}.prototxt", "w"), "w")
    assert message in found
    assert f"{net}.prototxt" in found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_weights_that_are_not_finite_are_refused_by_the_layer(value, tmp_path):
    net = fill(NETS["pnet"], np.random.default_rng(5))
    blob = net.layer[5].blobs[0]
    if value == 1e300:
        values = list(blob.data)
        del blob.data[:]
        blob.double_data.extend([*values[:-1], value])
    else:
        blob.data[3] = value
    path = tmp_path / "nan.caffemodel"
    path.write_bytes(net.SerializeToString())
    message = refused(lambda: read_weights(path), path)
    assert repr(net.layer[5].name) in message
    assert "finite" in message


@pytest.mark.parametrize("dims", [[2, 3], [5], [-1, -4], [2**62, 2**62], [0], [4, 1, 2]], ids=str)
def test_numbers_that_do_not_fill_their_shape_are_refused(dims, tmp_path):
    net = caffe_pb2.NetParameter()
    net.layer.add(name="a layer").blobs.add(data=[1, 2, 3, 4]).shape.dim.extend(dims)
    path = tmp_path / "shape.caffemodel"
    path.write_bytes(net.SerializeToString())
    message = refused(lambda: read_weights(path), path)
    assert "'a layer'" in message
    assert str(dims) in message


def test_as_many_numbers_in_another_shape_are_refused():
    weights = blobs_of(fill(NETS["pnet"], np.random.default_rng(6)), "x")
    weights["conv2"][0] = weights["conv2"][0].transpose(1, 0, 2, 3)
    assert "'conv2'" in refused(lambda: matching_weights(NETS["pnet"], weights, "net", "w"), "w")


@pytest.mark.parametrize("change", ["one too few", "one too many"])
def test_another_number_of_blobs_is_refused(change):
    weights = blobs_of(fill(NETS["pnet"], np.random.default_rng(7)), "x")
    if change == "one too few":
        weights["conv2"].pop()
    else:
        weights["conv2"].append(np.zeros(1, np.float32))
    assert "'conv2'" in refused(lambda: matching_weights(NETS["pnet"], weights, "net", "w"), "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'layer { name: "x"', ", line 1:"),
        (b'name: "x"\nlayer { type: 3 }', ", line 2:"),
        (b"\xff\xfe", "utf-8"),
        (b"# nothing\n", "no layer"),
        (b'layers { name: "x" }', "no layer"),
    ],
)
def test_a_malformed_prototxt_is_refused_with_the_place(content, message, tmp_path):
    path = tmp_path / "bad.prototxt"
    path.write_bytes(content)
    assert message in refused(lambda: read_net(path), path)


def test_layers_are_found_on_their_lines():
    text = (
        'name: "layer { of no kind }"  # layer { is a comment\n'
        "layer { name: \"a\" }  layer {\n name: 'it\\'s }' }\n"
        "input: 'layer'\n\n"
        'layer: <\n name: "c" include { phase: TRAIN } >\n'
        "layer\n{ }"
    )
    assert len(text_format.Parse(text, caffe_pb2.NetParameter()).layer) == 4
    assert layer_lines(text) == [2, 2, 6, 8]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('bottom: "conv1"', 'bottom: "conv9"', "line 25: layer 'prelu1': no layer makes its bottom 'conv9'"),
        ("kernel_size: 3", "kernel_size: 99", "line 15: layer 'conv1': its bottom"),
        ("kernel_size: 3", "kernal_size: 3", "line 22: not a Caffe net: .* no field named .kernal_size"),
    ],
)
def test_a_deploy_net_that_cannot_be_is_told_with_the_line(old, new, message, tmp_path):
    path = tmp_path / "deploy.prototxt"
    text = text_format.MessageToString(NETS["pnet"])
    assert read_deploy_text(path, text) == NETS["pnet"]
    found = refused(lambda: read_deploy_text(path, text.replace(old, new, 1)), path)
    assert re.match(f", {message}", found), found


def read_deploy_text(path, text):
    path.write_text(text)
    return read_deploy(path)


def test_the_two_schemas_live_in_one_process(saved):
    theirs = import_caffe().proto.caffe_pb2.NetParameter.FromString(saved[1])
    ours = caffe_pb2.NetParameter.FromString(saved[1])
    assert [layer.name for layer in theirs.layer] == [layer.name for layer in ours.layer]
