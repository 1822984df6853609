"""Train a stage of a network in Caffe on the LMDBs of facealign make-lmdb.

Resumes from the newest snapshot of its run. Ctrl-C (or SIGTERM) writes a snapshot; after a crash the last one
written is complete.
"""

import argparse
import dataclasses
import math
from pathlib import Path

from facealign.commands import program
from facealign.commands.messages import (
    Progress,
    json_files,
    note,
    number_of,
    problem,
    progress,
    result,
    write_json,
)
from facealign.engines.opening import files_of
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs, check_own
from facealign.io.unfinished import remove
from facealign.lmdb.meta import META, default_directory
from facealign.networks.data_layers import MAX_ELASTIC, PHOTOMETRIC, elastic_deformation
from facealign.networks.recipes import RECIPES, Recipe, changed, recipe_named
from facealign.networks.registry import spec_of
from facealign.training.lineage import RUN
from facealign.training.log import COLUMNS, LOG, plot_log, read_log
from facealign.training.preparation import OnTheFly, PreparedRun, Settings, prepare
from facealign.training.run import Saved, TrainingStep, Validation, train
from facealign.training.snapshots import newest_weights, snapshots

EXAMPLES = (
    "train --stage 1 --iterations 20000",
    'train --stage 3 --on-the-fly --photometric --elastic 0.03 --weigh afw=12 "*=10"',
    "train --recipe vgg_shadow --data data/lmdb_70x60 --set batch_size=16",
)
"""Command lines that its help shows."""

