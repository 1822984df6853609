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
from facealign.networks.recipes import recipe_named
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
END = ("--base-lr", "0.0003")
"""The rate of the runs that end a training, without mirror images."""
OF_300W = ("afw", "helen/trainset", "lfpw/trainset")
"""What is measured is annotated as these are: they end the training."""


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
    """A training run: LMDBs, iterations, minutes on MACHINE, further arguments."""

    data: str
    iterations: int
    minutes: float
    arguments: tuple[str, ...] = ()


def plan(photos: Path, work: Path, samples: Collection[Sample], scale: float = 1.0) -> list[Step]:
    """The steps in their order, the best weights first; all that they write is in `work`.

    samples: the faces that `photos` holds; scale: of the iterations, under 1 to try it out.
    """
    folders = {sample.subset for sample in samples if not sample.is_test}
    fixed = any(map(in_validation, samples))
    boxes = work / "boxes.json"
    models = work / "models"
    first, released_first = models / "mobilenet_v2_stage3.onnx", "mobilenet_v2_stage3: release"
    after = ("--after", str(first), "--margin", MARGIN)
    faces = ("--data", str(photos), "--boxes", str(boxes))
    few = [f"{name}={count}" for name, count in COPIES_OF.items() if name in folders]
    fresh = ("--fresh", "--weigh")
    ending = [name for name in OF_300W if name in folders] or folders
    copies = ("--copies", str(COPIES), *(("--copies-of", *few) if few else ()))

    def lmdb(name: str, minutes: float, *arguments: str, needs: tuple[str, ...] = ("boxes",)) -> Step:
        output = work / name
        return Step(
            name, ("tools.make_lmdb", *faces, "--output", str(output), *arguments), minutes, output, needs
        )

    def trained(recipe_name: str, *runs: Run, first_network: bool = True) -> list[Step]:
        """Train, each run from the weights of the one before; measure, release."""
        recipe = recipe_named(recipe_name)
        name = recipe.snapshot_name
        figures = work / "evaluations" / f"{name}.json"
        start: tuple[str, ...] = ()
        before = None
        if recipe.starts_from:
            source = recipe_named(recipe.starts_from).snapshot_name
            start, before = ("--weights", str(models / f"{source}.caffemodel")), f"{source}: release"
        steps = []
        for number, one in enumerate(runs, 1):
            step_name = name if number == len(runs) else f"{name}, run {number}"
            run, data = work / "runs" / step_name.replace(", run ", "_run"), str(work / one.data)
            iterations = max(1, round(one.iterations * scale))
            command = (
                *("tools.train", "--recipe", recipe.name, "--data", data, "--run", str(run)),
                *("--iterations", str(iterations), *start, *one.arguments),
            )
            needs = (one.data, *((before,) if before else ()))
            minutes = one.minutes * scale
            steps.append(Step(step_name, command, minutes, run, needs, iterations, recipe.stage))
            weights = str(run / f"{recipe.stage}_iter_{iterations}.caffemodel")
            start, before = ("--weights", weights), step_name
        which: tuple[str, ...]
        which = ("--weights", weights) if first_network else ("--weights", str(first), "--cascade", weights)
        if not fixed:  # then other faces were set apart
            which += ("--validation-of", data)
        return [
            *steps,
            _evaluation(f"{name}: figures", photos, which, figures, (name,)),
            Step(
                f"{name}: release",
                (
                    *("tools.release", "--run", str(run), "--data", data),
                    *("--evaluation", str(figures), "--output", str(models)),
                ),
                0.1,
                models / f"{name}.md",
                (f"{name}: figures",),
            ),
        ]

    return [
        Step("boxes", ("tools.detect_faces", "--data", str(photos), "--output", str(boxes)), 3, boxes),
        lmdb("lmdb_fresh", 0.3, "--fresh", *MILD),
        lmdb("lmdb_finish", 0.3, "--fresh", "--flip", "0", *MILD),
        *trained(
            "mobilenet_v2/stage3",
            Run("lmdb_fresh", 64_000, 55, (*fresh, *weights_of(folders))),
            Run("lmdb_fresh", 60_000, 55, (*fresh, *weights_of(folders), "--looks", "--deform", "0.03")),
            Run("lmdb_finish", 3_000, 3, (*fresh, *weights_of(ending), "--looks", *END)),
        ),
        lmdb("lmdb_cascade", 0.3, "--fresh", *after, *AS_FIRST, needs=("boxes", released_first)),
        lmdb(
            *("lmdb_cascade_finish", 0.3, "--fresh", "--flip", "0", *after, *AS_FIRST),
            needs=("boxes", released_first),
        ),
        *trained(
            "mobilenet_v2/cascade",
            Run("lmdb_cascade", 18_000, 17, (*fresh, *weights_of(folders), "--looks", "--deform", "0.02")),
            Run("lmdb_cascade_finish", 1_500, 1.5, (*fresh, *weights_of(ending), "--looks", *END)),
            first_network=False,
        ),
        lmdb("lmdb_reference", 0.5, *copies),
        *trained("mobilenet_v2/stage1", Run("lmdb_reference", 12_000, 10)),
        *trained("mobilenet_v2/stage2", Run("lmdb_reference", 3_000, 2.5)),
        lmdb("lmdb_70x60", 0.3, "--network", "vgg_shadow", "--copies", "10", *MILD),
        *trained("vgg_shadow", Run("lmdb_70x60", 1_200, 13)),
    ]


def weights_of(folders: Collection[str]) -> list[str]:
    """`--weigh` of tools/train.py for photos in `folders`."""
    weights: Mapping[str, int] = {name: weight for name, weight in WEIGHTS.items() if name in folders}
    others = {"*": OTHERS} if set(folders) - weights.keys() else {}
    return [f"{name}={weight}" for name, weight in {**weights, **others}.items()]


def _evaluation(
    name: str, photos: Path, weights: tuple[str, ...], output: Path, needs: tuple[str, ...]
) -> Step:
    command = ("tools.evaluate", "--data", str(photos), *weights, "--json", str(output))
    return Step(name, command, 0.5, output, needs)


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
