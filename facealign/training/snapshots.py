"""Caffe's snapshots of a training run: found only if complete, and renamed to their names when complete."""

import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from google.protobuf.message import DecodeError

from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.caffe_solver import CaffeSolver
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: weights in PREFIX_iter_N.caffemodel, the solver's state in PREFIX_iter_N.solverstate."""

    iteration: int
    weights: Path
    state: Path


class Restorable(Protocol):
    """A solver that can resume: CaffeSolver, or pycaffe's own."""

    def restore(self, state: str) -> None:
        """Resume from a .solverstate file and the weights it names."""


def snapshots(directory: Path, stage: str) -> list[Snapshot]:
    """Complete snapshots STAGE_iter_N in a run's directory, newest first; `damaged` lists the others."""
    return [snapshot for snapshot in _named(directory, stage) if is_whole(snapshot)]


def damaged(directory: Path, stage: str) -> list[tuple[Snapshot, str]]:
    """Damaged snapshots, which `snapshots` leaves out, newest first, each with the reason in a line."""
    reasons = [(snapshot, fault_of(snapshot)) for snapshot in _named(directory, stage)]
    return [(snapshot, reason) for snapshot, reason in reasons if reason is not None]


def iteration_of(path: Path, stage: str) -> int | None:
    """Iteration in the name STAGE_iter_N of a snapshot's file; None for another name."""
    match = re.fullmatch(rf"{re.escape(stage)}_iter_(\d+)", path.stem)
    return int(match[1]) if match else None


def _named(directory: Path, stage: str) -> list[Snapshot]:
    found = []
    for state in directory.glob(f"{stage}_iter_*.solverstate"):
        iteration = iteration_of(state, stage)
        if iteration is not None:
            found.append(Snapshot(iteration, state.with_suffix(".caffemodel"), state))
    return sorted(found, key=lambda snapshot: -snapshot.iteration)


def is_whole(snapshot: Snapshot) -> bool:
    """Whether Caffe can resume from a snapshot; see `fault_of`."""
    return fault_of(snapshot) is None


def fault_of(snapshot: Snapshot) -> str | None:
    """Why Caffe cannot resume from a snapshot, in a line that names the file; None when it can.

    Both files must parse, be of the iteration in their name and lack no layer, and the state must belong to
    the weights.
    """
    state, net = caffe_pb2.SolverState(), caffe_pb2.NetParameter()
    for path, message in ((snapshot.state, state), (snapshot.weights, net)):
        try:
            message.ParseFromString(path.read_bytes())
        except OSError as error:
            return f"{path}: {error.strerror}"
        except DecodeError:
            return f"{path}: cut short, or not written by Caffe"
    if state.iter != snapshot.iteration:
        return f"{snapshot.state}: is of iteration {state.iter}"
    # A file cut off between two layers still parses. Adam keeps two moments of every array of weights.
    arrays = [list(blob.shape.dim) for layer in net.layer for blob in layer.blobs]
    moments = [list(blob.shape.dim) for blob in state.history]
    if not arrays or moments != 2 * arrays:
        return f"{snapshot.state}: not Adam's state of the weights in {snapshot.weights.name}, or cut short"
    if any(len(blob.data) != math.prod(blob.shape.dim) for blob in state.history):
        return f"{snapshot.state}: its numbers do not fill their shapes"
    return None


def newest_weights(directory: Path, stage: str) -> Path | None:
    """Weights of the newest complete snapshot, or None."""
    found = snapshots(directory, stage)
    return found[0].weights if found else None


def take(solver: CaffeSolver, directory: Path, stage: str, scratch: Path) -> Snapshot:
    """Write a snapshot of `solver`, whose snapshot_prefix is `scratch`/STAGE, into `directory`.

    Raises FaceAlignError when the disk has too little room, at which Caffe itself would exit, and when
    weights are no longer finite numbers.
    """
    iteration = solver.iteration
    for name, arrays in solver.weights.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise FaceAlignError(
                f"{directory}: no snapshot of iteration {iteration}: weights of layer {name!r} are not "
                "finite numbers any more: the learning rate is too high, or a sample is broken"
            )
    scratch.mkdir(parents=True, exist_ok=True)
    numbers = sum(array.size for arrays in solver.weights.values() for array in arrays)
    needed = 2 * 4 * 4 * numbers  # bytes: weights and two moments of each, with room to spare
    try:
        with (scratch / "room").open("wb") as room:
            os.posix_fallocate(room.fileno(), 0, needed)
    except OSError as error:
        raise FaceAlignError(
            f"{directory}: no room for a snapshot of iteration {iteration}, {needed / 1e6:.1f} MB "
            f"({error.strerror}); free some and run the same command again"
        ) from error
    finally:
        (scratch / "room").unlink(missing_ok=True)
    solver.snapshot()
    made = scratch / f"{stage}_iter_{iteration}.solverstate"
    final = directory / made.name
    if not is_whole(Snapshot(iteration, made.with_suffix(".caffemodel"), made)):
        raise FaceAlignError(
            f"{directory}: the snapshot of iteration {iteration} was cut short: is the disk full?"
        )
    snapshot = Snapshot(iteration, final.with_suffix(".caffemodel"), final)
    state = caffe_pb2.SolverState()
    state.ParseFromString(made.read_bytes())
    state.learned_net = str(snapshot.weights.resolve())  # from where Caffe reads the weights on resuming
    made.with_suffix(".caffemodel").replace(snapshot.weights)
    with replacing(snapshot.state) as partial:
        partial.write_bytes(state.SerializeToString())
    shutil.rmtree(scratch)
    return snapshot


def restore(solver: Restorable, snapshot: Snapshot, scratch: Path) -> None:
    """Resume `solver` from `snapshot`, also when its directory has been moved.

    Caffe reads the weights from the path stored in the state; a copy with the present path is used then.
    """
    state = caffe_pb2.SolverState()
    state.ParseFromString(snapshot.state.read_bytes())
    weights = str(snapshot.weights.resolve())
    if state.learned_net == weights:
        solver.restore(str(snapshot.state))
        return
    state.learned_net = weights
    moved = scratch / snapshot.state.name
    with replacing(moved) as partial:
        partial.write_bytes(state.SerializeToString())
    solver.restore(str(moved))
    shutil.rmtree(scratch)
