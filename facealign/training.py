"""A training run: Caffe's solver on the paired LMDBs, step by step, with snapshots and validation.

A run's directory holds all of it: the prototxt and solver it runs, run.json (what it was started with),
log.csv, the snapshots STAGE_iter_N and, for whoever uses these, model.json and deploy.prototxt.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facealign import snapshots
from facealign.arrays import AnyArray, Float32Array, FloatArray
from facealign.crop import decode_landmarks
from facealign.engines.caffe_engine import import_caffe, why_no_gpu
from facealign.engines.rehearsal import rehearse
from facealign.errors import FaceAlignError
from facealign.face_records import check_faces, cut_for
from facealign.files import replacing
from facealign.lineage import RUN, origin
from facealign.metrics import NORMALISERS, nme
from facealign.networks import prototxt
from facealign.networks.recipes import FIELDS_LEFT_OUT, Recipe
from facealign.networks.registry import BUILDERS, spec_of
from facealign.networks.solvers import solver as solver_of
from facealign.networks.sources import Change, DataSource, FreshSource, LmdbSource
from facealign.spec import ModelSpec
from facealign.storage import check_part, read_meta, read_part
from facealign.training_log import LOG, LogRow, append_row, read_log, write_log
from facealign.weights import Blobs, matching_weights, read_weights

VALIDATION_BATCH = 64
SPEC, DEPLOY, SOLVER = "model.json", "deploy.prototxt", "solver.prototxt"
SAMPLES = ("fresh", "copies", "copies_of", "seed", "augmentation", "after", "teacher")
"""What a run keeps of how its samples were made."""
_REHEARSAL = """
from pathlib import Path
from facealign import snapshots
caffe.set_mode_{mode}()
solver = caffe.get_solver(arguments[0])
if len(arguments) > 3:
    snapshot = snapshots.Snapshot(int(arguments[2]), Path(arguments[3]), Path(arguments[4]))
    snapshots.restore(solver, snapshot, Path(arguments[1]))
"""


@dataclass(frozen=True)
class Fresh:
    """Samples varied anew each time: weights of the folders of photos, further changes; see FreshSource."""

    weights: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What a run is started with.

    data: folder of the LMDBs; directory: of the run; iterations: in all; start: weights to begin with, if
    there is no snapshot to go on from; seed: of the initial weights and the noise; *_every: in iterations;
    gpu: run on it; restart: throw an earlier run in that directory away; fresh: the data are loose crops, to
    be varied so.
    """

    recipe: Recipe
    data: Path
    directory: Path
    iterations: int
    start: Path | None = None
    seed: int = 0
    snapshot_every: int = 1000
    validate_every: int = 500
    display_every: int = 20
    gpu: bool = False
    restart: bool = False
    fresh: Fresh | None = None


@dataclass(frozen=True)
class Step:
    """One iteration done: its number, its loss and the learning rate it was made with."""

    iteration: int
    loss: float
    rate: float


@dataclass(frozen=True)
class Validation:
    """Mean NME of the validation part in %, after an iteration."""

    iteration: int
    nme_inter_pupil: float
    nme_inter_ocular: float


@dataclass(frozen=True)
class Saved:
    """A snapshot was written."""

    snapshot: snapshots.Snapshot


Event = Step | Validation | Saved


