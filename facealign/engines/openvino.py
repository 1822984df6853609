"""ONNX networks run by OpenVINO, on the CPU."""

import re
from collections.abc import Mapping, Sequence

import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.engines.onnx_file import OnnxFileEngine
from facealign.engines.runtime import import_runtime, threads

LONGEST = 300
"""Letters of a reason."""


class OpenVinoEngine(OnnxFileEngine):
    """An ONNX file in OpenVINO, of float32 or int8."""

    precision = "f32"
    """In which it computes; by itself it takes bfloat16 where the processor has that."""

    def _name(self) -> str:
        return f"OpenVINO {import_runtime('openvino').__version__.split('-')[0]}"

    def _open(self, model: onnx.ModelProto, data: bytes) -> None:
        runtime = import_runtime("openvino")
        settings = {
            "INFERENCE_NUM_THREADS": threads(),
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        try:
            core = runtime.Core()
            compiled = core.compile_model(core.read_model(data, b""), "CPU", settings)
            self._request = compiled.create_infer_request()
        except Exception as error:  # RuntimeError, and kinds that it does not export
            raise self._refusal(_reason(error)) from error

    def _run(self, inputs: Mapping[str, Float32Array], outputs: Sequence[str]) -> Sequence[AnyArray]:
        try:
            found = self._request.infer(dict(inputs))
        except Exception as error:
            raise self._refusal(_reason(error)) from error
        return [found[name] for name in outputs]


def _reason(error: Exception) -> str:
    """The message in one line, without where in OpenVINO's code the error was found."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if not re.match(r"Exception from |Check '|$", line))
    return said[:LONGEST] or type(error).__name__
