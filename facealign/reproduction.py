"""From annotated photos to the released weights and their figures: the steps, and which are done."""

import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.datasets import Sample
from facealign.engines.caffe_engine import import_caffe
from facealign.files import replacing
from facealign.networks import mobilenet_v2, prototxt
from facealign.networks.recipes import Recipe, recipe_named
from facealign.networks.sources import MemorySource
from facealign.snapshots import snapshots
from facealign.validation_part import in_validation

MACHINE = "2 cores of an AMD EPYC (family 25, model 17)"
"""Where the minutes below were measured."""
ITERATION_SECONDS = 0.043
"""What `iteration_seconds` gives there."""
COPIES, COPIES_OF = 60, {"helen_256": 30, "youtube_faces": 10, "300w_lp_afw": 10}
"""Samples a face for stages 1 and 2, and of folders whose points are less sure."""
WEIGHTS = {
    "afw": 12,
    "helen/trainset": 26,
    "lfpw/trainset": 24,
    "helen_256": 18,
    "youtube_faces": 10,
    "300w_lp_afw": 10,
}
"""How often stage 3's samples come from which folder; from all others together as from OTHERS."""
OTHERS = 10
MILD = ("--shift", "0.04", "--scale", "0.95", "1.08", "--rotate", "-15", "15", "--noise", "0", "5")
"""How stage 3's samples vary."""
AS_FIRST = ("--shift", "0.02", "--scale", "0.95", "1.05", "--rotate", "-4", "4", "--noise", "0", "5")
"""How the second network's vary: a little more than tools/crop_variation.py finds after stage 3."""
MARGIN = "0.07"
"""Around the mean shape in the second network's crop."""
ALIGNED = ("--fresh", "--margin", MARGIN, *AS_FIRST, "--after")
"""Loose crops for a second network; the first one's file follows."""
STAGE3, CASCADE = "mobilenet_v2/stage3", "mobilenet_v2/cascade"
BENT = ("--looks", "--deform", "0.03")
"""How samples of the long runs are changed beyond that."""
OF_300W = ("afw", "helen/trainset", "lfpw/trainset")
"""What is measured is annotated as these are: they end a training, without mirror images."""
END = ("--looks", "--base-lr", "0.0003")
"""How the first round's runs end it."""
TAUGHT_END = ("--looks", "--deform", "0.02", "--base-lr", "0.001")
"""How the second round's do, on HELEN's small copies too, as the teacher has a say in their landmarks."""


@dataclass(frozen=True)
class Step:
    """A program of ours to run, as `python -m` takes it.

    minutes: how long it takes on MACHINE; result: what is there afterwards; needs: names of the steps it
    builds on; iterations: of a training, else 0, whose snapshots are of `stage`.
    """

    name: str
    command: tuple[str, ...]
    minutes: float
    result: Path
    needs: tuple[str, ...] = ()
    iterations: int = 0
    stage: str = ""


@dataclass(frozen=True)
class Run:
    """A training run: its name, LMDBs, iterations, minutes on MACHINE, further arguments."""

    name: str
    data: str
    iterations: int
    minutes: float
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """A file of weights, and the name of the step that makes it."""

    path: Path
    step: str

    @property
    def caffemodel(self) -> "Weights":
        """The same, released beside the ONNX file."""
        return Weights(self.path.with_suffix(".caffemodel"), self.step)


def plan(photos: Path, work: Path, samples: Collection[Sample], scale: float = 1.0) -> list[Step]:
    """The steps in their order, the best weights first; all that they write is in `work`.

    samples: the faces that `photos` holds; scale: of the iterations, under 1 to try it out.
    """
    steps = _Steps(photos, work, samples, scale)
    _second_round(steps, _first_round(steps))
    _reference(steps)
    return steps.all