class Run:
    """A run that has been checked and prepared, at the point where it starts or goes on."""

    def __init__(self, settings: Settings) -> None:
        """Check all that Caffe would end the process for, and write what it reads.

        Raises FaceAlignError that says which file is missing, damaged or from something else.
        """
        self.settings = settings
        recipe, directory = settings.recipe, settings.directory
        self.meta = read_meta(settings.data)
        self.spec = self._spec()
        self.validation = self._read_validation()
        self._check_samples()
        if settings.gpu and (problem := why_no_gpu()):
            raise FaceAlignError(f"{problem}: use --device cpu")
        builder = BUILDERS[recipe.network]
        deploy = builder.deploy()
        found = [] if settings.restart else snapshots.snapshots(directory, recipe.stage)
        self.resumed = found[0] if found else None
        description = self._description()
        if settings.restart:
            self._check_disposable()
        elif any(directory.glob("*_iter_*.solverstate")):
            self._check_same_run(description)
        self.passed_over = [] if settings.restart else self._damaged()
        weights = self.resumed.weights if self.resumed else settings.start
        self.weights: Blobs = {}
        if weights is not None:
            self.weights = matching_weights(
                deploy, read_weights(weights), f"the {recipe.network} net", str(weights)
            )
        self.scratch = directory / "unfinished"
        if settings.iterations <= self.done:
            self.rows = read_log(directory / LOG)
            return
        until = self.resumed.iteration if self.resumed else -1
        self.rows = [] if settings.restart else read_log(directory / LOG, until)
        net = directory / "train_val.prototxt"
        solver = solver_of(
            recipe,
            str(net.resolve()),
            snapshot_prefix=str((self.scratch / recipe.stage).resolve()),
            max_iter=settings.iterations,
            seed=settings.seed,
            gpu=settings.gpu,
        )
        # Snapshots and validation are made here: whole, and as the deployed net will be.
        solver.snapshot, solver.snapshot_after_train, solver.display = 0, False, 0
        del solver.test_iter[:]
        solver.ClearField("test_interval")
        for_caffe = {
            net: prototxt.text(builder.train_val(recipe, self._source()), recipe.name),
            directory / SOLVER: prototxt.text(solver, recipe.name),
        }
        marked = {directory / RUN: json.dumps(description, indent=1) + "\n"}
        _write(for_caffe if (directory / RUN).exists() else {**marked, **for_caffe})
        self._rehearse(net)
        if settings.restart:  # only now, when nothing more can go wrong
            shutil.rmtree(directory)
        contents = {
            directory / DEPLOY: prototxt.text(deploy, recipe.name),
            directory / SPEC: self.spec.to_json(),
        }
        _write({**marked, **for_caffe, **contents})
        write_log(directory / LOG, self.rows)

    def _damaged(self) -> list[str]:
        """Why the snapshots newer than the one to go on from cannot be used, a line each.

        Raises FaceAlignError when there are snapshots, all of them damaged.
        """
        before = snapshots.damaged(self.settings.directory, self.settings.recipe.stage)
        if before and self.resumed is None:
            raise FaceAlignError(f"{before[0][1]}; no other snapshot is there to go on from: use --restart")
        return [reason for snapshot, reason in before if snapshot.iteration > self.done]

    def _rehearse(self, net: Path) -> None:
        """See that Caffe survives what is left unchecked: data that it cannot open, a GPU that it cannot use.

        Raises FaceAlignError when it does not.
        """
        arguments = [str(self.settings.directory / SOLVER), str(self.scratch), str(self.done)]
        if self.resumed is not None:
            arguments += [str(self.resumed.weights), str(self.resumed.state)]
        rehearse(_REHEARSAL.format(mode="gpu" if self.settings.gpu else "cpu"), arguments, net)

    @property
    def done(self) -> int:
        """Iterations that need not be made again."""
        return self.resumed.iteration if self.resumed else 0

    def _spec(self) -> ModelSpec:
        """The description for the weights: the network's, with the crop that the samples were made with."""
        recipe = self.settings.recipe
        where = str(self.settings.data)
        made = ModelSpec.from_json(json.dumps(self.meta["spec"]), where)
        wanted = spec_of(recipe.network, recipe.stage, DEPLOY)
        for name in (
            "input_height",
            "input_width",
            "mean",
            "scale",
            "channels",
            "landmarks",
            "landmark_order",
        ):
            if getattr(made, name) != getattr(wanted, name):
                raise FaceAlignError(
                    f"{where}: samples with {name} {getattr(made, name)}, {recipe.network} wants "
                    f"{getattr(wanted, name)}; use `tools/make_lmdb.py --network {recipe.network}`"
                )
        if made.is_second_level != recipe.second_level:
            way = "with" if recipe.second_level else "without"
            raise FaceAlignError(
                f"{where}: samples with crop {made.crop!r}, not for {recipe.name}; make others with "
                f"`tools/make_lmdb.py` {way} --after"
            )
        names = ("crop", "box_scale", "box_shift", "origin", "mean_shape", "after", "share")
        return dataclasses.replace(wanted, **{name: getattr(made, name) for name in names})

    def _check_samples(self) -> None:
        """Raises FaceAlignError when the training part cannot be read, or has no folder that is weighed."""
        data, fresh = self.settings.data, self.settings.fresh
        if fresh is None:
            self._read_part("train", limit=1)
            check_part(data, "train")
            return
        folders = check_faces(data, "train")
        unknown = [name for name in fresh.weights if name != "*" and name not in folders]
        if unknown:
            raise FaceAlignError(f"{data}: no faces of {', '.join(unknown)}; there are {', '.join(folders)}")
        if "*" in fresh.weights and not folders.keys() - fresh.weights.keys():
            raise FaceAlignError(f"{data}: each folder has a weight of its own; none is left for '*'")

    def _source(self) -> DataSource:
        """Where the train net takes its samples from; fresh ones from where the run goes on."""
        settings, directory = self.settings, str(self.settings.data.resolve())
        if settings.fresh is None:
            return LmdbSource(directory)
        return FreshSource(
            directory,
            cut_for(self.meta, settings.data),
            settings.fresh.changes,
            settings.fresh.weights,
            settings.seed,
            self.done * settings.recipe.batch_size,
        )

    def _read_part(self, part: str, limit: int | None = None) -> tuple[AnyArray, Float32Array]:
        """Samples of a part. Raises FaceAlignError when they are not of the size that the network takes."""
        spec, data = self.spec, self.settings.data
        images, values = read_part(data, part, limit)
        shapes = images.shape[1:], values.shape[1:]
        wanted = (3, spec.input_height, spec.input_width), (2 * spec.landmarks,)
        if shapes != wanted:
            raise FaceAlignError(f"{data}: {part} samples of shapes {shapes}, not {wanted}; make it again")
        return images, values

    def _read_validation(self) -> tuple[Float32Array, FloatArray]:
        """The validation part as the net takes it (n, 3, h, w); its landmarks (n, 68, 2) in crop pixels."""
        spec, data = self.spec, self.settings.data
        if "val" not in self.meta["parts"]:
            raise FaceAlignError(f"{data}: has no validation part; make it again with --validation over 0")
        images, values = self._read_part("val")
        scaled = (images.astype(np.float32) - np.float32(spec.mean)) * np.float32(spec.scale)
        truth = decode_landmarks(values, (spec.input_height, spec.input_width), spec.origin)
        try:
            for name in NORMALISERS:
                nme(truth, truth, name)
        except ValueError as error:
            raise FaceAlignError(f"{data}: its validation part: {error}") from error
        return scaled, truth

    def _description(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "recipe": dataclasses.asdict(settings.recipe),
            "data_sha256": {name: part["sha256"] for name, part in self.meta["parts"].items()},
            "seed": settings.seed,
            "fresh": dataclasses.asdict(settings.fresh) if settings.fresh else None,
            "samples": {name: self.meta[name] for name in SAMPLES if name in self.meta},
            "start": origin(settings.start) if settings.start else None,
            "iterations": settings.iterations,
        }

    def _check_same_run(self, description: dict[str, Any]) -> None:
        """Raises FaceAlignError when the directory's snapshots come from a run with other settings.

        What that run started from goes into `description`.
        """
        path = self.settings.directory / RUN
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError) as error:
            raise FaceAlignError(f"{path}: cannot tell which run the snapshots are of ({error})") from error
        now = json.loads(json.dumps(description))
        if isinstance(before.get("recipe"), dict):  # of a time, maybe, when recipes had fewer fields
            before["recipe"] = {**FIELDS_LEFT_OUT, **before["recipe"]}
        same = (
            ("recipe", "recipe"),
            ("data_sha256", "data"),
            ("seed", "seed"),
            ("fresh", "way to vary samples"),
        )
        for name, what in same:
            if before.get(name) != now[name]:
                raise FaceAlignError(
                    f"{self.settings.directory}: holds a run with another {what}; use --restart to replace "
                    "it, or another --run"
                )
        if self.resumed is not None:
            description["start"] = before.get("start")

    def _check_disposable(self) -> None:
        """Raises FaceAlignError when the directory is no run, or holds what the new run needs."""
        directory = self.settings.directory
        if directory.exists() and not (directory / RUN).is_file() and any(directory.iterdir()):
            raise FaceAlignError(f"{directory}: holds no run to replace: it has no {RUN}; give another --run")
        for path in (self.settings.start, self.settings.data):
            if path is not None and path.resolve().is_relative_to(directory.resolve()):
                raise FaceAlignError(
                    f"{path}: is in the run that --restart throws away; copy it elsewhere first"
                )

    def train(self) -> Generator[Event, None, None]:
        """Make the iterations that are left; what happens, as it happens.

        Closing the iterator, or any exception in here, leaves a snapshot of the last iteration behind.
        Raises FaceAlignError when the loss is no longer a number (no snapshot then) or the disk is full.
        """
        settings, recipe, directory = self.settings, self.settings.recipe, self.settings.directory
        caffe = import_caffe()
        if settings.gpu:
            caffe.set_mode_gpu()
        else:
            caffe.set_mode_cpu()
        solver = caffe.get_solver(str(directory / SOLVER))
        if self.resumed is not None:
            snapshots.restore(solver, self.resumed, self.scratch)
        # Copied from the arrays that were checked: Caffe's own loading ends the process on other shapes.
        for name, arrays in self.weights.items():
            for blob, values in zip(solver.net.params[name], arrays, strict=True):
                blob.data[...] = values
        deploy = caffe.Net(str(directory / DEPLOY), caffe.TEST)
        deploy.share_with(solver.net)
        before = self.rows[-1].seconds if self.rows else 0.0
        began = time.monotonic()
        saved = self.done
        losses: list[float] = []
        finite = True
        try:
            if settings.start is not None and self.done == 0:
                yield self._validate(deploy, 0, 0.0)
            while solver.iter < settings.iterations:
                rate = float(solver.lr)
                solver.step(1)
                iteration = int(solver.iter)
                loss = float(solver.net.blobs[_loss_name(solver.net)].data)
                losses.append(loss)
                if not math.isfinite(loss):
                    finite = False
                    raise FaceAlignError(
                        f"{directory}: the loss is {loss} after iteration {iteration}: the learning rate is "
                        f"too high, or a sample is broken; snapshots up to iteration {saved} are kept"
                    )
                yield Step(iteration, loss, rate)
                last = iteration == settings.iterations
                seconds = before + time.monotonic() - began
                if iteration % settings.display_every == 0 or last:
                    self._log(LogRow(iteration, seconds, float(np.mean(losses)), rate))
                    losses.clear()
                if iteration % settings.validate_every == 0 or last:
                    yield self._validate(deploy, iteration, seconds)
                if iteration % settings.snapshot_every == 0 or last:
                    snapshot = snapshots.take(solver, directory, recipe.stage, self.scratch)
                    saved = iteration
                    yield Saved(snapshot)
        finally:
            if finite and int(solver.iter) > saved:
                snapshots.take(solver, directory, recipe.stage, self.scratch)

    def _log(self, row: LogRow) -> None:
        self.rows.append(row)
        append_row(self.settings.directory / LOG, row)

    def _validate(self, deploy: Any, iteration: int, seconds: float) -> Validation:
        """Mean NME of the validation part by pycaffe's deploy net, which shares the solver's weights."""
        images, truth = self.validation
        values = []
        for start in range(0, len(images), VALIDATION_BATCH):
            batch = images[start : start + VALIDATION_BATCH]
            deploy.blobs[self.spec.input_name].reshape(*batch.shape)
            deploy.blobs[self.spec.input_name].data[...] = batch
            values.append(deploy.forward()[self.spec.output_name].reshape(len(batch), -1).copy())
        size = (self.spec.input_height, self.spec.input_width)
        predicted = decode_landmarks(np.concatenate(values), size, self.spec.origin)
        result = Validation(
            iteration,
            100 * float(nme(predicted, truth, "inter_pupil").mean()),
            100 * float(nme(predicted, truth, "inter_ocular").mean()),
        )
        row = LogRow(
            iteration,
            seconds,
            nme_inter_pupil=result.nme_inter_pupil,
            nme_inter_ocular=result.nme_inter_ocular,
        )
        self._log(row)
        return result


def _write(contents: dict[Path, str]) -> None:
    """Write text files, each whole or not at all."""
    for path, content in contents.items():
        with replacing(path) as partial:
            partial.write_text(content, encoding="utf-8")


def _loss_name(net: Any) -> str:
    """The train net's only output."""
    (name,) = net.outputs
    return str(name)
