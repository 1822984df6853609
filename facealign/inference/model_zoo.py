"""The released weights in models/."""

from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.package_data import package_folder

MODELS = package_folder("models")


def default_weights(engine: str, folder: Path = MODELS) -> Path:
    """The released weights of the last stage there is. Raises FaceAlignError when there are none."""
    return _released(engine, folder, ("stage3", "stage2", "stage1"), "--weights")


def second_of(given: str | bool, engine: str) -> Path | None:
    """What `--cascade [FILE]` means: no second network (False), the released one (True), or a file."""
    if given is False:
        return None
    return default_cascade(engine) if isinstance(given, bool) else Path(given)


def default_cascade(engine: str, folder: Path = MODELS) -> Path:
    """The released second network of the cascade. Raises FaceAlignError when there is none."""
    return _released(engine, folder, ("cascade",), "--cascade")


def _released(engine: str, folder: Path, stages: tuple[str, ...], option: str) -> Path:
    """The first that is there of `stages`. Raises FaceAlignError, naming `option`, when there is none."""
    suffixes = {"onnx": (".onnx",), "caffe": (".caffemodel",)}.get(engine, (".caffemodel", ".onnx"))
    for stage in stages:
        for suffix in suffixes:
            path = folder / f"mobilenet_v2_{stage}{suffix}"
            if path.is_file():
                return path
    raise FaceAlignError(f"{folder}: no mobilenet_v2_{stages[0]}{suffixes[0]} in it; give {option} FILE")
