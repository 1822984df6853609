"""ONNX files, checked before a runtime opens them; what their engines share.

A runtime may end the process on some files, so a network that is not one of this package's is first run in
another.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from facealign.arrays import AnyArray, Float32Array
from facealign.caffe_files.caffemodel import expected_shapes
from facealign.caffe_files.proto import caffe_pb2
from facealign.caffe_files.prototxt import one_line
from facealign.concurrency.apart import CrashError, apart
from facealign.concurrency.processes import one_thread
from facealign.crops.model_spec import METADATA_KEY, ModelSpec
from facealign.engines.onnx_export import export_onnx
from facealign.errors import FaceAlignError
from facealign.io.reading import read_bytes
from facealign.networks import mtcnn
from facealign.networks.registry import BUILDERS

Shapes = Mapping[str, tuple[int, ...]]
"""Input -> its shape."""
MEMORY = 4 << 30
"""Most bytes of address space for a network that is not one of ours."""
SECONDS = 120.0
"""Longest time for it to be opened and run once."""
ATTRIBUTES = {
    "strides": (1, 1000),
    "dilations": (1, 1000),
    "kernel_shape": (1, 1000),
    "pads": (0, 1000),
    "output_padding": (0, 1000),
    "group": (1, 100_000),
}
"""Attributes of layers by whole numbers, and the range of these: OpenCV divides by some, unchecked."""


class OnnxFileEngine(ABC):
    """An ONNX file in a runtime, a subclass each; `spec` is the description in its metadata, or None."""

    def __init__(self, path: Path, tried: bool = False) -> None:
        """tried: run it without a trial in another process.

        Raises FaceAlignError when the file is missing, damaged, or holds what the runtime cannot run, and
        when the runtime is not installed.
        """
        self._path = path
        data = read_bytes(path, "expected an ONNX model")
        try:
            model = onnx.load_from_string(data)
            if not model.graph.node:
                raise ValueError("no layer")
        except Exception as error:  # protobuf raises many kinds on damaged files
            raise FaceAlignError(f"{path}: truncated, or not an ONNX model ({one_line(error)})") from error
        self.spec: ModelSpec | None = None
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        if METADATA_KEY in metadata:
            self.spec = ModelSpec.from_json(metadata[METADATA_KEY], str(path))
        _check_attributes(model.graph, path)
        self._runtime = self._name()
        self._safe = tried or _structure(model) in _our_structures(model.graph.name)
        if not self._safe:
            self._try_out()
        _check(model, path)
        constants = {tensor.name for tensor in model.graph.initializer}
        self._inputs = {
            one.name: [side.dim_value or side.dim_param or "?" for side in one.type.tensor_type.shape.dim]
            for one in model.graph.input
            if one.name not in constants
        }
        self._outputs = [output.name for output in model.graph.output]
        # Kept if images may have any size: OpenCV ends the process on those that are too small.
        self._model = model if self.declared is None else None
        self._fitting: list[Shapes] = []
        self._open(model, data)

    @abstractmethod
    def _name(self) -> str:
        """Name and version of the runtime, for errors. Raises FaceAlignError when it is not installed."""

    @abstractmethod
    def _open(self, model: onnx.ModelProto, data: bytes) -> None:
        """Open the model, whose file's contents are `data`. Raises FaceAlignError when that cannot be."""

    @abstractmethod
    def _run(self, inputs: Mapping[str, Float32Array], outputs: Sequence[str]) -> Sequence[AnyArray]:
        """The named outputs for inputs of shapes that fit. Raises FaceAlignError when it cannot be run."""

    def _refusal(self, reason: object, hint: str = "") -> FaceAlignError:
        """The error of a file that the runtime cannot run."""
        return FaceAlignError(f"{self._path}: {self._runtime} cannot run it ({reason}){hint}")

    @property
    def declared(self) -> Shapes | None:
        """Shapes of the inputs for one image, as the file declares them; None when images may have any."""
        if any(isinstance(side, str) for sides in self._inputs.values() for side in sides[1:]):
            return None
        shapes = (
            (name, [1 if isinstance(side, str) else side for side in sides])
            for name, sides in self._inputs.items()
        )
        return {name: tuple(sides) for name, sides in shapes}

    def _as_tried(self) -> dict[str, Any]:
        """The arguments with which the class opens this file in the same way, but without a trial."""
        return {"path": self._path, "tried": True}

    def _try_out(self, shapes: Shapes | None = None) -> None:
        """Open the file in another process and run it, on inputs of `shapes`, or as declared.

        Raises FaceAlignError when that fails.
        """
        try:
            apart(_run_zeros, type(self), self._as_tried(), shapes, memory=MEMORY, seconds=SECONDS)
        except CrashError as error:
            raise self._refusal(error, ": a damaged ONNX model?") from error
        except MemoryError as error:
            raise FaceAlignError(f"{self._path}: takes more than {MEMORY >> 30} GB to run") from error

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the net; see Engine.forward."""
        if set(inputs) != set(self._inputs):
            raise FaceAlignError(
                f"{self._path}: got inputs {sorted(inputs)}, expected {sorted(self._inputs)}"
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
                    f"{self._path}: input {name!r} has shape {values.shape}, expected ({wanted})"
                )
        shapes = {name: values.shape for name, values in inputs.items()}
        # Feature maps only grow with the images: a shape no smaller than one that fits need not be checked.
        if self._model is not None and not any(_no_smaller(shapes, known) for known in self._fitting):
            if not self._safe:
                self._try_out(shapes)
            elif not _fits(self._model, shapes):
                raise FaceAlignError(f"{self._path}: images of shapes {shapes} are too small for it")
            self._fitting = [known for known in self._fitting if not _no_smaller(known, shapes)] + [shapes]
        given = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in inputs.items()}
        found = self._run(given, self._outputs)
        return {name: np.array(one, np.float32) for name, one in zip(self._outputs, found, strict=True)}


def _run_zeros(kind: type[OnnxFileEngine], arguments: dict[str, Any], shapes: Shapes | None) -> None:
    """Open an ONNX file and run it on zeros: inputs of `shapes`, or as declared, if it declares any."""
    with one_thread():  # each of many would take address space
        engine = kind(**arguments)
        chosen = engine.declared if shapes is None else shapes
        if chosen is not None:
            engine.forward({name: np.zeros(shape, np.float32) for name, shape in chosen.items()})


def _check(model: onnx.ModelProto, path: Path) -> None:
    """Raises FaceAlignError on a model that is not valid, and on weights that are not finite."""
    try:
        onnx.checker.check_model(model)
        broken = [one.name for one in model.graph.initializer if not np.isfinite(_numbers(one)).all()]
    except Exception as error:  # of many kinds
        raise FaceAlignError(f"{path}: truncated, or not an ONNX model ({one_line(error)})") from error
    if broken:
        raise FaceAlignError(f"{path}: {broken[0]!r} has weights that are not finite numbers")


def _check_attributes(graph: onnx.GraphProto, path: Path) -> None:
    """Raises FaceAlignError when a layer's stride, padding or the like is out of ATTRIBUTES' range."""
    for node in graph.node:
        for attribute in node.attribute:
            low, high = ATTRIBUTES.get(attribute.name, (-math.inf, math.inf))
            values = [*attribute.ints] if attribute.ints else [attribute.i]
            if not all(low <= value <= high for value in values):
                raise FaceAlignError(
                    f"{path}: {node.op_type} {node.name!r}: {attribute.name} is {values}, "
                    f"expected {low} to {high}"
                )
    for value in graph.input:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if any(side < 0 for side in sides):
            raise FaceAlignError(f"{path}: input {value.name!r} has the shape {sides}")


def _structure(model: onnx.ModelProto) -> str:
    """Checksum of a model apart from the values of its weights and from its metadata."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    for tensor in bare.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


@cache
def _our_structures(name: str) -> frozenset[str]:
    """Structures of this package's networks of that name; OpenCV is known to run them."""
    return frozenset(
        _structure(export_onnx(deploy, _zeros(deploy), None)) for deploy in _our_nets() if deploy.name == name
    )


def _our_nets() -> Iterator[caffe_pb2.NetParameter]:
    for builder in BUILDERS.values():
        yield builder.deploy()
    for name in mtcnn.NETS:
        yield mtcnn.deploy(name)


def _zeros(deploy: caffe_pb2.NetParameter) -> dict[str, list[Float32Array]]:
    shapes = expected_shapes(deploy, deploy.name)
    return {name: [np.zeros(shape, np.float32) for shape in own] for name, own in shapes.items()}


def _numbers(tensor: onnx.TensorProto) -> AnyArray:
    """The values of a float32 tensor; none for other types."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return np.empty(0)
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _no_smaller(shapes: Shapes, others: Shapes) -> bool:
    """Whether every side is at least that of the same input in `others`."""
    return all(
        side >= other
        for name, sides in others.items()
        for side, other in zip(shapes[name], sides, strict=True)
    )


def _fits(model: onnx.ModelProto, shapes: Shapes) -> bool:
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
