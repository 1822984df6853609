"""ONNX networks run by onnxruntime, on the CPU."""

from collections.abc import Mapping, Sequence

import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.caffe_files.prototxt import one_line
from facealign.engines.onnx_file import OnnxFileEngine
from facealign.engines.runtime import import_runtime, threads

ERRORS_ONLY = 3
"""onnxruntime's level of its log."""


class OnnxRuntimeEngine(OnnxFileEngine):
    """An ONNX file in onnxruntime, of float32 or int8."""

    def _name(self) -> str:
        return f"onnxruntime {import_runtime('onnxruntime').__version__}"

    def _open(self, model: onnx.ModelProto, data: bytes) -> None:
        runtime = import_runtime("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        options.log_severity_level = ERRORS_ONLY
        # Its threads would wait for work by turning in circles, and slow down all others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of kinds that it does not export
            raise self._refusal(one_line(error)) from error

    def _run(self, inputs: Mapping[str, Float32Array], outputs: Sequence[str]) -> Sequence[AnyArray]:
        try:
            found: Sequence[AnyArray] = self._session.run(outputs, inputs)
        except Exception as error:
            raise self._refusal(one_line(error)) from error
        return found