class _Steps:
    """Grows a plan, step by step, for `plan`, which says what the arguments are."""

    def __init__(self, photos: Path, work: Path, samples: Collection[Sample], scale: float) -> None:
        self.photos, self.work, self.scale = photos, work, scale
        self.folders = {sample.subset for sample in samples if not sample.is_test}
        self.validation_is_fixed = any(map(in_validation, samples))
        self.boxes = work / "boxes.json"
        command = ("tools.detect_faces", "--data", str(photos), "--output", str(self.boxes))
        self.all = [Step("boxes", command, 3, self.boxes)]

    def drawn(self, *names: str) -> tuple[str, ...]:
        """Arguments of a training on fresh samples of these folders, those that are there; none: of all."""
        present = [name for name in names if name in self.folders]
        return ("--fresh", "--weigh", *weights_of(present or self.folders))

    def lmdb(self, name: str, minutes: float, *arguments: str, made: Sequence[Weights] = ()) -> None:
        """made: weights that the arguments name."""
        output = self.work / name
        command = ("tools.make_lmdb", "--data", str(self.photos), "--boxes", str(self.boxes))
        command_line = (*command, "--output", str(output), *arguments)
        needs = ("boxes", *(weights.step for weights in made))
        self.all.append(Step(name, command_line, minutes, output, needs))

    def train(self, recipe: Recipe, run: Run, start: Weights | None) -> Weights:
        directory = self.work / "runs" / run.name.replace(", run ", "_run")
        iterations = max(1, round(run.iterations * self.scale))
        command = (
            *("tools.train", "--recipe", recipe.name, "--data", str(self.work / run.data)),
            *("--run", str(directory), "--iterations", str(iterations)),
            *(("--weights", str(start.path)) if start else ()),
            *run.arguments,
        )
        needs = (run.data, *((start.step,) if start else ()))
        minutes = run.minutes * self.scale
        self.all.append(Step(run.name, command, minutes, directory, needs, iterations, recipe.stage))
        return Weights(directory / f"{recipe.stage}_iter_{iterations}.caffemodel", run.name)

    def release(
        self, recipe: Recipe, run: Run, trained: Weights, folder: str, figures: Step | None = None
    ) -> Weights:
        """figures: the step that measured the weights, if one did."""
        name, output = f"{run.name}: release", self.work / folder
        made = output / f"{recipe.snapshot_name}.onnx"
        command = (
            *("tools.release", "--run", str(trained.path.parent), "--data", str(self.work / run.data)),
            *(("--evaluation", str(figures.result)) if figures else ()),
            *("--output", str(output)),
        )
        needs = (trained.step, *((figures.name,) if figures else ()))
        self.all.append(Step(name, command, 0.1, made, needs))
        return Weights(made, name)

    def measured(
        self, recipe: Recipe, run: Run, start: Weights | None, first: Weights | None = None
    ) -> Weights:
        """Train, measure, release with the figures. first: the network before a second one."""
        trained = self.train(recipe, run, start)
        output = self.work / "evaluations" / f"{recipe.snapshot_name}.json"
        which: tuple[str, ...] = ("--weights", str(trained.path))
        if first is not None:
            which = ("--weights", str(first.path), "--cascade", str(trained.path))
        if not self.validation_is_fixed:  # then other faces were set apart
            which += ("--validation-of", str(self.work / run.data))
        command = ("tools.evaluate", "--data", str(self.photos), *which, "--json", str(output))
        needs = (trained.step, *((first.step,) if first else ()))
        figures = Step(f"{run.name}: figures", command, 0.5, output, needs)
        self.all.append(figures)
        return self.release(recipe, run, trained, "models", figures)


@dataclass(frozen=True)
class _FirstRound:
    """Where the second round's runs begin, and the networks whose mean answer is their teacher."""

    stage3: Weights
    cascade: Weights
    teacher: tuple[Weights, Weights]


def _first_round(steps: _Steps) -> _FirstRound:
    recipe, end = recipe_named(STAGE3), (*steps.drawn(*OF_300W), *END)
    steps.lmdb("lmdb_fresh", 0.3, "--fresh", *MILD)
    steps.lmdb("lmdb_finish", 0.3, "--fresh", "--flip", "0", *MILD)
    run = Run("mobilenet_v2_stage3, run 1", "lmdb_fresh", 64_000, 55, steps.drawn())
    stage3 = steps.train(recipe, run, None)
    run = Run("mobilenet_v2_stage3, run 2", "lmdb_fresh", 60_000, 55, (*steps.drawn(), *BENT))
    stage3 = steps.train(recipe, run, stage3)
    run = Run("teacher_stage3", "lmdb_finish", 3_000, 3, end)
    first = steps.release(recipe, run, steps.train(recipe, run, stage3), "teacher")

    recipe = recipe_named(CASCADE)
    steps.lmdb("lmdb_cascade", 0.3, *ALIGNED, str(first.path), made=[first])
    steps.lmdb("lmdb_cascade_finish", 0.3, "--flip", "0", *ALIGNED, str(first.path), made=[first])
    less_bent = (*steps.drawn(), "--looks", "--deform", "0.02")
    run = Run("mobilenet_v2_cascade, run 1", "lmdb_cascade", 18_000, 17, less_bent)
    cascade = steps.train(recipe, run, first.caffemodel)
    run = Run("teacher_cascade", "lmdb_cascade_finish", 1_500, 1.5, end)
    second = steps.release(recipe, run, steps.train(recipe, run, cascade), "teacher")
    return _FirstRound(stage3, cascade, (first, second))