PLOT = "log.png"
"""Name of the log's plot in a run's folder."""
STAGES = {
    recipe.stage.removeprefix("stage"): name
    for name, recipe in RECIPES.items()
    if recipe.network == "mobilenet_v2"
}
"""Values of `--stage`, and their recipes."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the weights' file, and the last loss and errors,")
    source = parser.add_argument_group("input")
    which = source.add_mutually_exclusive_group(required=True)
    which.add_argument("--stage", choices=STAGES, help="of mobilenet_v2")
    which.add_argument(
        "--recipe", choices=RECIPES, metavar="NAME", help=f"any recipe by its name: {', '.join(RECIPES)}"
    )
    source.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="LMDBs (default: data/lmdb, lmdb_70x60, lmdb_on_the_fly, lmdb_cascade...)",
    )
    source.add_argument("--weights", type=Path, metavar="FILE", help="start from these (.caffemodel)")
    output = parser.add_argument_group("output")
    output.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/RECIPE)")
    output.add_argument(
        "--snapshot-every",
        type=int,
        metavar="N",
        help="iterations between two snapshots (default: the recipe's)",
    )
    output.add_argument(
        "--validate-every", type=int, default=500, metavar="N", help="iterations between two validations"
    )
    output.add_argument("--restart", action="store_true", help="delete an earlier run in that folder")
    training = parser.add_argument_group("training")
    training.add_argument("--iterations", type=int, metavar="N", help="in total (default: the recipe's)")
    training.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="change settings of the recipe: base_lr=0.001, lr_policy=poly power=1, weight_decay, dropout, "
        "function=DISTANCE (the mean distance of the landmarks as the loss)...",
    )
    training.add_argument("--seed", type=int, default=0, metavar="N", help="of initial weights and noise")
    augmentation = parser.add_argument_group("augmentation")
    augmentation.add_argument(
        "--on-the-fly", action="store_true", help="augment on the fly (LMDBs of make-lmdb --on-the-fly)"
    )
    augmentation.add_argument(
        "--weigh",
        nargs="+",
        default=[],
        metavar="FOLDER=WEIGHT",
        help="with --on-the-fly: sampling weights of the folders of photos; *=WEIGHT: of all others together",
    )
    augmentation.add_argument(
        "--photometric",
        action="store_true",
        help="with --on-the-fly: photometric augmentation: shading, colours, contrast, blur, occlusion",
    )
    augmentation.add_argument(
        "--elastic",
        type=float,
        default=0.0,
        metavar="FRACTION",
        help="with --on-the-fly: elastic deformation, with moves of up to this fraction of the crop's side "
        f"(root mean square, at most {MAX_ELASTIC})",
    )
    parser.add_argument_group("speed").add_argument(
        "--device", choices=("cpu", "gpu"), default="cpu", help="what trains"
    )
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    arguments.recipe = arguments.recipe or STAGES[arguments.stage]
    for name, low in (("iterations", 1), ("snapshot_every", 1), ("validate_every", 1), ("seed", 0)):
        value = getattr(arguments, name)
        if value is not None and value < low:
            parser.error(f"--{name.replace('_', '-')}: expected {low} or more")
    try:
        arguments.recipe = changed(
            recipe_named(arguments.recipe),
            {name: value for name, _, value in (text.partition("=") for text in arguments.set)},
        )
    except ValueError as error:
        parser.error(f"--set: {error}")
    if (arguments.weigh or arguments.photometric or arguments.elastic) and not arguments.on_the_fly:
        parser.error("--weigh, --photometric and --elastic: only with --on-the-fly")
    if not 0 <= arguments.elastic <= MAX_ELASTIC:
        parser.error(f"--elastic: expected 0 to {MAX_ELASTIC}")
    weights = {}
    for text in arguments.weigh:
        folder, _, number = text.rpartition("=")
        try:
            weights[folder] = float(number)
        except ValueError:
            parser.error(f"--weigh {text}: expected FOLDER=WEIGHT")
        if not folder or not 0 <= weights[folder] < math.inf:
            parser.error(f"--weigh {text}: expected FOLDER=WEIGHT with WEIGHT 0 or more")
    if weights and not any(weights.values()):
        parser.error("--weigh: all weights are 0")
    arguments.weigh = weights
    return arguments


def starting_weights(recipe: Recipe, given: Path | None) -> Path | None:
    """Weights that a new run starts from: those given, else the newest of the recipe before it, else none.

    Raises FaceAlignError when the weights are missing.
    """
    if given is not None:
        if not given.is_file():
            raise FaceAlignError(f"{given}: no such file; --weights takes a .caffemodel")
        return given
    if recipe.starts_from is None:
        return None
    before = recipe_named(recipe.starts_from)
    weights = newest_weights(Path(before.run_directory), before.stage)
    if weights is None:
        raise FaceAlignError(
            f"{before.run_directory}: no weights of {before.name}, which {recipe.name} starts from; "
            "train that first, or give --weights FILE"
        )
    return weights


def main() -> None:
    arguments = arguments_of()
    recipe = arguments.recipe
    directory = arguments.run or Path(recipe.run_directory)
    resumes = not arguments.restart and newest_weights(directory, recipe.stage) is not None
    spec = spec_of(recipe.network)
    size = spec.size
    changes = {
        **(PHOTOMETRIC if arguments.photometric else {}),
        **(elastic_deformation(arguments.elastic) if arguments.elastic else {}),
    }
    settings = Settings(
        recipe=recipe,
        data=arguments.data or default_directory(size, arguments.on_the_fly, recipe.second_level),
        directory=directory,
        iterations=arguments.iterations or recipe.max_iter,
        start=None if resumes else starting_weights(recipe, arguments.weights),
        seed=arguments.seed,
        snapshot_every=arguments.snapshot_every or recipe.snapshot,
        validate_every=arguments.validate_every,
        gpu=arguments.device == "gpu",
        restart=arguments.restart,
        on_the_fly=OnTheFly(arguments.weigh, changes) if arguments.on_the_fly else None,
    )
    kept = [snapshot.weights for snapshot in snapshots(directory, recipe.stage)]
    read = [*files_of(arguments.weights), *files_of(settings.start), settings.data, settings.data / META]
    check_outputs(
        [directory / LOG, directory / PLOT, directory / RUN, *json_files()], [directory], [*read, *kept]
    )
    check_own(directory, [RUN], "--run")
    single_threaded_blas()
    with exclusive(directory, "a training"):
        train_as(settings, arguments.weights)


def train_as(settings: Settings, weights: Path | None) -> None:
    """Prepare and train, saying where the run starts. weights: given on the command line."""
    directory, recipe = settings.directory, settings.recipe
    prepared = prepare(settings)
    for reason in prepared.passed_over:
        problem("skipped", reason)
    if prepared.done > settings.iterations:
        raise FaceAlignError(
            f"{directory}: has {prepared.done} iterations, more than the {settings.iterations} asked for; "
            "--restart starts again"
        )
    if prepared.done == settings.iterations:
        result(f"{directory}: has {number_of(prepared.done, 'iteration')} already; --restart starts again")
        # What a kill just after the last snapshot left undone.
        remove(prepared.scratch)
        if is_stale(directory / PLOT, directory / LOG):
            plot_log(directory / PLOT, prepared.rows, recipe.name)
        write_figures(settings)
        return
    if prepared.done:
        unused = f", not from {weights}" if weights else ""
        note(f"{directory}: resuming from iteration {prepared.done}{unused}")
    elif settings.start is not None:
        note(f"{directory}: starting from {settings.start}")
    else:
        note(f"{directory}: starting from random weights")
    try:
        follow(prepared, settings)
    except KeyboardInterrupt:
        found = snapshots(directory, recipe.stage)
        if found:
            problem(
                "stopped",
                f"{directory}: at iteration {found[0].iteration}; the same command goes on where it was",
            )
        raise
    finally:
        plot_log(directory / PLOT, prepared.rows, recipe.name)
    iterations = number_of(settings.iterations, "iteration")
    result(f"{directory}: {iterations}; {directory / LOG}, {directory / PLOT}")
    write_figures(settings)


def is_stale(made: Path, source: Path) -> bool:
    """Whether a file is missing, or older than what it was made of."""
    return not made.exists() or made.stat().st_mtime_ns < source.stat().st_mtime_ns


def write_figures(settings: Settings) -> None:
    """Write what --json asks for: of each column of the log the value that was measured last."""
    weights = newest_weights(settings.directory, settings.recipe.stage)
    last: dict[str, float | None] = {}
    for row in read_log(settings.directory / LOG):
        last |= {name: value for name, value in dataclasses.asdict(row).items() if value is not None}
    write_json(
        {
            "run": str(settings.directory),
            "recipe": settings.recipe.name,
            "weights": None if weights is None else str(weights),
            **{name: last.get(name) for name in COLUMNS},
        }
    )


def follow(prepared: PreparedRun, settings: Settings) -> None:
    """Train, showing progress."""
    events = train(prepared)
    smoothed: float | None = None
    shown: Progress[None] = progress(
        # Short, so that a terminal of 80 columns has room for a bar.
        total=settings.iterations,
        done=prepared.done,
        unit="it",
        what="train",
    )
    with shown as bar:
        try:
            for event in events:
                if isinstance(event, TrainingStep):
                    smoothed = event.loss if smoothed is None else 0.98 * smoothed + 0.02 * event.loss
                    bar.set_postfix_str(f"loss {smoothed:.3g}", refresh=False)
                    bar.update()
                elif isinstance(event, Validation):
                    result(
                        f"iteration {event.iteration}: validation NME {event.nme_inter_pupil:.3f} % "
                        f"inter-pupil, {event.nme_inter_ocular:.3f} % inter-ocular"
                    )
                elif isinstance(event, Saved):
                    note(f"iteration {event.snapshot.iteration}: saved")
        finally:
            events.close()  # writes a snapshot
