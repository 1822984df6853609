"""OnnxEngine: the same answers as CaffeEngine, and one line for what it cannot run."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from facealign.concurrency.apart import CrashError, apart
from facealign.crops.model_spec import ModelSpec
from facealign.engines.caffe import CaffeEngine
from facealign.engines.onnx import OnnxEngine
from facealign.engines.onnx_export import export_onnx
from facealign.errors import FaceAlignError
from facealign.networks import mtcnn
from tests.random_weights import fill, write_model

ROOT = Path(__file__).parents[2]


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), box_scale=1.3)


@pytest.fixture(scope="module", params=[False, True], ids=["new", "classic"])
def engine(written, request):
    return OnnxEngine(written.with_suffix(".onnx"), classic=request.param)


@pytest.fixture(scope="module", params=[False, True], ids=["new", "classic"])
def pnet(tmp_path_factory, request):
    deploy = mtcnn.deploy("pnet")
    path = tmp_path_factory.mktemp("pnet") / "pnet.onnx"
    onnx.save(export_onnx(deploy, fill(deploy, np.random.default_rng(0)), None), str(path))
    return OnnxEngine(path, classic=request.param)


def test_both_engines_give_the_same_through_changing_batches(written, engine):
    caffe = CaffeEngine(written.with_suffix(".prototxt"), written)
    for step, n in enumerate([1, 7, 1, 3, 12, 2, 7]):
        data = uniform(n, 3, 64, 64, seed=step)
        found, expected = engine.forward({"data": data}), caffe.forward({"data": data})
        assert found.keys() == expected.keys() == {"fc4"}
        assert found["fc4"].shape == expected["fc4"].shape == (n, 136)
        assert found["fc4"].dtype == np.float32
        np.testing.assert_allclose(found["fc4"], expected["fc4"], atol=1e-4 * np.abs(expected["fc4"]).max())


def test_sizes_may_change_when_no_layer_is_fully_connected(pnet):
    for height, width in [(12, 12), (31, 50), (12, 40), (12, 12), (31, 50)]:
        outputs = pnet.forward({"data": uniform(1, 3, height, width)})
        places = tuple(-(-(side - 12) // 2) + 1 for side in (height, width))
        assert outputs["prob"].shape == (1, 2, *places)
        assert outputs["conv4-2"].shape == (1, 4, *places)
        np.testing.assert_allclose(outputs["prob"].sum(axis=1), 1, atol=1e-5)


def test_answers_are_the_caller_s_own(engine):
    first = engine.forward({"data": uniform(2, 3, 64, 64, seed=1)})["fc4"]
    kept = first.copy()
    engine.forward({"data": uniform(2, 3, 64, 64, seed=2)})
    np.testing.assert_array_equal(first, kept)


def test_inputs_of_other_types_are_numbers_too(engine):
    data = np.random.default_rng(3).integers(-1, 2, (2, 3, 64, 64))
    expected = engine.forward({"data": data.astype(np.float32)})["fc4"]
    for kind in (np.int8, np.float64, np.float16):
        np.testing.assert_array_equal(engine.forward({"data": data.astype(kind)})["fc4"], expected)


def test_the_description_in_the_file_is_read(engine, pnet):
    assert engine.spec == dataclasses.replace(ModelSpec(deploy="weights.prototxt"), box_scale=1.3)
    assert pnet.spec is None


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"got inputs \[\], expected \['data'\]"),
        ({"image": (1, 3, 64, 64)}, r"\['image'\], expected \['data'\]"),
        ({"data": (1, 3, 64, 64), "image": (1, 3, 64, 64)}, r"expected \['data'\]"),
        ({"data": (1, 1, 64, 64)}, r"expected \(N, 3, 64, 64\)"),
        ({"data": (1, 64, 64, 3)}, r"expected \(N, 3, 64, 64\)"),
        ({"data": (1, 3, 63, 64)}, r"expected \(N, 3, 64, 64\)"),
        ({"data": (3, 64, 64)}, r"expected \(N, 3, 64, 64\)"),
        ({"data": (0, 3, 64, 64)}, r"expected \(N, 3, 64, 64\)"),
    ],
    ids=str,
)
def test_other_inputs_are_refused_and_the_engine_goes_on(engine, shapes, message):
    data = uniform(2, 3, 64, 64)
    before = engine.forward({"data": data})["fc4"]
    with pytest.raises(FaceAlignError, match=message) as caught:
        engine.forward({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert "weights.onnx" in str(caught.value)
    np.testing.assert_array_equal(engine.forward({"data": data})["fc4"], before)


@pytest.mark.parametrize("shape", [(1, 3, 9, 40), (1, 3, 40, 3), (1, 3, 1, 1), (1, 4, 40, 40)], ids=str)
def test_pictures_too_small_for_a_window_are_refused(pnet, shape):
    data = uniform(1, 3, 40, 40)
    before = pnet.forward({"data": data})["prob"]
    with pytest.raises(FaceAlignError, match=r"pnet\.onnx: ") as caught:
        pnet.forward({"data": np.zeros(shape, np.float32)})
    assert len(str(caught.value).splitlines()) == 1
    np.testing.assert_array_equal(pnet.forward({"data": data})["prob"], before)


def refused(path):
    with pytest.raises(FaceAlignError) as caught:
        OnnxEngine(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"{path}: ")  # in which the test's name is


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refused(tmp_path / "none.onnx")


def test_a_folder_is_named(tmp_path):
    refused(tmp_path)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(share, written, tmp_path):
    content = written.with_suffix(".onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated, or not an ONNX model" in refused(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_random_bytes_are_refused(content, tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(content)
    refused(path)


def test_an_operator_that_opencv_lacks_is_refused(tmp_path):
    shape = ["N", 3, 4, 4]
    graph = helper.make_graph(
        [helper.make_node("NoSuchOperator", ["data"], ["y"], domain="somewhere.else")],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("somewhere.else", 1)]
    path = tmp_path / "unknown.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    assert "OpenCV" in refused(path)


def test_a_description_that_is_none_is_refused(written, tmp_path):
    model = onnx.load(str(written.with_suffix(".onnx")))
    model.metadata_props[0].value = '{"box_scale": "wide"}'
    path = tmp_path / "described.onnx"
    onnx.save(model, str(path))
    assert "box_scale" in refused(path)


def conv(**attributes):
    """A net of one convolution, not one of this package's."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], np.zeros(108, np.float32))
    graph = helper.make_graph(
        # OpenCV 4.8 does not take the shape from the weights.
        [
            helper.make_node(
                "Conv", ["data", "w"], ["y"], name="first", **{"kernel_shape": [3, 3]} | attributes
            )
        ],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, "h", "w"])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_another_net_is_run(tmp_path):
    path = tmp_path / "conv.onnx"
    onnx.save(conv(strides=[2, 2], pads=[1, 1, 1, 1]), str(path))
    assert OnnxEngine(path).forward({"data": uniform(2, 3, 16, 16)})["y"].shape == (2, 4, 8, 8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("strides", [0, 0]),
        ("strides", [-1, 1]),
        ("strides", [2**31, 1]),
        ("dilations", [0, 1]),
        ("kernel_shape", [0, 3]),
        ("pads", [2**40, 0, 0, 0]),
        ("pads", [-9, 0, 0, 0]),
        ("group", 0),
        ("group", -1),
        ("group", 2**40),
    ],
)
def test_an_attribute_on_which_opencv_would_crash_is_named(name, values, tmp_path):
    """As a stride of 0, by which it divides."""
    path = tmp_path / "conv.onnx"
    onnx.save(conv(**{name: values}), str(path))
    assert refused(path).startswith(f"Conv 'first': {name} is [")


