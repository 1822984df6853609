"""What a quantised model stands for: as onnxruntime computes it, without the rounding of activations."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facealign.engines.opening import onnx_engine
from facealign.engines.qdq import unquantised
from facealign.engines.quantisation import activation_ranges, quantise
from tests.astronaut_crops import astronaut_crops

STAGE3 = Path(__file__).parents[2] / "models" / "mobilenet_v2_stage3.onnx"


@pytest.fixture(scope="module")
def model():
    return onnx.load(str(STAGE3))


@pytest.fixture(scope="module")
def inputs():
    return astronaut_crops(onnx_engine("onnx")(STAGE3).spec, 8)


def test_of_a_float32_model_it_is_the_model(model):
    plain = unquantised(model)
    assert [*plain.nodes] == [*model.graph.node]
    assert (plain.int8, plain.largest) == ({}, {})
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(plain.constants[tensor.name], numpy_helper.to_array(tensor))


def test_of_a_quantised_model_it_is_nearly_the_original(model, inputs, tmp_path):
    plain = unquantised(quantise(model, inputs, "stage 3"))
    assert [node.op_type for node in plain.nodes] == [node.op_type for node in model.graph.node]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.node[:], whole.graph.initializer[:]
    whole.graph.node.extend(plain.nodes)
    whole.graph.initializer.extend(
        numpy_helper.from_array(values, name) for name, values in plain.constants.items()
    )
    onnx.save(whole, str(tmp_path / "plain.onnx"))
    found = onnx_engine("onnxruntime")(tmp_path / "plain.onnx", tried=True).forward({"data": inputs})["fc4"]
    expected = onnx_engine("onnxruntime")(STAGE3).forward({"data": inputs})["fc4"]
    assert 0 < 64 * np.abs(found - expected).max() < 0.3  # weights in steps of 1/127


def test_the_largest_magnitudes_are_those_of_the_ranges(model, inputs):
    plain = unquantised(quantise(model, inputs, "stage 3"))
    ranges = activation_ranges(model, inputs, len(model.graph.node), 1e-4)
    assert len(plain.largest) > 30
    for name, largest in plain.largest.items():
        low, high = ranges[name]
        step = (max(high, 0) - min(low, 0)) / 255
        assert abs(largest - max(-low, high)) < 1.01 * step


@pytest.mark.parametrize("zero", [np.int8(-20), np.uint8(3)])
def test_steps_that_do_not_lie_about_0(zero):
    constants = {"step": np.float32(0.5), "zero": zero}
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
            helper.make_node("Relu", ["d"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    plain = unquantised(helper.make_model(graph))
    assert [list(node.input) for node in plain.nodes] == [["x"]]
    assert plain.largest == {"x": {-20: 147, 3: 252}[int(zero)] / 2}
