"""Description of a landmark network: how its crops are made and how its output is read.

It is stored as a JSON object: beside a caffemodel (`NAME.json`, or `model.json` in its folder), or in the
metadata of an ONNX file under the key `facealign`.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign.errors import FaceAlignError
from facealign.io.reading import parse_json, read_text
from facealign.io.schema import list_of, number, record, text, whole

METADATA_KEY = "facealign"
LARGEST_SIDE = 1024
"""Of a network's input, pixels."""
LEAST_SPREAD = 1.0
"""Of a mean shape, from its first to its last point, pixels."""


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
    def from_json(source: str, where: str) -> "ModelSpec":
        """The spec that `to_json` wrote; source: JSON; where: names it in errors.

        Raises FaceAlignError on what is not a JSON object, and on fields that are unknown, of the wrong type
        or out of range.
        """
        try:
            values = parse_json(source)
        except ValueError as error:
            raise FaceAlignError(f"{where}: not a model description: {error}") from error
        try:
            _FIELDS(values, "")
        except ValueError as error:
            raise FaceAlignError(f"{where}: {error}") from error
        defaults = dataclasses.asdict(ModelSpec())
        spec = ModelSpec(**{name: _typed(value, defaults[name]) for name, value in values.items()})
        numbers = 2 * spec.landmarks * spec.is_second_stage
        points = np.reshape(spec.mean_shape, (2, -1)) if len(spec.mean_shape) == numbers else None
        if points is None or (numbers and np.ptp(points, axis=1).max() < LEAST_SPREAD):
            raise FaceAlignError(
                f"{where}: mean_shape has {len(spec.mean_shape)} numbers, expected {numbers} for crop "
                f"{spec.crop!r}, not all the same"
            )
        return spec


_WORDS = ("network", "stage", "deploy", "input_name", "output_name", "landmark_order", "after")
_FIELDS = record(
    {},
    {
        **{name: text() for name in _WORDS},
        "input_height": whole(1, LARGEST_SIDE),
        "input_width": whole(1, LARGEST_SIDE),
        "channels": text("BGR", "RGB"),
        "mean": number(-1e6, 1e6),
        "scale": number(1e-9, 1e6),
        "crop": text("square", "published", "aligned"),
        "box_scale": number(0.1, 10),
        "box_shift": list_of(number(-10, 10), 2, 2),
        "landmarks": whole(1, 10_000),
        "origin": whole(0, 1),
        "mirror_bias": number(-1000, 1000),
        "share": number(1e-9, 1),
        "mean_shape": list_of(number(-1e6, 1e6)),
    },
    others=False,
)
"""What the fields of a description must be."""


def _typed(value: Any, default: Any) -> Any:
    """A checked value of a JSON file in the type of `default`."""
    if isinstance(default, tuple):
        return tuple(map(float, value))
    return float(value) if isinstance(default, float) else value


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
    try:
        deploy = (path.parent / spec.deploy).resolve()
        found = deploy.is_file()
    except (OSError, RuntimeError) as error:  # too long a name, a loop of links
        raise FaceAlignError(f"{path}: deploy net {spec.deploy}: {error}") from error
    if not found:
        raise FaceAlignError(f"{path}: deploy net {deploy} does not exist; run `make prototxt`")
    return dataclasses.replace(spec, deploy=str(deploy))
