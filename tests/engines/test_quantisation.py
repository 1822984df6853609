"""int8 files: close to the float32 network, the same bytes every time, run by several runtimes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from facealign.engines.opening import onnx_engine
from facealign.engines.quantisation import activation_ranges, least, quantise
from facealign.errors import FaceAlignError
from tests.astronaut_crops import astronaut_crops

STAGE3 = Path(__file__).parents[2] / "models" / "mobilenet_v2_stage3.onnx"


@pytest.fixture(scope="module")
def model():
    return onnx.load(str(STAGE3))


@pytest.fixture(scope="module")
def inputs():
    return astronaut_crops(onnx_engine("onnx")(STAGE3).spec, 20)


@pytest.fixture(scope="module")
def small(model, inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "stage3_int8.onnx"
    onnx.save(quantise(model, inputs, "stage 3"), str(path))
    return path


@pytest.mark.parametrize("kind", ["onnxruntime", "openvino"])
def test_landmarks_are_near_those_in_float32(kind, small):
    """On other crops than those that it was calibrated on."""
    inputs = astronaut_crops(onnx_engine("onnx")(STAGE3).spec, 12, seed=1)
    expected = onnx_engine("onnx")(STAGE3).forward({"data": inputs})["fc4"]
    found = onnx_engine(kind)(small, tried=True).forward({"data": inputs})["fc4"]
    apart = 64 * np.linalg.norm((found - expected).reshape(-1, 2, 68), axis=1)
    assert 0 < apart.mean() < 0.5  # all of it in int8: over 1


def test_the_description_stays_and_the_file_is_less_than_half(small):
    assert onnx_engine("onnxruntime")(small, tried=True).spec == onnx_engine("onnx")(STAGE3).spec
    assert small.stat().st_size < STAGE3.stat().st_size / 2


def test_all_weights_but_those_of_the_last_layers_are_int8_with_a_scale_a_channel(small, model):
    stored = {tensor.name: tensor for tensor in onnx.load(str(small)).graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".weight"):
            layer = tensor.name.removesuffix(".weight")
            assert (tensor.name in stored) == (layer in ("fc2", "fc3", "fc4"))
            if tensor.name not in stored:
                weights = numpy_helper.to_array(tensor)
                values = numpy_helper.to_array(stored[f"{tensor.name}_quantized"])
                scales = numpy_helper.to_array(stored[f"{tensor.name}_scale"])
                assert values.dtype == np.int8
                assert scales.shape == (len(weights),)
                scales = scales.reshape(-1, *[1] * (weights.ndim - 1))
                assert np.all(np.abs(values * scales - weights) <= 0.51 * scales)


def test_the_same_inputs_give_the_same_bytes(model, inputs, small):
    again = quantise(model, inputs, "stage 3").SerializeToString(deterministic=True)
    assert again == onnx.load(str(small)).SerializeToString(deterministic=True)
    other = quantise(model, inputs[:10], "stage 3").SerializeToString(deterministic=True)
    assert again != other


def test_ranges_leave_out_the_tails(model, inputs):
    """Against NumPy, on all values of one layer at once."""
    tail = 0.01
    ranges = activation_ranges(model, inputs, 2, tail)
    assert list(ranges) == ["conv1:Conv", "relu1:LeakyRelu", "data"]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.append(onnx.helper.make_empty_tensor_value_info("conv1:Conv"))
    session = onnxruntime.InferenceSession(whole.SerializeToString())
    values = np.sort(session.run(["conv1:Conv"], {"data": inputs})[0], axis=None)
    count = int(tail * values.size)
    np.testing.assert_allclose(ranges["conv1:Conv"], (values[count - 1], values[-count]), rtol=1e-5)


def test_the_least_of_parts_are_the_least_of_all():
    values = np.random.default_rng(0).permutation(1000)
    kept = None
    for part in np.split(values, 10):
        kept = least(part, kept, 37)
    assert sorted(kept) == list(range(37))


def test_a_quantised_model_is_refused(small, inputs):
    with pytest.raises(FaceAlignError, match="here: is quantised already"):
        quantise(onnx.load(str(small)), inputs, "here")
