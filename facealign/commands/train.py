"""Train a stage of a network in Caffe on the LMDBs of facealign make-lmdb.

Resumes from the newest snapshot of its run. Ctrl-C (or SIGTERM) writes a snapshot; after a crash the last one
written is complete.
"""

import argparse
import math
import sys
from pathlib import Path

from tqdm import tqdm

from facealign.commands import program
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.io.lock import exclusive
from facealign.io.outputs import check_outputs
from facealign.lmdb.meta import default_directory
from facealign.networks.data_layers import MAX_ELASTIC, PHOTOMETRIC, elastic_deformation
from facealign.networks.recipes import RECIPES, Recipe, changed, recipe_named
from facealign.networks.registry import spec_of
from facealign.training.log import LOG, plot_log
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


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = program(__doc__, EXAMPLES)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--stage", choices=STAGES, help="of mobilenet_v2")
    which.add_argument("--recipe", choices=RECIPES, help="any recipe by its name")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="LMDBs (default: data/lmdb, lmdb_70x60, lmdb_on_the_fly, lmdb_cascade...)",
    )
    parser.add_argument(
        "--on-the-fly", action="store_true", help="augment on the fly (LMDBs of make-lmdb --on-the-fly)"
    )
    parser.add_argument(
        "--weigh",
        nargs="+",
        default=[],
        metavar="FOLDER=WEIGHT",
        help="with --on-the-fly: sampling weights of the folders of photos; *=WEIGHT: of all others together",
    )
    parser.add_argument(
        "--photometric",
        action="store_true",
        help="with --on-the-fly: photometric augmentation: shading, colours, contrast, blur, occlusion",
    )
    parser.add_argument(
        "--elastic",
        type=float,
        default=0.0,
        metavar="FRACTION",
        help="with --on-the-fly: elastic deformation, with moves of up to this fraction of the crop's side "
        f"(root mean square, at most {MAX_ELASTIC})",
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--iterations", type=int, metavar="N", help="in total (default: the recipe's)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="start from these (.caffemodel)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="change settings of the recipe: base_lr=0.001, lr_policy=poly power=1, weight_decay, dropout, "
        "function=DISTANCE (the mean distance of the landmarks as the loss)...",
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="that trains")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and noise (default: 0)")
    parser.add_argument("--snapshot-every", type=int, metavar="N", help="iterations (default: the recipe's)")
    parser.add_argument(
        "--validate-every", type=int, default=500, metavar="N", help="iterations (default: 500)"
    )
    parser.add_argument("--restart", action="store_true", help="delete an earlier run in that folder")
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
    check_outputs([directory / LOG, directory / PLOT], [directory])
    single_threaded_blas()
    with exclusive(directory, "a training"):
        train_as(settings, arguments.weights)


def train_as(settings: Settings, weights: Path | None) -> None:
    """Prepare and train, saying where the run starts. weights: given on the command line."""
    directory, recipe = settings.directory, settings.recipe
    prepared = prepare(settings)
    for reason in prepared.passed_over:
        print(f"skipped: {reason}", file=sys.stderr)
    if prepared.done > settings.iterations:
        raise FaceAlignError(
            f"{directory}: has {prepared.done} iterations, more than the {settings.iterations} asked for; "
            "--restart starts again"
        )
    if prepared.done == settings.iterations:
        print(f"{directory}: has {prepared.done} iterations already; --restart starts again")
        return
    if prepared.done:
        unused = f", not from {weights}" if weights else ""
        print(f"{directory}: resuming from iteration {prepared.done}{unused}", file=sys.stderr)
    elif settings.start is not None:
        print(f"{directory}: starting from {settings.start}", file=sys.stderr)
    else:
        print(f"{directory}: starting from random weights", file=sys.stderr)
    try:
        follow(prepared, settings)
    except KeyboardInterrupt:
        found = snapshots(directory, recipe.stage)
        if found:
            print(
                f"{directory}: stopped at iteration {found[0].iteration}; the same command resumes",
                file=sys.stderr,
            )
        raise
    finally:
        plot_log(directory / PLOT, prepared.rows, recipe.name)
    print(f"{directory}: {settings.iterations} iterations; {directory / LOG}, {directory / PLOT}")


def follow(prepared: PreparedRun, settings: Settings) -> None:
    """Train, showing progress."""
    events = train(prepared)
    smoothed: float | None = None
    with tqdm(
        total=settings.iterations,
        initial=prepared.done,
        unit="it",
        desc=settings.recipe.name,
        mininterval=0.5 if sys.stderr.isatty() else 20,
    ) as bar:
        try:
            for event in events:
                if isinstance(event, TrainingStep):
                    smoothed = event.loss if smoothed is None else 0.98 * smoothed + 0.02 * event.loss
                    bar.set_postfix_str(f"loss {smoothed:.4g}, rate {event.rate:.2g}", refresh=False)
                    bar.update()
                elif isinstance(event, Validation):
                    tqdm.write(
                        f"iteration {event.iteration}: validation NME {event.nme_inter_pupil:.3f} % "
                        f"inter-pupil, {event.nme_inter_ocular:.3f} % inter-ocular"
                    )
                elif isinstance(event, Saved):
                    bar.set_description_str(f"{settings.recipe.name}, saved {event.snapshot.iteration}")
        finally:
            events.close()  # writes a snapshot
