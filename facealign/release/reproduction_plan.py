"""Plan of the reproduction: the steps from annotated photos to the released weights and their figures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facealign.datasets.sample import Sample
from facealign.datasets.validation_300w import in_validation
from facealign.networks.recipes import Recipe, recipe_named

REFERENCE_COPIES, REFERENCE_COPIES_OF = 60, {"helen_256": 30, "youtube_faces": 10, "300w_lp_afw": 10}
"""Samples per face for stages 1 and 2, and for folders whose annotation is less reliable."""
WEIGHTS = {
    "afw": 12,
    "helen/trainset": 26,
    "lfpw/trainset": 24,
    "helen_256": 18,
    "youtube_faces": 10,
    "300w_lp_afw": 10,
}
"""Sampling weights of folders for stage 3; OTHERS is that of all other folders together."""
OTHERS = 10
MILD = ("--shift", "0.04", "--scale", "0.95", "1.08", "--rotate", "-15", "15", "--noise", "0", "5")
"""Augmentation of stage 3's samples."""
AS_FIRST = ("--shift", "0.02", "--scale", "0.95", "1.05", "--rotate", "-4", "4", "--noise", "0", "5")
"""Augmentation for the second cascade stage: a little more than tools/crop_variation.py measures."""
ALIGNED = ("--on-the-fly", *AS_FIRST, "--after")
"""Options for context crops of a second cascade stage; the weights of the first stage follow."""
STAGE3, CASCADE = "mobilenet_v2/stage3", "mobilenet_v2/cascade"
ELASTIC = ("--photometric", "--elastic", "0.03")
"""Further augmentation of the long runs."""
OF_300W = ("afw", "helen/trainset", "lfpw/trainset")
"""Folders annotated as the measured faces are: each training ends on them, without mirror images."""
END = ("--photometric", "--base-lr", "0.0003")
"""Options of the first round's final runs."""
DISTILLED_END = ("--photometric", "--elastic", "0.02", "--base-lr", "0.001")
"""Options of the second round's final runs, which use HELEN's small copies too, on distilled landmarks."""


@dataclass(frozen=True)
class PlannedStep:
    """A step of the plan.

    command: verb and arguments of `facealign`; minutes: duration on MACHINE; result: file or folder that the
    step makes; needs: names of the steps it builds on; iterations: of a training, else 0; stage: name of the
    training's snapshots.
    """

    name: str
    command: tuple[str, ...]
    minutes: float
    result: Path
    needs: tuple[str, ...] = ()
    iterations: int = 0
    stage: str = ""


@dataclass(frozen=True)
class PlannedRun:
    """A training run: its name, LMDBs, iterations, minutes on MACHINE, further arguments."""

    name: str
    data: str
    iterations: int
    minutes: float
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """A weights file, and the name of the step that makes it."""

    path: Path
    step: str

    @property
    def caffemodel(self) -> "Weights":
        """The caffemodel released beside the ONNX file."""
        return Weights(self.path.with_suffix(".caffemodel"), self.step)


def plan(photos: Path, work: Path, samples: Collection[Sample], scale: float = 1.0) -> list[PlannedStep]:
    """The steps in order, the best weights first; all results go to `work`.

    samples: the faces in `photos`; scale: factor of all iterations, below 1 for a trial.
    """
    steps = _Steps(photos, work, samples, scale)
    _second_round(steps, _first_round(steps))
    _reference(steps)
    return steps.all


