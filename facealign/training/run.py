"""A training run: Caffe's solver on the LMDBs, step by step, with snapshots and validation."""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from facealign.crops.targets import decode_targets
from facealign.engines.caffe_solver import CaffeSolver
from facealign.errors import FaceAlignError
from facealign.evaluation.metrics import nme
from facealign.training import snapshots
from facealign.training.log import LOG, LogRow, append_row
from facealign.training.preparation import DEPLOY, SOLVER, PreparedRun


@dataclass(frozen=True)
class TrainingStep:
    """A finished iteration: its number, its loss and its learning rate."""

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
    """A snapshot that was written."""

    snapshot: snapshots.Snapshot


Event = TrainingStep | Validation | Saved


def train(run: PreparedRun) -> Generator[Event, None, None]:
    """Run the remaining iterations; yields an event for each iteration, validation and snapshot.

    Closing the iterator, or an exception in it, logs the loss so far and writes a snapshot of the last
    iteration.
    Raises FaceAlignError when the loss is no longer finite (without a snapshot) or the disk is full.
    """
    settings, directory = run.settings, run.settings.directory
    solver = CaffeSolver(directory / SOLVER, directory / DEPLOY, settings.gpu, settings.seed)
    if run.resumed is not None:
        snapshots.restore(solver, run.resumed, run.scratch)
    solver.set_weights(run.weights)
    before = run.rows[-1].seconds if run.rows else 0.0
    began = time.monotonic()
    saved = run.done
    losses: list[float] = []
    finite = True
    try:
        if settings.start is not None and run.done == 0:
            yield _validate(run, solver, 0.0)
        while solver.iteration < settings.iterations:
            rate = solver.rate
            solver.step()
            iteration, loss = solver.iteration, solver.loss
            losses.append(loss)
            if not math.isfinite(loss):
                finite = False
                kept = f"snapshots up to iteration {saved} are kept" if saved else "there is no snapshot"
                raise FaceAlignError(
                    f"{directory}: the loss is {loss} after iteration {iteration}: the learning rate is "
                    f"too high, or a sample is broken; {kept}"
                )
            yield TrainingStep(iteration, loss, rate)
            last = iteration == settings.iterations
            seconds = before + time.monotonic() - began
            if iteration % settings.display_every == 0 or last:
                _log(run, LogRow(iteration, seconds, float(np.mean(losses)), rate))
                losses.clear()
            if iteration % settings.validate_every == 0 or last:
                yield _validate(run, solver, seconds)
            if iteration % settings.snapshot_every == 0 or last:
                snapshot = snapshots.take(solver, directory, settings.recipe.stage, run.scratch)
                saved = iteration
                yield Saved(snapshot)
    finally:
        if finite and solver.iteration > saved:
            snapshots.take(solver, directory, settings.recipe.stage, run.scratch)
            if losses:
                seconds = before + time.monotonic() - began
                _log(run, LogRow(solver.iteration, seconds, float(np.mean(losses)), solver.rate))


def _log(run: PreparedRun, row: LogRow) -> None:
    run.rows.append(row)
    append_row(run.settings.directory / LOG, row)


def _validate(run: PreparedRun, solver: CaffeSolver, seconds: float) -> Validation:
    """Mean NME on the validation part, predicted by the deploy net, which shares the solver's weights."""
    (images, truth), spec = run.validation, run.spec
    values = solver.predict(images, spec.input_name, spec.output_name)
    predicted = decode_targets(values, spec.size, spec.origin)
    result = Validation(
        solver.iteration,
        100 * float(nme(predicted, truth, "inter_pupil").mean()),
        100 * float(nme(predicted, truth, "inter_ocular").mean()),
    )
    row = LogRow(
        result.iteration,
        seconds,
        nme_inter_pupil=result.nme_inter_pupil,
        nme_inter_ocular=result.nme_inter_ocular,
    )
    _log(run, row)
    return result
