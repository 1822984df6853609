"""ONNX networks run by OpenCV's DNN module (OpenCV 4.8 or newer, 5 included)."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.errors import FaceAlignError
from facealign.spec import METADATA_KEY, ModelSpec


class OnnxEngine:
    """An ONNX file in OpenCV's DNN. `spec` is what its metadata says of crops and outputs, if anything."""

    def __init__(self, path: Path) -> None:
        """Raises FaceAlignError when the file is missing, damaged, or holds what OpenCV cannot run."""
        try:
            data = path.read_bytes()
            model = onnx.load_from_string(data)
            onnx.checker.check_model(model)
        except FileNotFoundError as error:
            raise FaceAlignError(f"{path}: no such file; expected an ONNX model") from error
        except Exception as error:  # onnx and protobuf raise many kinds on damaged files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FaceAlignError(f"{path}: truncated, or not an ONNX model ({reason})") from error
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.spec: ModelSpec | None = None
        if METADATA_KEY in metadata:
            self.spec = ModelSpec.from_json(metadata[METADATA_KEY], str(path))
        self._outputs = [output.name for output in model.graph.output]
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, dtype=np.uint8))
        except cv2.error as error:
            raise FaceAlignError(f"{path}: OpenCV {cv2.__version__} cannot run it ({error.err})") from error

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the net; see Engine.forward."""
        for name, values in inputs.items():
            self._net.setInput(np.ascontiguousarray(values, dtype=np.float32), name)
        return dict(
            zip(self._outputs, (np.array(one) for one in self._net.forward(self._outputs)), strict=True)
        )
