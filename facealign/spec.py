"""What must be known beside the weights: how a crop is made for a network and how its output is read.

The same JSON object is stored beside a caffemodel (`NAME.json`, or `model.json` in its folder) and in an
ONNX file's metadata under the key `facealign`.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError

METADATA_KEY = "facealign"


@dataclass(frozen=True)
class ModelSpec:
    """How to feed a landmark network and read its answer.

    crop: "square" (a clean, invertible affine crop of the widened, squared box) or "published" (the reference
    demo's arithmetic). box_scale: side of the crop over the longer side of the box; box_shift: how far the
    crop's centre lies right of and below the box's centre, as a fraction of that longer side.
    pixel = (value - mean) * scale, channels in the order named. The output is 2 * landmarks numbers, all x
    then all y; landmark pixel in the crop (0-based) = value * input side - origin.
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
    box_scale: float = 1.2
    box_shift: tuple[float, float] = (0.0, 0.05)
    landmarks: int = 68
    landmark_order: str = "300-W 68-point, x then y"
    origin: int = 1

    def to_json(self) -> str:
        """The spec as a JSON object, one key a field."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def portable(self) -> "ModelSpec":
        """The spec without `deploy`, for a file that holds its own net."""
        return dataclasses.replace(self, deploy="")

    @staticmethod
    def from_json(text: str, where: str) -> "ModelSpec":
        """Read what `to_json` wrote; `where` names the source in errors.

        Raises FaceAlignError on text that is no JSON object, and on unknown or wrongly typed fields.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            fields = {field.name: field for field in dataclasses.fields(ModelSpec)}
            unknown = sorted(set(values) - set(fields))
            if unknown:
                raise FaceAlignError(f"{where}: unknown field {unknown[0]!r}: made by a newer version?")
            defaults = ModelSpec()
            for name, value in values.items():
                kind = type(getattr(defaults, name))
                if kind is tuple:
                    values[name] = (float(value[0]), float(value[1]))
                elif kind is float:
                    values[name] = float(value)
                elif not isinstance(value, kind):
                    raise FaceAlignError(f"{where}: {name} is {value!r}, expected {kind.__name__}")
            spec = ModelSpec(**values)
        except (json.JSONDecodeError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise FaceAlignError(f"{where}: not a model description ({error})") from error
        if spec.crop not in ("square", "published") or spec.channels not in ("BGR", "RGB"):
            raise FaceAlignError(f"{where}: crop {spec.crop!r} or channels {spec.channels!r} is not known")
        return spec


def spec_path(caffemodel: Path) -> Path:
    """The file that describes `caffemodel`: `NAME.json` beside it, else `model.json` in its folder.

    Raises FaceAlignError when neither exists.
    """
    for path in (caffemodel.with_suffix(".json"), caffemodel.parent / "model.json"):
        if path.is_file():
            return path
    raise FaceAlignError(
        f"{caffemodel}: no {caffemodel.with_suffix('.json').name} or model.json beside it says how to crop "
        "for these weights; for weights of the reference's author use --published"
    )


def load_spec(caffemodel: Path) -> ModelSpec:
    """The spec beside a caffemodel, its `deploy` made absolute (it is stored relative to the JSON file)."""
    path = spec_path(caffemodel)
    spec = ModelSpec.from_json(path.read_text(), str(path))
    deploy = (path.parent / spec.deploy).resolve()
    if not spec.deploy or not deploy.is_file():
        raise FaceAlignError(f"{path}: deploy net {deploy} does not exist; run `make prototxt`")
    return dataclasses.replace(spec, deploy=str(deploy))
