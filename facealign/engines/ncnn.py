"""ONNX networks run by ncnn, on the CPU; it reads files of its own form, made from the ONNX file here."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.engines.ncnn_export import export_ncnn
from facealign.engines.onnx_file import OnnxFileEngine
from facealign.engines.runtime import import_runtime
from facealign.io.unfinished import temporary_folder


class NcnnEngine(OnnxFileEngine):
    """An ONNX file in ncnn, which computes images one by one, in one thread.

    Several would wait for each other, turning in circles, at the end of every layer of these small nets: with
    other work on the processors that takes a hundred times as long.
    """

    half = False
    """Whether it computes in 16 bits where that is faster, as ncnn does by itself."""

    def _name(self) -> str:
        return f"ncnn {import_runtime('ncnn').__version__}"

    def _open(self, model: onnx.ModelProto, data: bytes) -> None:
        self._ncnn = import_runtime("ncnn")
        text, weights = export_ncnn(model, str(self._path))
        self._net = self._ncnn.Net()
        options = self._net.opt
        options.num_threads = 1
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = self.half
        with temporary_folder() as folder:  # from memory, it would go on reading from what Python has freed
            (folder / "net.param").write_text(text, encoding="utf-8")
            (folder / "net.bin").write_bytes(weights)
            failed = self._net.load_param(str(folder / "net.param"))
            if failed or self._net.load_model(str(folder / "net.bin")):
                raise self._refusal("its loader gives no reason")

    def _run(self, inputs: Mapping[str, Float32Array], outputs: Sequence[str]) -> Sequence[AnyArray]:
        each = zip(*inputs.values(), strict=True)
        answers = [self._one(dict(zip(inputs, images, strict=True)), outputs) for images in each]
        return [np.stack(parts) for parts in zip(*answers, strict=True)]

    def _one(self, image: Mapping[str, Float32Array], outputs: Sequence[str]) -> list[AnyArray]:
        """The outputs for one image."""
        extractor = self._net.create_extractor()
        for name, values in image.items():
            # A copy in memory of its own, as it reads by whole vectors from aligned places.
            extractor.input(name, self._ncnn.Mat(values).clone())
        found = []
        for name in outputs:
            failed, values = extractor.extract(name)
            if failed:
                raise self._refusal(f"no output {name!r}")
            found.append(np.array(values))
        return found