def _second_round(steps: _Steps, before: _FirstRound) -> None:
    recipe, end = recipe_named(STAGE3), (*steps.drawn(*OF_300W, "helen_256"), *TAUGHT_END)
    taught = ("--teacher", *(str(weights.path) for weights in before.teacher))
    steps.lmdb("lmdb_taught", 0.7, "--fresh", *MILD, *taught, made=before.teacher)
    steps.lmdb("lmdb_taught_finish", 0.7, "--fresh", "--flip", "0", *MILD, *taught, made=before.teacher)
    again = (*steps.drawn(), *BENT, "--base-lr", "0.002")
    run = Run("mobilenet_v2_stage3, run 3", "lmdb_taught", 45_000, 42, again)
    stage3 = steps.train(recipe, run, before.stage3)
    run = Run("mobilenet_v2_stage3", "lmdb_taught_finish", 5_000, 5, end)
    first = steps.measured(recipe, run, stage3)

    recipe = recipe_named(CASCADE)
    run = Run("mobilenet_v2_cascade, run 2", "lmdb_cascade", 60_000, 55, (*steps.drawn(), *BENT))
    cascade = steps.train(recipe, run, before.cascade)
    last = ("--flip", "0", *ALIGNED, str(first.path), *taught)
    steps.lmdb("lmdb_taught_cascade_finish", 0.7, *last, made=[first, *before.teacher])
    run = Run("mobilenet_v2_cascade", "lmdb_taught_cascade_finish", 5_000, 5, end)
    steps.measured(recipe, run, cascade, first)


def _reference(steps: _Steps) -> None:
    """The reference's stages and VGG-Shadow."""
    few = [f"{name}={count}" for name, count in COPIES_OF.items() if name in steps.folders]
    steps.lmdb("lmdb_reference", 0.5, "--copies", str(COPIES), *(("--copies-of", *few) if few else ()))
    steps.lmdb("lmdb_70x60", 0.3, "--network", "vgg_shadow", "--copies", "10", *MILD)
    before: Weights | None = None
    for name, data, iterations, minutes in (
        ("mobilenet_v2/stage1", "lmdb_reference", 12_000, 10.0),
        ("mobilenet_v2/stage2", "lmdb_reference", 3_000, 2.5),
        ("vgg_shadow", "lmdb_70x60", 1_200, 13.0),
    ):
        recipe = recipe_named(name)
        run = Run(recipe.snapshot_name, data, iterations, minutes)
        before = steps.measured(recipe, run, before if recipe.starts_from else None).caffemodel


def weights_of(folders: Collection[str]) -> list[str]:
    """`--weigh` of tools/train.py for photos in `folders`."""
    weights: Mapping[str, int] = {name: weight for name, weight in WEIGHTS.items() if name in folders}
    others = {"*": OTHERS} if set(folders) - weights.keys() else {}
    return [f"{name}={weight}" for name, weight in {**weights, **others}.items()]


class Progress:
    """Which of the steps are done, remembered in a file.

    A step is done when it ended well by the same command as now, all that it needs is as it was then, and
    its result is there.
    """

    def __init__(self, path: Path, steps: Sequence[Step]) -> None:
        self.path = path
        self.digests: dict[str, str] = {}
        for step in steps:
            needed = [self.digests[name] for name in step.needs]
            told = json.dumps([step.command, needed]).encode()
            self.digests[step.name] = hashlib.sha256(told).hexdigest()
        self._done: dict[str, str] = {}
        if path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self._done = {str(name): str(digest) for name, digest in kept.items()}
            except (ValueError, AttributeError):
                pass  # damaged: then all is done again, most of it from what is there

    def has(self, step: Step) -> bool:
        return self._done.get(step.name) == self.digests[step.name] and step.result.exists()

    def add(self, step: Step) -> None:
        self._done[step.name] = self.digests[step.name]
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(self._done, indent=1) + "\n", encoding="utf-8")


def minutes_left(step: Step, speed: float) -> float:
    """How long a step that is not done will take; of a training that was begun, the rest.

    speed: this machine's, 1 for MACHINE.
    """
    share = 1.0
    if step.iterations:
        found = snapshots(step.result, step.stage)
        if found:
            share = max(0.0, 1 - found[0].iteration / step.iterations)
    return step.minutes * share / speed


def iteration_seconds(directory: Path, rounds: int = 20) -> float:
    """Forward and backward pass of stage 3's train net over 64 faces, the median. Writes the net there.

    Raises FaceAlignError when there is no Caffe.
    """
    caffe = import_caffe()
    path = directory / "speed.prototxt"
    net = mobilenet_v2.train_val(recipe_named("mobilenet_v2/stage3"), MemorySource())
    with replacing(path) as partial:
        partial.write_text(prototxt.text(net, "To measure how fast this machine is"), encoding="utf-8")
    net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    for blob, spread in (("data", 1.0), ("landmark", 0.5)):
        net.blobs[blob].data[...] = rng.uniform(-spread, spread, net.blobs[blob].data.shape)
    taken = []
    for _ in range(rounds + 3):
        begun = time.perf_counter()
        net.forward()
        net.backward()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken[3:]))  # the first ones also make what is kept
