"""Training recipes as data: prototxt, solver, training runs and docs come from these rows."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facealign.caffe_files.proto import caffe_pb2
from facealign.errors import FaceAlignError


@dataclass(frozen=True)
class Recipe:
    """One training stage of one network.

    normalized: of WeightEuclideanLoss, 1 to divide each face's error by its eye distance; function: of
    LandmarkLoss, which then takes its place, divided by the inter-pupil distance; starts_from: the recipe
    whose newest weights are the starting point; second_level: whether it trains a second cascade stage; the
    rest are Caffe's solver settings under their own names, None if the policy does not use them.
    """

    name: str
    network: str
    stage: str
    description: str
    normalized: int
    base_lr: float
    lr_policy: str
    power: float | None = None
    gamma: float | None = None
    warmup_iter: int = 0
    final_lr_ratio: float | None = None
    weight_decay: float = 0.0005
    momentum: float = 0.9
    momentum2: float = 0.999
    batch_size: int = 64
    max_iter: int = 1_000_000
    display: int = 100
    snapshot: int = 1000
    test_iter: int = 100
    test_interval: int = 5000
    dropout: float = 0.0
    function: str | None = None
    starts_from: str | None = None
    second_level: bool = False

    @property
    def run_directory(self) -> str:
        """Default folder of a run of this recipe, relative to the repository's root."""
        return f"runs/{self.snapshot_name}"

    @property
    def snapshot_name(self) -> str:
        """The recipe's name as one word of a file name."""
        return self.name.replace("/", "_")

    @property
    def snapshot_prefix(self) -> str:
        """Path to which Caffe appends `_iter_N.caffemodel`."""
        return f"{self.run_directory}/{self.stage}"


POLICIES: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "inv": ("gamma", "power"),
    "poly": ("power",),
    "exp": ("gamma",),
    "cosine": (),
}
"""Learning-rate policies, and the fields that each needs."""
NUMBERS: dict[str, type] = {
    **dict.fromkeys(("base_lr", "power", "gamma", "final_lr_ratio", "weight_decay", "momentum"), float),
    **dict.fromkeys(("momentum2", "dropout"), float),
    **dict.fromkeys(("warmup_iter", "batch_size", "normalized"), int),
}
"""Settings that are numbers, with their types."""
_RANGES: dict[str, tuple[float, float]] = {
    "base_lr": (1e-12, math.inf),
    "batch_size": (1, 1e5),
    "normalized": (0, 2),
    **dict.fromkeys(("momentum", "momentum2", "dropout"), (0.0, 1.0)),
}
"""Least value and upper bound of settings that are not just 0 or more."""
CHOICES: dict[str, tuple[str, ...]] = {
    "lr_policy": tuple(POLICIES),
    "function": tuple(caffe_pb2.LandmarkLossParameter.Function.keys()),
}
"""Settings that are words, with the words there are."""
FIELDS_LEFT_OUT: dict[str, Any] = {
    field.name: field.default
    for field in dataclasses.fields(Recipe)
    if field.default is not dataclasses.MISSING
}
"""Defaults of the fields that a stored recipe may lack."""
STAGE3 = Recipe(
    name="mobilenet_v2/stage3",
    network="mobilenet_v2",
    stage="stage3",
    description=(
        "From random weights with the mean point-to-point error over the inter-pupil distance.\n"
        "Ours: the published network by another recipe."
    ),
    normalized=0,
    function="DISTANCE",
    base_lr=0.003,
    lr_policy="cosine",
    warmup_iter=500,
    weight_decay=1e-6,
    max_iter=100_000,
)
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="mobilenet_v2/stage1",
            network="mobilenet_v2",
            stage="stage1",
            description=(
                "From random weights with the plain Euclidean loss.\n"
                "Our reconstruction: the reference publishes no stage 1."
            ),
            normalized=0,
            base_lr=0.003,
            lr_policy="poly",
            power=1.0,
            weight_decay=1e-6,
            max_iter=100_000,
        ),
        Recipe(
            name="mobilenet_v2/stage2",
            network="mobilenet_v2",
            stage="stage2",
            description=(
                "From stage 1's weights with the loss divided by the eye distance.\n"
                "The published train_val and solver (its released weights are iteration 600000)."
            ),
            normalized=1,
            base_lr=0.0001,
            lr_policy="inv",
            gamma=1e-5,
            power=0.75,
            starts_from="mobilenet_v2/stage1",
        ),
        STAGE3,
        dataclasses.replace(
            STAGE3,
            name="mobilenet_v2/cascade",
            stage="cascade",
            description=(
                "Second cascade stage, from stage 3's weights: crops aligned by a first stage's landmarks.\n"
                "Ours: the published network; its samples come from facealign make-lmdb --after."
            ),
            base_lr=0.002,
            starts_from="mobilenet_v2/stage3",
            second_level=True,
        ),
        dataclasses.replace(
            STAGE3,
            name="vgg_shadow",
            network="vgg_shadow",
            stage="vgg_shadow",
            description=(
                "From random weights with the published loss, dropout 0.2 as the published net's name says.\n"
                "The reference publishes no solver for it; stage 3's is used, at a lower rate."
            ),
            function=None,
            base_lr=0.0005,
            batch_size=32,
            dropout=0.2,
        ),
    )
}


def changed(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """The recipe with other settings, given as text: of the solver, the batch, the dropout, the loss.

    Raises ValueError for an unknown setting, a value out of its range, or a policy that lacks a setting.

    >>> changed(RECIPES["mobilenet_v2/stage2"], {"weight_decay": "0", "lr_policy": "poly"}).lr_policy
    'poly'
    """
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name in CHOICES:
            if text not in CHOICES[name]:
                raise ValueError(f"{name}={text}: expected {', '.join(CHOICES[name])}")
            values[name] = text
            continue
        if name not in NUMBERS:
            raise ValueError(f"{name}={text}: no such setting; there are {', '.join([*CHOICES, *NUMBERS])}")
        try:
            value = NUMBERS[name](text)
        except ValueError:
            raise ValueError(f"{name}={text}: expected a number") from None
        low, high = _RANGES.get(name, (0, math.inf))
        if not low <= value < high:
            raise ValueError(f"{name}={text}: expected {low} or more and less than {high:g}")
        values[name] = value
    result = dataclasses.replace(recipe, **values)
    for name in POLICIES[result.lr_policy]:
        if getattr(result, name) is None:
            raise ValueError(f"lr_policy={result.lr_policy}: give {name}=NUMBER too")
    return result


def recipe_named(name: str) -> Recipe:
    """The recipe of that name. Raises FaceAlignError, listing the names, when there is none."""
    if name not in RECIPES:
        raise FaceAlignError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
