"""ONNX networks run by OpenCV's DNN module (OpenCV 4.8 or newer, 5 included)."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.caffe_files.prototxt import one_line
from facealign.crops.model_spec import METADATA_KEY, ModelSpec
from facealign.errors import FaceAlignError
from facealign.io.reading import read_bytes


class OnnxEngine:
    """An ONNX file in OpenCV's DNN module; `spec` is the description in its metadata, or None."""

    def __init__(self, path: Path, classic: bool = False) -> None:
        """classic: use OpenCV 5's older engine, that of OpenCV 4; faster for some nets, slower for others.

        Raises FaceAlignError when the file is missing, damaged, or holds what OpenCV cannot run.
        """
        data = read_bytes(path, "expected an ONNX model")
        try:
            model = onnx.load_from_string(data)
            onnx.checker.check_model(model)
            broken = [one.name for one in model.graph.initializer if not np.isfinite(_numbers(one)).all()]
        except Exception as error:  # onnx and protobuf raise many kinds on damaged files
            raise FaceAlignError(f"{path}: truncated, or not an ONNX model ({one_line(error)})") from error
        if broken:
            raise FaceAlignError(f"{path}: {broken[0]!r} has weights that are not finite numbers")
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.spec: ModelSpec | None = None
        if METADATA_KEY in metadata:
            self.spec = ModelSpec.from_json(metadata[METADATA_KEY], str(path))
        self._where = str(path)
        constants = {tensor.name for tensor in model.graph.initializer}
        self._inputs = {
            one.name: [side.dim_value or side.dim_param or "?" for side in one.type.tensor_type.shape.dim]
            for one in model.graph.input
            if one.name not in constants
        }
        self._outputs = [output.name for output in model.graph.output]
        # Kept if images may have any size: OpenCV ends the process on those that are too small.
        free = any(isinstance(side, str) for sides in self._inputs.values() for side in sides[1:])
        self._model = model if free else None
        self._fitting: list[Mapping[str, tuple[int, ...]]] = []
        try:
            if classic and hasattr(cv2.dnn, "ENGINE_CLASSIC"):
                # From the file: from memory, OpenCV 5.0 ignores `engine` and takes its new one.
                self._net = cv2.dnn.readNetFromONNX(str(path), engine=cv2.dnn.ENGINE_CLASSIC)
            else:
                self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, dtype=np.uint8))
        except cv2.error as error:
            raise FaceAlignError(
                f"{path}: OpenCV {cv2.__version__} cannot run it ({_reason(error)})"
            ) from error

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the net; see Engine.forward."""
        if set(inputs) != set(self._inputs):
            raise FaceAlignError(
                f"{self._where}: got inputs {sorted(inputs)}, expected {sorted(self._inputs)}"
            )
        for name, values in inputs.items():
            declared = self._inputs[name]
            fits = values.ndim == len(declared) and all(
                isinstance(want, str) or side == want
                for side, want in zip(values.shape, declared, strict=True)
            )
            if not fits or values.size == 0:
                wanted = ", ".join(map(str, declared))
                raise FaceAlignError(
                    f"{self._where}: input {name!r} has shape {values.shape}, expected ({wanted})"
                )
        shapes = {name: values.shape for name, values in inputs.items()}
        # Feature maps only grow with the images: a shape no smaller than one that fits need not be checked.
        if self._model is not None and not any(_no_smaller(shapes, known) for known in self._fitting):
            if not _fits(self._model, shapes):
                raise FaceAlignError(f"{self._where}: images of shapes {shapes} are too small for it")
            self._fitting = [known for known in self._fitting if not _no_smaller(known, shapes)] + [shapes]
        try:
            for name, values in inputs.items():
                self._net.setInput(np.ascontiguousarray(values, dtype=np.float32), name)
            outputs = self._net.forward(self._outputs)
        except cv2.error as error:
            raise FaceAlignError(f"{self._where}: OpenCV cannot run it ({_reason(error)})") from error
        return {name: np.array(one) for name, one in zip(self._outputs, outputs, strict=True)}


def _numbers(tensor: onnx.TensorProto) -> AnyArray:
    """The values of a float32 tensor; none for other types."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return np.empty(0)
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _no_smaller(shapes: Mapping[str, tuple[int, ...]], others: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether every side is at least that of the same input in `others`."""
    return all(
        side >= other
        for name, sides in others.items()
        for side, other in zip(shapes[name], sides, strict=True)
    )


def _fits(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether all feature maps have at least one pixel for inputs of these shapes."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        for side, number in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            side.dim_value = number
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(sized).graph
    maps = [
        [side.dim_value for side in value.type.tensor_type.shape.dim if side.HasField("dim_value")]
        for value in (*inferred.value_info, *inferred.output)
    ]
    return all(min(sides) > 0 for sides in maps if len(sides) == 4)


def _reason(error: cv2.error) -> str:
    return (str(error.err).splitlines() or ["no reason given"])[0]