class _Steps:
    """Builder of a plan; see `plan` for the arguments."""

    def __init__(self, photos: Path, work: Path, samples: Collection[Sample], scale: float) -> None:
        self.photos, self.work, self.scale = photos, work, scale
        self.folders = {sample.subset for sample in samples if not sample.is_test}
        self.validation_is_fixed = any(map(in_validation, samples))
        self.boxes = work / "boxes.json"
        command = ("detect-faces", "--data", str(photos), "--output", str(self.boxes))
        self.all = [PlannedStep("boxes", command, 3, self.boxes)]

    def drawn(self, *names: str) -> tuple[str, ...]:
        """Training options for samples augmented on the fly from these folders, where present; none: all."""
        present = [name for name in names if name in self.folders]
        return ("--on-the-fly", "--weigh", *weights_of(present or self.folders))

    def lmdb(self, name: str, minutes: float, *arguments: str, made: Sequence[Weights] = ()) -> None:
        """Add a step that makes LMDBs; made: weights that the arguments name."""
        output = self.work / name
        command = ("make-lmdb", "--data", str(self.photos), "--boxes", str(self.boxes))
        command_line = (*command, "--output", str(output), *arguments)
        needs = ("boxes", *(weights.step for weights in made))
        self.all.append(PlannedStep(name, command_line, minutes, output, needs))

    def train(self, recipe: Recipe, run: PlannedRun, start: Weights | None) -> Weights:
        directory = self.work / "runs" / run.name.replace(", run ", "_run")
        iterations = max(1, round(run.iterations * self.scale))
        command = (
            *("train", "--recipe", recipe.name, "--data", str(self.work / run.data)),
            *("--run", str(directory), "--iterations", str(iterations)),
            *(("--weights", str(start.path)) if start else ()),
            *run.arguments,
        )
        needs = (run.data, *((start.step,) if start else ()))
        minutes = run.minutes * self.scale
        self.all.append(PlannedStep(run.name, command, minutes, directory, needs, iterations, recipe.stage))
        return Weights(directory / f"{recipe.stage}_iter_{iterations}.caffemodel", run.name)

    def release(
        self,
        recipe: Recipe,
        run: PlannedRun,
        trained: Weights,
        folder: str,
        figures: PlannedStep | None = None,
    ) -> Weights:
        """Add a step that releases weights; figures: the step that evaluated them, if any."""
        name, output = f"{run.name}: release", self.work / folder
        made = output / f"{recipe.snapshot_name}.onnx"
        command = (
            *("release", "--run", str(trained.path.parent), "--data", str(self.work / run.data)),
            *(("--evaluation", str(figures.result)) if figures else ()),
            *("--output", str(output)),
        )
        needs = (trained.step, *((figures.name,) if figures else ()))
        self.all.append(PlannedStep(name, command, 0.1, made, needs))
        return Weights(made, name)

    def measured(
        self, recipe: Recipe, run: PlannedRun, start: Weights | None, first: Weights | None = None
    ) -> Weights:
        """Add training, evaluation and release with the figures; first: the cascade's first stage, if any."""
        trained = self.train(recipe, run, start)
        output = self.work / "evaluations" / f"{recipe.snapshot_name}.json"
        which: tuple[str, ...] = ("--weights", str(trained.path))
        if first is not None:
            which = ("--weights", str(first.path), "--cascade", str(trained.path))
        if not self.validation_is_fixed:  # the LMDBs name the validation faces
            which += ("--validation-of", str(self.work / run.data))
        command = ("evaluate", "--data", str(self.photos), *which, "--json", str(output))
        needs = (trained.step, *((first.step,) if first else ()))
        figures = PlannedStep(f"{run.name}: figures", command, 0.5, output, needs)
        self.all.append(figures)
        return self.release(recipe, run, trained, "models", figures)


@dataclass(frozen=True)
class _FirstRound:
    """Weights that the second round's runs start from, and the cascade that is their teacher."""

    stage3: Weights
    cascade: Weights
    teacher: tuple[Weights, Weights]


