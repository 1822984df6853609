"""Choice and opening of the engine for a weights file.

An engine is imported only when it is opened: the import takes as long as all others of a worker process, and
most of these run no network.
"""

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facealign.crops.model_spec import ModelSpec, has_spec, load_spec, spec_path
from facealign.engines.engine import Engine
from facealign.errors import FaceAlignError
from facealign.io.unfinished import settle

if TYPE_CHECKING:
    from facealign.engines.onnx_file import OnnxFileEngine

ONNX_ENGINES = {
    "onnx": "onnx.OnnxEngine",
    "onnxruntime": "onnxruntime.OnnxRuntimeEngine",
    "openvino": "openvino.OpenVinoEngine",
    "ncnn": "ncnn.NcnnEngine",
}
"""Kinds of engines that run an ONNX file, the first in OpenCV -> module and class."""
KINDS = ("auto", "caffe", *ONNX_ENGINES)


def caffe_folder() -> Path | None:
    """Folder of the installed pycaffe, or None; a plain folder named caffe on the path does not count."""
    spec = importlib.util.find_spec("caffe")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def caffe_available() -> bool:
    """Whether pycaffe is installed."""
    return caffe_folder() is not None


def our_caffe_available() -> bool:
    """Whether the installed Caffe is this project's build, which runs small nets fused."""
    folder = caffe_folder()
    return folder is not None and (folder / "build_info.json").is_file()


def engine_of(weights: Path) -> str:
    """The engine of exactly this file: "caffe" for a caffemodel, else "onnx"."""
    return "caffe" if weights.suffix == ".caffemodel" else "onnx"


def onnx_engine(kind: str) -> "type[OnnxFileEngine]":
    """The class of a kind in ONNX_ENGINES."""
    module, _, name = ONNX_ENGINES[kind].partition(".")
    found: type[OnnxFileEngine] = getattr(importlib.import_module(f"facealign.engines.{module}"), name)
    return found


def resolve(kind: str, weights: Path) -> tuple[str, Path]:
    """The engine (one of KINDS but "auto") and the file it runs: `weights`, or its sibling.

    kind: one of KINDS; "auto" is Caffe if it is installed and there is a caffemodel, else ONNX in OpenCV.
    Raises FaceAlignError when the file that the engine needs does not exist.
    """
    if kind not in KINDS:
        raise FaceAlignError(f"engine {kind!r}: expected one of {', '.join(KINDS)}")
    if weights.suffix not in (".caffemodel", ".onnx"):
        raise FaceAlignError(f"{weights}: expected a .caffemodel or .onnx file")
    caffemodel, model = weights.with_suffix(".caffemodel"), weights.with_suffix(".onnx")
    if not weights.is_file():
        raise FaceAlignError(f"{weights}: no such file; train first, or give --weights")
    if kind == "caffe" or (kind == "auto" and caffe_available() and caffemodel.is_file()):
        if not caffemodel.is_file():
            raise FaceAlignError(f"{caffemodel}: no such file, and Caffe cannot run {weights.name}")
        return "caffe", caffemodel
    if not model.is_file():
        raise FaceAlignError(f"{model}: no such file; make it with facealign export-onnx --weights {weights}")
    return "onnx" if kind == "auto" else kind, model


def files_of(weights: Path | None) -> list[Path]:
    """The files that may be read where these weights are given, of which some need not exist.

    They are the file, its sibling for another engine, and the description of the caffemodel if there is one.
    None: none.
    """
    if weights is None:
        return []
    caffemodel = weights.with_suffix(".caffemodel")
    described = [spec_path(caffemodel)] if caffemodel.is_file() and has_spec(caffemodel) else []
    return [weights, caffemodel, weights.with_suffix(".onnx"), *described]


def spec_for(caffemodel: Path, published: bool = False) -> ModelSpec:
    """The description of a caffemodel, with an absolute `deploy`, from the file beside it.

    published: crop by the reference demo's arithmetic; weights without such a file then count as its
    author's. Raises FaceAlignError when the file is missing or malformed; see load_spec.
    """
    settle(caffemodel.parent)
    if not published:
        return load_spec(caffemodel)
    if has_spec(caffemodel):
        return _as_published(load_spec(caffemodel))
    from facealign.networks.registry import published_spec

    return _as_published(published_spec())


def _as_published(spec: ModelSpec) -> ModelSpec:
    return dataclasses.replace(spec, crop="published", origin=1)


def open_engine(kind: str, weights: Path, published: bool = False) -> tuple[Engine, ModelSpec]:
    """Engine and description of landmark weights.

    kind: one of KINDS, see `resolve`; published: see `spec_for`.
    Raises FaceAlignError on a missing or invalid file, an ONNX file without a description, a description of
    another net, and when the engine's package is not installed.
    """
    settle(weights.parent)  # a release that was killed: a file's fellows may be older
    kind, path = resolve(kind, weights)
    if kind == "caffe":
        from facealign.engines.caffe import CaffeEngine

        spec = spec_for(path, published)
        caffe_engine = CaffeEngine(Path(spec.deploy), path)
        _check_described(caffe_engine, spec, str(spec_path(path) if has_spec(path) else path))
        return caffe_engine, spec
    engine = onnx_engine(kind)(path)
    if engine.spec is None:
        raise FaceAlignError(
            f"{path}: its metadata does not say how to crop; export it with facealign export-onnx"
        )
    _check_described(engine, engine.spec, str(path))
    return engine, _as_published(engine.spec) if published else engine.spec


def _check_described(engine: Engine, spec: ModelSpec, where: str) -> None:
    """Run the net once. Raises FaceAlignError when its input or output differs from the description."""
    black = np.broadcast_to(np.float32(0), (1, 3, spec.input_height, spec.input_width))
    try:
        outputs = engine.forward({spec.input_name: black})
    except FaceAlignError as error:
        raise FaceAlignError(f"{where}: describes another net: {error}") from error
    if spec.output_name not in outputs:
        raise FaceAlignError(
            f"{where}: describes another net: no output is named {spec.output_name!r}, only {sorted(outputs)}"
        )
    numbers = outputs[spec.output_name].size
    if numbers != 2 * spec.landmarks:
        raise FaceAlignError(
            f"{where}: describes another net: {spec.output_name!r} has {numbers} numbers, "
            f"not 2 x {spec.landmarks}"
        )
