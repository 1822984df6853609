"""Preparation of a training run: everything at which Caffe would exit is checked before it starts.

A run's directory holds the prototxt and solver it runs, run.json (the settings it was started with), log.csv,
the snapshots STAGE_iter_N, and model.json and deploy.prototxt, with which the snapshots are used.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facealign.arrays import AnyArray, Float32Array, FloatArray
from facealign.caffe_files import prototxt
from facealign.caffe_files.caffemodel import Blobs, matching_weights, read_weights
from facealign.crops.model_spec import ModelSpec
from facealign.crops.targets import decode_targets
from facealign.engines.dry_run import dry_run
from facealign.engines.pycaffe import why_no_gpu
from facealign.errors import FaceAlignError
from facealign.evaluation.metrics import NORMALISERS, nme
from facealign.io.atomic import discard, replacing
from facealign.io.reading import read_json
from facealign.lmdb.context_crop_writer import check_faces
from facealign.lmdb.meta import DataSetMeta, read_meta
from facealign.lmdb.pairs import check_part, read_part
from facealign.networks.data_layers import Change, DataSource, LmdbSource, OnTheFlySource
from facealign.networks.recipes import FIELDS_LEFT_OUT, Recipe
from facealign.networks.registry import BUILDERS, spec_of
from facealign.networks.solver import solver as solver_of
from facealign.training import snapshots
from facealign.training.lineage import RUN, origin
from facealign.training.log import LOG, LogRow, read_log, write_log

SPEC, NET, DEPLOY, SOLVER = "model.json", "train_val.prototxt", "deploy.prototxt", "solver.prototxt"
SAMPLES = ("fresh", "copies", "copies_of", "seed", "augmentation", "after", "teacher")
"""Keys of meta.json that run.json keeps: how the samples were made."""
FIXED_BY_THE_NETWORK = (
    "input_height",
    "input_width",
    "mean",
    "scale",
    "channels",
    "landmarks",
    "landmark_order",
)
"""Fields of ModelSpec in which a network and its samples must agree."""
_DRY_RUN = """
from pathlib import Path
from facealign.training import snapshots
caffe.set_mode_{mode}()
solver = caffe.get_solver(arguments[0])
if len(arguments) > 3:
    snapshot = snapshots.Snapshot(int(arguments[2]), Path(arguments[3]), Path(arguments[4]))
    snapshots.restore(solver, snapshot, Path(arguments[1]))
