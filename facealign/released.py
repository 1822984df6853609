"""The released weights in models/."""

from pathlib import Path

from facealign.errors import FaceAlignError

MODELS = Path(__file__).resolve().parent.parent / "models"


def default_weights(engine: str, folder: Path = MODELS) -> Path:
    """The released weights to use: stage 2, else stage 1. Raises FaceAlignError when there are none."""
    suffixes = {"onnx": (".onnx",), "caffe": (".caffemodel",)}.get(engine, (".caffemodel", ".onnx"))
    for stage in ("stage2", "stage1"):
        for suffix in suffixes:
            path = folder / f"mobilenet_v2_{stage}{suffix}"
            if path.is_file():
                return path
    raise FaceAlignError(f"{folder}: no mobilenet_v2_stage2{suffixes[0]} in it; give --weights FILE")
