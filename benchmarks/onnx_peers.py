"""The exported net in ONNX runtimes. Only what every environment has is imported at the top."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.closeness import check_close

MODEL = Path("models/mobilenet_v2_stage2.onnx")


def opencv(directory: str, threads: int, faces: int) -> Callable[[], object]:
    """Our engine on OpenCV's DNN."""
    import cv2

    from facealign.engines.onnx import OnnxEngine

    cv2.setNumThreads(threads)
    engine = OnnxEngine(MODEL)
    data, expected = _reference(directory, faces)

    def call() -> np.ndarray:
        return engine.forward({"data": data})["fc4"]

    check_close(call(), expected, "output")
    return call


def onnxruntime(directory: str, threads: int, faces: int) -> Callable[[], object]:
    """A session of onnxruntime with all its optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    data, expected = _reference(directory, faces)

    def call() -> np.ndarray:
        output: np.ndarray = session.run(["fc4"], {"data": data})[0]
        return output

    check_close(call(), expected, "output")
    return call


def _reference(directory: str, faces: int) -> tuple[np.ndarray, np.ndarray]:
    reference = np.load(Path(directory) / "reference.npz")
    return reference["data"][:faces].copy(), reference["output"][:faces]