"""


@dataclass(frozen=True)
class OnTheFly:
    """Augmentation on the fly: weights of the folders of photos and further changes; see OnTheFlySource."""

    weights: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Settings that a run is started with.

    data: folder of the LMDBs; directory: of the run; iterations: in total; start: weights to start from if
    there is no snapshot to resume from; seed: of the initial weights and the noise; *_every: in iterations;
    gpu: train on the GPU; restart: delete an earlier run in that directory; on_the_fly: given when the data
    are context crops, to be augmented so.
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
    on_the_fly: OnTheFly | None = None


@dataclass
class PreparedRun:
    """A run that is ready to start or to resume.

    spec: description of the weights; validation: images of the validation part as input of the net
    (n, 3, h, w), and their landmarks (n, 68, 2) in crop pixels; resumed: the snapshot to resume from;
    weights: otherwise the weights to start from, if any; passed_over: newer snapshots that are damaged, a
    line each; rows: of the log so far.
    """

    settings: Settings
    spec: ModelSpec
    validation: tuple[Float32Array, FloatArray]
    resumed: snapshots.Snapshot | None
    passed_over: list[str]
    weights: Blobs
    rows: list[LogRow]

    @property
    def done(self) -> int:
        """Number of iterations already done."""
        return self.resumed.iteration if self.resumed else 0

    @property
    def scratch(self) -> Path:
        """Folder of a snapshot until it is complete."""
        return _scratch(self.settings)


def _scratch(settings: Settings) -> Path:
    return settings.directory / "unfinished"


def prepare(settings: Settings) -> PreparedRun:
    """Check everything at which Caffe would exit, and write the files that it reads.

    Raises FaceAlignError, which names the file that is missing, damaged or does not fit.
    """
    recipe, directory = settings.recipe, settings.directory
    meta = read_meta(settings.data)
    spec = _spec(settings, meta)
    validation = _read_validation(settings.data, meta, spec)
    _check_samples(settings, spec)
    if settings.gpu and (problem := why_no_gpu()):
        raise FaceAlignError(f"{problem}: use --device cpu")
    deploy = BUILDERS[recipe.network].deploy()
    found = [] if settings.restart else snapshots.snapshots(directory, recipe.stage)
    resumed = found[0] if found else None
    description = _description(settings, meta)
    if settings.restart:
        _check_disposable(settings)
    elif any(directory.glob("*_iter_*.solverstate")):
        before = _same_run(settings, description)
        if resumed is not None:
            description["start"] = before.get("start")
    passed_over = [] if settings.restart else _damaged(settings, resumed)
    start = resumed.weights if resumed else settings.start
    weights: Blobs = {}
    if start is not None:
        weights = matching_weights(deploy, read_weights(start), f"the {recipe.network} net", str(start))
    run = PreparedRun(settings, spec, validation, resumed, passed_over, weights, [])
    if settings.iterations <= run.done:
        run.rows = read_log(directory / LOG)
        return run
    if not settings.restart:
        run.rows = read_log(directory / LOG, resumed.iteration if resumed else -1)
    for_caffe = _prototxt(run, meta)
    marked = {directory / RUN: json.dumps(description, indent=1) + "\n"}
    _write(for_caffe if (directory / RUN).exists() else {**marked, **for_caffe})
    _try_out(run)
    if settings.restart:  # only now, when all checks have passed
        discard(directory)
    contents = {
        directory / DEPLOY: prototxt.text(deploy, recipe.name),
        directory / SPEC: spec.to_json(),
    }
    _write({**marked, **for_caffe, **contents})
    write_log(directory / LOG, run.rows)
    return run


def _prototxt(run: PreparedRun, meta: DataSetMeta) -> dict[Path, str]:
    """Texts of the train net and the solver, by file."""
    settings, recipe = run.settings, run.settings.recipe
    net = settings.directory / NET
    solver = solver_of(
        recipe,
        str(net.resolve()),
        snapshot_prefix=str((run.scratch / recipe.stage).resolve()),
        max_iter=settings.iterations,
        seed=settings.seed,
        gpu=settings.gpu,
    )
    # This program writes the snapshots, complete, and validates with the deploy net, instead of Caffe.
    solver.snapshot, solver.snapshot_after_train, solver.display = 0, False, 0
    del solver.test_iter[:]
    solver.ClearField("test_interval")
    source = _source(settings, meta, run.done)
    return {
        net: prototxt.text(BUILDERS[recipe.network].train_val(recipe, source), recipe.name),
        settings.directory / SOLVER: prototxt.text(solver, recipe.name),
    }


def _try_out(run: PreparedRun) -> None:
    """Dry run in Caffe, for what is not checked otherwise: data that it cannot open, an unusable GPU.

    Raises FaceAlignError when Caffe exits.
    """
    directory = run.settings.directory
    arguments = [str(directory / SOLVER), str(run.scratch), str(run.done)]
    if run.resumed is not None:
        arguments += [str(run.resumed.weights), str(run.resumed.state)]
    dry_run(_DRY_RUN.format(mode="gpu" if run.settings.gpu else "cpu"), arguments, directory / NET)


def _damaged(settings: Settings, resumed: snapshots.Snapshot | None) -> list[str]:
    """Reasons, a line each, why snapshots newer than the one to resume from cannot be used.

    Raises FaceAlignError when there are snapshots, all of them damaged.
    """
    damaged = snapshots.damaged(settings.directory, settings.recipe.stage)
    if damaged and resumed is None:
        raise FaceAlignError(f"{damaged[0][1]}; no other snapshot is there to go on from: use --restart")
    return [reason for snapshot, reason in damaged if resumed and snapshot.iteration > resumed.iteration]


def _spec(settings: Settings, meta: DataSetMeta) -> ModelSpec:
    """Description of the weights: the network's, with the crop of the samples."""
    recipe = settings.recipe
    where = str(settings.data)
    made = meta.spec
    wanted = spec_of(recipe.network, recipe.stage, DEPLOY)
    for name in FIXED_BY_THE_NETWORK:
        if getattr(made, name) != getattr(wanted, name):
            raise FaceAlignError(
                f"{where}: samples with {name} {getattr(made, name)}, {recipe.network} wants "
                f"{getattr(wanted, name)}; use `facealign make-lmdb --network {recipe.network}`"
            )
    if made.is_second_stage != recipe.second_level:
        way = "with" if recipe.second_level else "without"
        raise FaceAlignError(
            f"{where}: samples with crop {made.crop!r}, not for {recipe.name}; make others with "
            f"`facealign make-lmdb` {way} --after"
        )
    names = ("crop", "box_scale", "box_shift", "origin", "mean_shape", "after", "share")
    return dataclasses.replace(wanted, **{name: getattr(made, name) for name in names})


def _check_samples(settings: Settings, spec: ModelSpec) -> None:
    """Raise FaceAlignError when the training part cannot be read, or lacks a folder that has a weight."""
    data, sampling = settings.data, settings.on_the_fly
    if sampling is None:
        _read_part(data, "train", spec, limit=1)
        check_part(data, "train")
        return
    folders = check_faces(data, "train")
    unknown = [name for name in sampling.weights if name != "*" and name not in folders]
    if unknown:
        raise FaceAlignError(f"{data}: no faces of {', '.join(unknown)}; there are {', '.join(folders)}")
    if "*" in sampling.weights and not folders.keys() - sampling.weights.keys():
        raise FaceAlignError(f"{data}: each folder has a weight of its own; none is left for '*'")