def test_a_file_that_would_take_all_memory_is_one_line(written, tmp_path):
    """A graph of 10^6 pixels a side."""
    whole = onnx.load(str(written.with_suffix(".onnx")))
    path = tmp_path / "large.onnx"
    for side in whole.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 10**6
    del whole.metadata_props[:]
    onnx.save(whole, str(path))
    assert "takes more than 4 GB to run" in refused(path)


def test_the_trial_in_another_process_is_for_foreign_nets_only(written, tmp_path, monkeypatch):
    """The released networks are opened at once: a trial takes half a second."""

    def no_trial(*arguments, **options):
        raise AssertionError("tried in another process")

    monkeypatch.setattr("facealign.engines.onnx_file.apart", no_trial)
    for path in [written.with_suffix(".onnx"), *sorted((ROOT / "models").glob("*.onnx"))]:
        OnnxEngine(path)
    onnx.save(conv(), str(tmp_path / "conv.onnx"))
    with pytest.raises(AssertionError, match="tried"):
        OnnxEngine(tmp_path / "conv.onnx")


def test_a_net_that_ends_the_process_is_one_line(tmp_path):
    """OpenCV divides by 0 for an input that is declared without sides; 4.8 raises an error of its own."""
    model = conv()
    model.graph.input[0].type.tensor_type.shape.ClearField("dim")
    path = tmp_path / "conv.onnx"
    onnx.save(model, str(path))
    with pytest.raises((CrashError, cv2.error)):
        apart(cv2.dnn.readNetFromONNX, str(path))
    assert "cannot run it (" in refused(path)
