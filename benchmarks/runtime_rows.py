"""The rows of the table of runtimes: each a network's weights in a runtime and a precision."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.crops.model_spec import ModelSpec
from facealign.engines.engine import Engine
from facealign.engines.ncnn import NcnnEngine
from facealign.engines.opening import open_engine
from facealign.engines.openvino import OpenVinoEngine


class HalfNcnn(NcnnEngine):
    """ncnn with 16-bit numbers where it has them, as it is set by itself."""

    half = True


class Bfloat16OpenVino(OpenVinoEngine):
    """OpenVINO in bfloat16, as it is set by itself on a processor that has it."""

    precision = "bf16"


@dataclass(frozen=True)
class Row:
    """runtime, precision: as the table names them; package: that brings the runtime; kind: its engine, one of
    opening.KINDS, or a class here; int8: whether it runs the quantised file.
    """

    runtime: str
    precision: str
    package: str
    kind: str | type[OpenVinoEngine] | type[NcnnEngine]
    int8: bool = False

    @property
    def name(self) -> str:
        return f"{self.runtime}, {self.precision}"

    def open(self, weights: Path) -> tuple[Engine, ModelSpec]:
        """Engine and description of an ONNX file, or of the caffemodel beside it."""
        if isinstance(self.kind, str):
            return open_engine(self.kind, weights)
        _, spec = open_engine("onnx", weights)
        return self.kind(weights), spec


ROWS = (
    Row("our Caffe", "float32", "custom-caffe", "caffe"),
    Row("OpenCV", "float32", "opencv-python", "onnx"),
    Row("onnxruntime", "float32", "onnxruntime", "onnxruntime"),
    Row("OpenVINO", "float32", "openvino", "openvino"),
    Row("ncnn", "float32", "ncnn", "ncnn"),
    Row("OpenVINO", "bfloat16", "openvino", Bfloat16OpenVino),
    Row("ncnn", "float16", "ncnn", HalfNcnn),
    Row("onnxruntime", "int8", "onnxruntime", "onnxruntime", int8=True),
    Row("OpenVINO", "int8", "openvino", "openvino", int8=True),
    Row("ncnn", "int8", "ncnn", "ncnn", int8=True),
    Row("OpenCV", "int8", "opencv-python", "onnx", int8=True),
)


def forward(row: int, weights: str, faces: int) -> Callable[[], object]:
    """A forward pass of so many faces, for `measure.Peer`; row: its number in ROWS."""
    import cv2

    cv2.setNumThreads(1)  # the engines follow
    engine, spec = ROWS[row].open(Path(weights))
    data = np.random.default_rng(0).uniform(-1, 1, (faces, 3, *spec.size)).astype(np.float32)
    return lambda: engine.forward({spec.input_name: data})
