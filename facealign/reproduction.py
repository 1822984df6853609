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


def plan(photos: Path, work: Path, samples: Collection[Sample], scale: float = 1.0) -> list[Step]:
    """The steps in their order, the best weights first; all that they write is in `work`.

    samples: the faces that `photos` holds; scale: of the iterations, under 1 to try it out.
    """
    folders = {sample.subset for sample in samples if not sample.is_test}
    fixed = any(map(in_validation, samples))
    boxes, models, teacher = work / "boxes.json", work / "models", work / "teacher"
    steps = [Step("boxes", ("tools.detect_faces", "--data", str(photos), "--output", str(boxes)), 3, boxes)]

    def lmdb(name: str, minutes: float, *arguments: str, made: Sequence[Weights] = ()) -> None:
        """made: weights that the arguments name."""
        command = ("tools.make_lmdb", "--data", str(photos), "--boxes", str(boxes))
        needs = ("boxes", *(weights.step for weights in made))
        output = work / name
        steps.append(Step(name, (*command, "--output", str(output), *arguments), minutes, output, needs))

    def train(recipe: Recipe, run: Run, start: Weights | None) -> Weights:
        directory = work / "runs" / run.name.replace(", run ", "_run")
        iterations = max(1, round(run.iterations * scale))
        command = (
            *("tools.train", "--recipe", recipe.name, "--data", str(work / run.data)),
            *("--run", str(directory), "--iterations", str(iterations)),
            *(("--weights", str(start.path)) if start else ()),
            *run.arguments,
        )
        needs = (run.data, *((start.step,) if start else ()))
        minutes = run.minutes * scale
        steps.append(Step(run.name, command, minutes, directory, needs, iterations, recipe.stage))
        return Weights(directory / f"{recipe.stage}_iter_{iterations}.caffemodel", run.name)

    def release(recipe: Recipe, run: Run, trained: Weights, output: Path, *arguments: str) -> Weights:
        name, before = f"{run.name}: release", steps[-1].name
        made = output / f"{recipe.snapshot_name}.onnx"
        command = (
            *("tools.release", "--run", str(trained.path.parent), "--data", str(work / run.data)),
            *(*arguments, "--output", str(output)),
        )
        steps.append(Step(name, command, 0.1, made, tuple(dict.fromkeys((trained.step, before)))))
        return Weights(made, name)

    def measured(recipe: Recipe, run: Run, trained: Weights, first: Weights | None = None) -> Weights:
        """Figures, then release with them. first: the network before a second one."""
        figures = work / "evaluations" / f"{recipe.snapshot_name}.json"
        which: tuple[str, ...] = ("--weights", str(trained.path))
        if first is not None:
            which = ("--weights", str(first.path), "--cascade", str(trained.path))
        if not fixed:  # then other faces were set apart
            which += ("--validation-of", str(work / run.data))
        command = ("tools.evaluate", "--data", str(photos), *which, "--json", str(figures))
        needs = (trained.step, *((first.step,) if first else ()))
        steps.append(Step(f"{run.name}: figures", command, 0.5, figures, needs))
        return release(recipe, run, trained, models, "--evaluation", str(figures))

    all_folders = ("--fresh", "--weigh", *weights_of(folders))
    last = [name for name in OF_300W if name in folders]
    ending = ("--fresh", "--weigh", *weights_of(last or folders), *END)
    more = [name for name in (*OF_300W, "helen_256") if name in folders]
    ending_taught = ("--fresh", "--weigh", *weights_of(more or folders), *TAUGHT_END)
    bent = (*all_folders, "--looks", "--deform", "0.03")

    # First round: networks whose mean answer is the teacher of the second.
    stage3, cascade = recipe_named("mobilenet_v2/stage3"), recipe_named("mobilenet_v2/cascade")
    lmdb("lmdb_fresh", 0.3, "--fresh", *MILD)
    lmdb("lmdb_finish", 0.3, "--fresh", "--flip", "0", *MILD)
    long = train(stage3, Run("mobilenet_v2_stage3, run 1", "lmdb_fresh", 64_000, 55, all_folders), None)
    long = train(stage3, Run("mobilenet_v2_stage3, run 2", "lmdb_fresh", 60_000, 55, bent), long)
    run = Run("teacher_stage3", "lmdb_finish", 3_000, 3, ending)
    first = release(stage3, run, train(stage3, run, long), teacher)

    aligned = ("--fresh", "--margin", MARGIN, *AS_FIRST, "--after")
    lmdb("lmdb_cascade", 0.3, *aligned, str(first.path), made=[first])
    lmdb("lmdb_cascade_finish", 0.3, "--flip", "0", *aligned, str(first.path), made=[first])
    begun = Weights(first.path.with_suffix(".caffemodel"), first.step)
    less_bent = (*all_folders, "--looks", "--deform", "0.02")
    run = Run("mobilenet_v2_cascade, run 1", "lmdb_cascade", 18_000, 17, less_bent)
    long_second = train(cascade, run, begun)
    run = Run("teacher_cascade", "lmdb_cascade_finish", 1_500, 1.5, ending)
    second = release(cascade, run, train(cascade, run, long_second), teacher)

    # Second round.
    taught = ("--teacher", str(first.path), str(second.path))
    teachers = [first, second]
    lmdb("lmdb_taught", 0.7, "--fresh", *MILD, *taught, made=teachers)
    lmdb("lmdb_taught_finish", 0.7, "--fresh", "--flip", "0", *MILD, *taught, made=teachers)
    again = (*bent, "--base-lr", "0.002")
    long = train(stage3, Run("mobilenet_v2_stage3, run 3", "lmdb_taught", 45_000, 42, again), long)
    run = Run("mobilenet_v2_stage3", "lmdb_taught_finish", 5_000, 5, ending_taught)
    first = measured(stage3, run, train(stage3, run, long))

    run = Run("mobilenet_v2_cascade, run 2", "lmdb_cascade", 60_000, 55, bent)
    long_second = train(cascade, run, long_second)
    last_data = ("--flip", "0", *aligned, str(first.path), *taught)
    lmdb("lmdb_taught_cascade_finish", 0.7, *last_data, made=[first, *teachers])
    run = Run("mobilenet_v2_cascade", "lmdb_taught_cascade_finish", 5_000, 5, ending_taught)
    measured(cascade, run, train(cascade, run, long_second), first)

    # The reference's stages, and VGG-Shadow.
    few = [f"{name}={count}" for name, count in COPIES_OF.items() if name in folders]
    lmdb("lmdb_reference", 0.5, "--copies", str(COPIES), *(("--copies-of", *few) if few else ()))
    lmdb("lmdb_70x60", 0.3, "--network", "vgg_shadow", "--copies", "10", *MILD)
    before: Weights | None = None
    for name, data, iterations, minutes in (
        ("mobilenet_v2/stage1", "lmdb_reference", 12_000, 10.0),
        ("mobilenet_v2/stage2", "lmdb_reference", 3_000, 2.5),
        ("vgg_shadow", "lmdb_70x60", 1_200, 13.0),
    ):
        recipe = recipe_named(name)
        run = Run(recipe.snapshot_name, data, iterations, minutes)
        made = measured(recipe, run, train(recipe, run, before if recipe.starts_from else None))
        before = Weights(made.path.with_suffix(".caffemodel"), made.step)
    return steps


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
