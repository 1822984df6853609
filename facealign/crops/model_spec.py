"""Description of a landmark network: how its crops are made and how its output is read.

It is stored as a JSON object: beside a caffemodel (`NAME.json`, or `model.json` in its folder), or in the
metadata of an ONNX file under the key `facealign`.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.reading import read_text

METADATA_KEY = "facealign"


@dataclass(frozen=True)
class ModelSpec:
    """How to feed a landmark network and read its output.

    crop: "square" (an invertible affine crop of the widened, squared box), "published" (the reference demo's
    arithmetic), or "aligned" (second cascade stage: a least-squares similarity maps the first stage's
    landmarks onto mean_shape).
    mean_shape: all x, then all y, in 0-based pixels of an aligned crop; else empty.
    after: name of the first cascade stage, on whose errors a second one was trained, if known.
    box_scale: side of the crop over the longer side of the box; box_shift: how far the crop's centre lies
    right of and below the box's centre, as a fraction of that longer side.
    mean, scale: pixel = (value - mean) * scale, channels in the order named.
    landmarks: the output is 2 * landmarks numbers, all x then all y; landmark pixel in the crop (0-based) =
    value * input side - origin.
    mirror_bias: how far to the right, in crop pixels, the network predicts landmarks; measured by
    `LandmarkNetwork.mirror_bias`. Averaging with mirrored crops (`--flip`) cancels it, and it is added again.
    share: blend weight of a second cascade stage's prediction, above 0 and at most 1; the first stage's is
    1 - share.

    >>> spec = ModelSpec(network="mobilenet_v2", stage="stage3")
    >>> spec.name, spec.size, ModelSpec.from_json(spec.to_json(), "here") == spec
    ('mobilenet_v2 stage3', (64, 64), True)
    """

    network: str = "mobilenet_v2"
    stage: str = "stage2"
    deploy: str = ""
    input_name: str = "data"
    output_name: str = "fc4"
    input_height: int = 64
    input_width: int = 64
    channels: str = "BGR"
    mean: float = 127.5
    scale: float = 0.0078125
    crop: str = "square"
    box_scale: float = 1.05
    box_shift: tuple[float, float] = (0.02, 0.09)
    landmarks: int = 68
    landmark_order: str = "300-W 68-point, x then y"
    origin: int = 1
    mirror_bias: float = 0.0
    share: float = 1.0
    mean_shape: tuple[float, ...] = ()
    after: str = ""

    @property
    def name(self) -> str:
        """Network and stage."""
        return f"{self.network} {self.stage}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return self.input_height, self.input_width

    @property
    def is_second_stage(self) -> bool:
        """Whether it describes a second cascade stage, which needs the landmarks of a first."""
        return self.crop == "aligned"

    def to_json(self) -> str:
        """The spec as a JSON object, one field a line."""
        fields = dataclasses.asdict(self).items()
        return (
            "{\n"
            + ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields)
            + "\n}\n"
        )

    def portable(self) -> "ModelSpec":
        """The spec without `deploy`, for a file that holds its own net."""
        return dataclasses.replace(self, deploy="")

    @staticmethod
    def from_json(text: str, where: str) -> "ModelSpec":
        """The spec that `to_json` wrote; `where` names the source in errors.

        Raises FaceAlignError on text that is not a JSON object, and on fields that are unknown, of the wrong
        type or out of range.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FaceAlignError(f"{where}: not a model description ({error})") from error
        if not isinstance(values, dict):
            raise FaceAlignError(f"{where}: not a model description, which is a JSON object")
        defaults = dataclasses.asdict(ModelSpec())
        unknown = sorted(set(values) - set(defaults))
        if unknown:
            raise FaceAlignError(f"{where}: unknown field {unknown[0]!r}: made by a newer version?")
        spec = ModelSpec(**{name: _typed(name, values[name], defaults[name], where) for name in values})
        if spec.crop not in ("square", "published", "aligned") or spec.channels not in ("BGR", "RGB"):
            raise FaceAlignError(f"{where}: crop {spec.crop!r} or channels {spec.channels!r} is not known")
        if min(spec.input_height, spec.input_width, spec.landmarks, spec.box_scale) <= 0:
            raise FaceAlignError(f"{where}: the input's sides, landmarks and box_scale must be above 0")
        if not 0 < spec.share <= 1:
            raise FaceAlignError(f"{where}: share is {spec.share:g}, expected more than 0, at most 1")
        numbers = 2 * spec.landmarks * spec.is_second_stage
        if len(spec.mean_shape) != numbers or (numbers and len(set(spec.mean_shape)) == 1):
            raise FaceAlignError(
                f"{where}: mean_shape has {len(spec.mean_shape)} numbers, expected {numbers} for crop "
                f"{spec.crop!r}, not all the same"
            )
        return spec


def _typed(name: str, value: Any, default: Any, where: str) -> Any:
    """`value` of a JSON file in the type of `default`. Raises FaceAlignError when it has another type."""

    def number(value: Any) -> bool:
        finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
        return finite and not isinstance(value, bool)

    if isinstance(default, tuple):
        fits = isinstance(value, list) and len(default) in (0, len(value))  # 0: of any length
        if fits and all(map(number, value)):
            return tuple(map(float, value))
        kind = f"a list of {len(default) or 'all'} numbers"
    elif isinstance(default, float):
        if number(value):
            return float(value)
        kind = "a number"
    elif isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        kind = "a whole number"
    else:
        if isinstance(value, str):
            return value
        kind = "a string"
    raise FaceAlignError(f"{where}: {name} is {value!r}, expected {kind}")


def _candidates(caffemodel: Path) -> tuple[Path, Path]:
    return caffemodel.with_suffix(".json"), caffemodel.parent / "model.json"


def has_spec(caffemodel: Path) -> bool:
    """Whether `caffemodel` has a description; see spec_path."""
    return any(path.is_file() for path in _candidates(caffemodel))


def spec_path(caffemodel: Path) -> Path:
    """Path of the description of `caffemodel`: `NAME.json` beside it, else `model.json` in its folder.

    Raises FaceAlignError when neither exists.
    """
    for path in _candidates(caffemodel):
        if path.is_file():
            return path
    raise FaceAlignError(
        f"{caffemodel}: no {caffemodel.with_suffix('.json').name} or model.json beside it says how to crop "
        "for these weights; for weights of the reference's author use --published"
    )


def load_spec(caffemodel: Path) -> ModelSpec:
    """The spec beside a caffemodel, with an absolute `deploy` (it is stored relative to the JSON file).

    Raises FaceAlignError when the file is missing or malformed, or its deploy net does not exist.
    """
    path = spec_path(caffemodel)
    spec = ModelSpec.from_json(read_text(path, "expected a model description"), str(path))
    if not spec.deploy:
        raise FaceAlignError(f"{path}: names no deploy net; expected a field `deploy`")
    deploy = (path.parent / spec.deploy).resolve()
    if not deploy.is_file():
        raise FaceAlignError(f"{path}: deploy net {deploy} does not exist; run `make prototxt`")
    return dataclasses.replace(spec, deploy=str(deploy))
