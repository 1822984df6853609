"""onnxruntime, OpenVINO and ncnn: pycaffe's answers, on real crops, for all released networks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from facealign.crops.model_spec import load_spec
from facealign.detection.mtcnn import MtcnnDetector
from facealign.engines.caffe import CaffeEngine
from facealign.engines.onnx_export import export_onnx
from facealign.engines.opening import onnx_engine, open_engine
from facealign.errors import FaceAlignError
from facealign.networks import mtcnn
from tests.astronaut_crops import PHOTO, astronaut_crops
from tests.random_weights import fill

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
RUNTIMES = ("onnxruntime", "openvino", "ncnn")
WEIGHTS = sorted(path.stem for path in MODELS.glob("*.onnx"))
PIXELS = 1e-3
"""Of the crop: how far a landmark may be from pycaffe's, as docs/runtimes.md says."""
BATCHES = (1, 7, 1, 3, 64)


@pytest.fixture(scope="module", params=WEIGHTS)
def network(request):
    """Weights, their crops (64, 3, h, w) of the photo, and pycaffe's answers."""
    weights = MODELS / f"{request.param}.caffemodel"
    spec = load_spec(weights)
    crops = astronaut_crops(spec, max(BATCHES))
    answers = CaffeEngine(Path(spec.deploy), weights).forward({spec.input_name: crops})[spec.output_name]
    return weights, spec, crops, answers


@pytest.mark.parametrize("kind", RUNTIMES)
def test_landmarks_are_those_of_caffe_in_batches_of_any_size(kind, network):
    weights, spec, crops, expected = network
    engine, described = open_engine(kind, weights)
    assert described == onnx_engine("onnx")(weights.with_suffix(".onnx")).spec
    for size in BATCHES if "vgg" not in weights.stem else (1, 7):
        found = engine.forward({spec.input_name: crops[:size]})[spec.output_name]
        assert found.shape == (size, 136)
        assert found.dtype == np.float32
        apart = (found - expected[:size]).reshape(size, 2, 68) * np.reshape(spec.size[::-1], (2, 1))
        assert np.abs(apart).max() < PIXELS


@pytest.mark.parametrize("kind", RUNTIMES)
def test_answers_stay_when_the_engine_goes_on(kind):
    engine, spec = open_engine(kind, MODELS / "mobilenet_v2_stage3.onnx")
    one, other = np.random.default_rng(0).uniform(-1, 1, (2, 2, 3, *spec.size)).astype(np.float32)
    first = engine.forward({"data": one})["fc4"]
    kept = first.copy()
    engine.forward({"data": other})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", RUNTIMES)
def test_the_detector_finds_the_same_box(kind):
    (expected,) = MtcnnDetector.open("onnx").detect(PHOTO)
    (found,) = MtcnnDetector.open(kind).detect(PHOTO)
    np.testing.assert_allclose(found.box, expected.box, atol=0.01)
    np.testing.assert_allclose(found.points, expected.points, atol=0.01)
    assert abs(found.score - expected.score) < 1e-4


@pytest.mark.parametrize("kind", RUNTIMES)
def test_images_of_any_size_where_no_layer_is_fully_connected(kind, tmp_path):
    deploy = mtcnn.deploy("pnet")
    path = tmp_path / "pnet.onnx"
    onnx.save(export_onnx(deploy, fill(deploy, np.random.default_rng(0)), None), str(path))
    engine, truth = onnx_engine(kind)(path), onnx_engine("onnx")(path)
    rng = np.random.default_rng(1)
    for height, width, n in [(12, 12, 1), (31, 50, 2), (12, 40, 1), (31, 50, 1)]:
        data = rng.uniform(-1, 1, (n, 3, height, width)).astype(np.float32)
        found, expected = engine.forward({"data": data}), truth.forward({"data": data})
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-4 * max(1, np.abs(values).max()))
    with pytest.raises(FaceAlignError, match="too small"):
        engine.forward({"data": np.zeros((1, 3, 9, 40), np.float32)})


@pytest.mark.parametrize("kind", RUNTIMES)
def test_a_runtime_that_is_not_installed_is_one_line_with_the_remedy(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(FaceAlignError, match=f"run `pip install {kind}`") as caught:
        open_engine(kind, MODELS / "mobilenet_v2_stage3.onnx")
    assert len(str(caught.value).splitlines()) == 1


# Each in a process of its own: a thread, once started, stays.
PROBE = """
import os, sys
from pathlib import Path
import cv2, numpy as np
from facealign.engines.opening import open_engine
cv2.setNumThreads(int(sys.argv[2]))
from facealign.engines.runtime import import_runtime
import_runtime(sys.argv[1])
before = len(os.listdir("/proc/self/task"))
engine, _ = open_engine(sys.argv[1], Path(sys.argv[3]))
engine.forward({"data": np.zeros((4, 3, 64, 64), np.float32)})
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.parametrize("kind", RUNTIMES)
def test_threads_are_as_many_as_opencv_has_and_nothing_is_written_home(kind, tmp_path):
    started = []
    for threads in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", PROBE, kind, str(threads), str(MODELS / "mobilenet_v2_stage3.onnx")],
            env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        started.append(int(done.stdout))
    assert started[1] - started[0] == {"ncnn": 0}.get(kind, 1)
    # By themselves onnxruntime and OpenVINO report their use to their makers, and keep a record here.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", RUNTIMES)
def test_a_file_that_the_runtime_cannot_run_is_one_line(kind, tmp_path):
    shape = ["N", 3, 4, 4]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("NoSuchOperator", ["data"], ["y"], domain="somewhere.else")],
        "g",
        [onnx.helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
    )
    opsets = [onnx.helper.make_opsetid("", 13), onnx.helper.make_opsetid("somewhere.else", 1)]
    path = tmp_path / "unknown.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    with pytest.raises(FaceAlignError) as caught:
        onnx_engine(kind)(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "NoSuchOperator" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