def _first_round(steps: _Steps) -> _FirstRound:
    recipe, end = recipe_named(STAGE3), (*steps.drawn(*OF_300W), *END)
    steps.lmdb("lmdb_on_the_fly", 0.3, "--on-the-fly", *MILD)
    steps.lmdb("lmdb_finish", 0.3, "--on-the-fly", "--flip", "0", *MILD)
    run = PlannedRun("mobilenet_v2_stage3, run 1", "lmdb_on_the_fly", 64_000, 55, steps.drawn())
    stage3 = steps.train(recipe, run, None)
    run = PlannedRun("mobilenet_v2_stage3, run 2", "lmdb_on_the_fly", 60_000, 55, (*steps.drawn(), *ELASTIC))
    stage3 = steps.train(recipe, run, stage3)
    run = PlannedRun("teacher_stage3", "lmdb_finish", 3_000, 3, end)
    first = steps.release(recipe, run, steps.train(recipe, run, stage3), "teacher")

    recipe = recipe_named(CASCADE)
    steps.lmdb("lmdb_cascade", 0.3, *ALIGNED, str(first.path), made=[first])
    steps.lmdb("lmdb_cascade_finish", 0.3, "--flip", "0", *ALIGNED, str(first.path), made=[first])
    mild_elastic = (*steps.drawn(), "--photometric", "--elastic", "0.02")
    run = PlannedRun("mobilenet_v2_cascade, run 1", "lmdb_cascade", 18_000, 17, mild_elastic)
    cascade = steps.train(recipe, run, first.caffemodel)
    run = PlannedRun("teacher_cascade", "lmdb_cascade_finish", 1_500, 1.5, end)
    second = steps.release(recipe, run, steps.train(recipe, run, cascade), "teacher")
    return _FirstRound(stage3, cascade, (first, second))


def _second_round(steps: _Steps, before: _FirstRound) -> None:
    recipe, end = recipe_named(STAGE3), (*steps.drawn(*OF_300W, "helen_256"), *DISTILLED_END)
    teacher = ("--teacher", *(str(weights.path) for weights in before.teacher))
    steps.lmdb("lmdb_distilled", 0.7, "--on-the-fly", *MILD, *teacher, made=before.teacher)
    steps.lmdb(
        "lmdb_distilled_finish", 0.7, "--on-the-fly", "--flip", "0", *MILD, *teacher, made=before.teacher
    )
    again = (*steps.drawn(), *ELASTIC, "--base-lr", "0.002")
    run = PlannedRun("mobilenet_v2_stage3, run 3", "lmdb_distilled", 45_000, 42, again)
    stage3 = steps.train(recipe, run, before.stage3)
    run = PlannedRun("mobilenet_v2_stage3", "lmdb_distilled_finish", 5_000, 5, end)
    first = steps.measured(recipe, run, stage3)

    recipe = recipe_named(CASCADE)
    run = PlannedRun("mobilenet_v2_cascade, run 2", "lmdb_cascade", 60_000, 55, (*steps.drawn(), *ELASTIC))
    cascade = steps.train(recipe, run, before.cascade)
    last = ("--flip", "0", *ALIGNED, str(first.path), *teacher)
    steps.lmdb("lmdb_distilled_cascade_finish", 0.7, *last, made=[first, *before.teacher])
    run = PlannedRun("mobilenet_v2_cascade", "lmdb_distilled_cascade_finish", 5_000, 5, end)
    steps.measured(recipe, run, cascade, first)


def _reference(steps: _Steps) -> None:
    """The reference's stages and VGG-Shadow."""
    few = [f"{name}={count}" for name, count in REFERENCE_COPIES_OF.items() if name in steps.folders]
    steps.lmdb(
        "lmdb_reference", 0.5, "--copies", str(REFERENCE_COPIES), *(("--copies-of", *few) if few else ())
    )
    steps.lmdb("lmdb_70x60", 0.3, "--network", "vgg_shadow", "--copies", "10", *MILD)
    before: Weights | None = None
    for name, data, iterations, minutes in (
        ("mobilenet_v2/stage1", "lmdb_reference", 12_000, 10.0),
        ("mobilenet_v2/stage2", "lmdb_reference", 3_000, 2.5),
        ("vgg_shadow", "lmdb_70x60", 1_200, 13.0),
    ):
        recipe = recipe_named(name)
        run = PlannedRun(recipe.snapshot_name, data, iterations, minutes)
        before = steps.measured(recipe, run, before if recipe.starts_from else None).caffemodel


def weights_of(folders: Collection[str]) -> list[str]:
    """Arguments of `facealign train --weigh` for photos in `folders`."""
    weights: Mapping[str, int] = {name: weight for name, weight in WEIGHTS.items() if name in folders}
    others = {"*": OTHERS} if set(folders) - weights.keys() else {}
    return [f"{name}={weight}" for name, weight in {**weights, **others}.items()]