def _source(settings: Settings, meta: DataSetMeta, done: int) -> DataSource:
    """Data source of the train net; augmentation on the fly continues at the sample where the run resumes."""
    directory = str(settings.data.resolve())
    if settings.on_the_fly is None:
        return LmdbSource(directory)
    if meta.augmentation is None:
        raise FaceAlignError(f"{settings.data}: does not state how its faces may be varied; make it again")
    return OnTheFlySource(
        directory,
        meta.augmentation,
        settings.on_the_fly.changes,
        settings.on_the_fly.weights,
        settings.seed,
        done * settings.recipe.batch_size,
    )


def _read_part(
    data: Path, part: str, spec: ModelSpec, limit: int | None = None
) -> tuple[AnyArray, Float32Array]:
    """Samples of a part. Raises FaceAlignError when their size is not the network's."""
    images, values = read_part(data, part, limit)
    shapes = images.shape[1:], values.shape[1:]
    wanted = (3, spec.input_height, spec.input_width), (2 * spec.landmarks,)
    if shapes != wanted:
        raise FaceAlignError(f"{data}: {part} samples of shapes {shapes}, not {wanted}; make it again")
    return images, values


def _read_validation(data: Path, meta: DataSetMeta, spec: ModelSpec) -> tuple[Float32Array, FloatArray]:
    """The validation part: input of the net (n, 3, h, w), and landmarks (n, 68, 2) in crop pixels."""
    if "val" not in meta.digests:
        raise FaceAlignError(f"{data}: has no validation part; make it again with --validation over 0")
    images, values = _read_part(data, "val", spec)
    scaled = (images.astype(np.float32) - np.float32(spec.mean)) * np.float32(spec.scale)
    truth = decode_targets(values, spec.size, spec.origin)
    try:
        for name in NORMALISERS:
            nme(truth, truth, name)
    except ValueError as error:
        raise FaceAlignError(f"{data}: its validation part: {error}") from error
    return scaled, truth


def _description(settings: Settings, meta: DataSetMeta) -> dict[str, Any]:
    """Contents of run.json."""
    return {
        "recipe": dataclasses.asdict(settings.recipe),
        "data_sha256": dict(meta.digests),
        "seed": settings.seed,
        "fresh": dataclasses.asdict(settings.on_the_fly) if settings.on_the_fly else None,
        "samples": {name: meta.values[name] for name in SAMPLES if name in meta.values},
        "start": origin(settings.start) if settings.start else None,
        "iterations": settings.iterations,
    }


def _same_run(settings: Settings, description: Mapping[str, Any]) -> dict[str, Any]:
    """Description of the run that wrote the directory's snapshots.

    Raises FaceAlignError when that run had other settings.
    """
    path = settings.directory / RUN
    before = read_json(path, "cannot determine which run the snapshots belong to")
    now = json.loads(json.dumps(description))
    if isinstance(before.get("recipe"), dict):  # older versions' recipes had fewer fields, and other words
        before["recipe"] = {**FIELDS_LEFT_OUT, **before["recipe"]}
        for recipe in (before["recipe"], now["recipe"]):
            recipe.pop("description", None)
    same = (
        ("recipe", "recipe"),
        ("data_sha256", "data"),
        ("seed", "seed"),
        ("fresh", "augmentation on the fly"),
    )
    for name, what in same:
        if before.get(name) != now[name]:
            other = _difference(before.get(name), now[name], what)
            raise FaceAlignError(
                f"{settings.directory}: holds a run with {other}; use --restart to replace it, or another "
                "--run"
            )
    return before


def _difference(before: Any, now: Any, what: str) -> str:
    """In what a setting of an earlier run differs from now.

    >>> _difference({"name": "a", "base_lr": 0.1}, {"name": "a", "base_lr": 0.2}, "recipe")
    'base_lr 0.1, not 0.2'
    >>> _difference({"train": "5f01..."}, {"train": "c2de..."}, "data"), _difference(0, 1, "seed")
    ('other data', 'seed 0, not 1')
    """
    if before is None or now is None:
        return f"{'no ' if before is None else ''}{what}"
    if not isinstance(before, dict):
        return f"{what} {before}, not {now}"
    if what != "recipe":
        return f"other {what}"
    if before.get("name") != now["name"]:
        return f"recipe {before.get('name')}, not {now['name']}"
    names = [name for name in now if before.get(name) != now[name]]
    return ", ".join(f"{name} {before.get(name)}, not {now[name]}" for name in names) or "another recipe"


def _check_disposable(settings: Settings) -> None:
    """Raise FaceAlignError when the directory is not a run, or holds files that the new run needs."""
    directory = settings.directory
    if directory.exists() and not (directory / RUN).is_file() and any(directory.iterdir()):
        raise FaceAlignError(f"{directory}: not a run to replace: it has no {RUN}; give another --run")
    for path in (settings.start, settings.data):
        if path is not None and path.resolve().is_relative_to(directory.resolve()):
            raise FaceAlignError(f"{path}: is in the run that --restart deletes; copy it elsewhere first")


def _write(contents: Mapping[Path, str]) -> None:
    """Write text files; each appears only when it is complete."""
    for path, content in contents.items():
        with replacing(path) as partial:
            partial.write_text(content, encoding="utf-8")
