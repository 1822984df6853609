"""ONNX networks run by OpenCV's DNN module (OpenCV 4.8 or newer, 5 included)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.engines.onnx_file import OnnxFileEngine


class OnnxEngine(OnnxFileEngine):
    """An ONNX file in OpenCV's DNN module."""

    def __init__(self, path: Path, classic: bool = False, tried: bool = False) -> None:
        """classic: use OpenCV 5's older engine, that of OpenCV 4; faster for some nets, slower for others.

        For the rest see OnnxFileEngine.
        """
        self._classic = classic
        super().__init__(path, tried)

    def _name(self) -> str:
        return f"OpenCV {cv2.__version__}"

    def _as_tried(self) -> dict[str, Any]:
        return {**super()._as_tried(), "classic": self._classic}

    def _open(self, model: onnx.ModelProto, data: bytes) -> None:
        try:
            if self._classic and hasattr(cv2.dnn, "ENGINE_CLASSIC"):
                # From the file: from memory, OpenCV 5.0 ignores `engine` and takes its new one.
                self._net = cv2.dnn.readNetFromONNX(str(self._path), engine=cv2.dnn.ENGINE_CLASSIC)
            else:
                self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, dtype=np.uint8))
        except cv2.error as error:
            raise self._refusal(_reason(error)) from error

    def _run(self, inputs: Mapping[str, Float32Array], outputs: Sequence[str]) -> Sequence[AnyArray]:
        try:
            for name, values in inputs.items():
                self._net.setInput(values, name)
            found: Sequence[AnyArray] = self._net.forward(outputs)
        except cv2.error as error:
            raise self._refusal(_reason(error)) from error
        return found


def _reason(error: cv2.error) -> str:
    return (str(error.err).splitlines() or ["no reason given"])[0]
