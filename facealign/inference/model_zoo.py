"""The released weights in models/."""

from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.package_data import package_folder
from facealign.io.unfinished import settle

MODELS = package_folder("models")


def default_weights(engine: str, folder: Path = MODELS) -> Path:
    """The released weights of the last training stage. Raises FaceAlignError when there are none."""
    return _released(engine, folder, ("stage3", "stage2", "stage1"), "--weights")


def second_of(given: str | bool, engine: str) -> Path | None:
    """Weights for `--cascade [FILE]`: None (False), the released second cascade stage (True), or a file."""
    if given is False:
        return None
    return default_cascade(engine) if isinstance(given, bool) else Path(given)


def default_cascade(engine: str, folder: Path = MODELS) -> Path:
    """The released second cascade stage. Raises FaceAlignError when there is none."""
    return _released(engine, folder, ("cascade",), "--cascade")


def _released(engine: str, folder: Path, stages: tuple[str, ...], option: str) -> Path:
    """Weights of the first of `stages` that has any. Raises FaceAlignError, naming `option`, if none has."""
    suffixes = {"auto": (".caffemodel", ".onnx"), "caffe": (".caffemodel",)}.get(engine, (".onnx",))
    settle(folder)  # a release that was killed may have left them unnamed
    for stage in stages:
        for suffix in suffixes:
            path = folder / f"mobilenet_v2_{stage}{suffix}"
            if path.is_file():
                return path
    raise FaceAlignError(f"{folder}: no mobilenet_v2_{stages[0]}{suffixes[0]} in it; give {option} FILE")
