"""Caffe's snapshots of a training run: found if whole, and given their names only when whole."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from facealign.errors import FaceAlignError
from facealign.files import replacing
from facealign.proto import caffe_pb2


@dataclass(frozen=True)
class Snapshot:
    """iteration; weights: PREFIX_iter_N.caffemodel; state: the solver's, PREFIX_iter_N.solverstate."""

    iteration: int
    weights: Path
    state: Path


def snapshots(directory: Path, stage: str) -> list[Snapshot]:
    """The snapshots STAGE_iter_N of a run's directory, newest first; half-written ones are passed over."""
    found = []
    for state in directory.glob(f"{stage}_iter_*.solverstate"):
        match = re.fullmatch(rf"{re.escape(stage)}_iter_(\d+)", state.stem)
        snapshot = Snapshot(int(match[1]), state.with_suffix(".caffemodel"), state) if match else None
        if snapshot is not None and is_whole(snapshot):
            found.append(snapshot)
    return sorted(found, key=lambda snapshot: -snapshot.iteration)


def is_whole(snapshot: Snapshot) -> bool:
    """Whether both files can be parsed and belong to the iteration of their name."""
    state, net = caffe_pb2.SolverState(), caffe_pb2.NetParameter()
    try:
        state.ParseFromString(snapshot.state.read_bytes())
        net.ParseFromString(snapshot.weights.read_bytes())
    except (OSError, DecodeError):
        return False
    return state.iter == snapshot.iteration and bool(state.history) and any(one.blobs for one in net.layer)


def newest_weights(directory: Path, stage: str) -> Path | None:
    """The weights of the newest whole snapshot, or None."""
    found = snapshots(directory, stage)
    return found[0].weights if found else None


def take(solver: Any, directory: Path, stage: str, scratch: Path) -> Snapshot:
    """Have pycaffe's `solver`, whose snapshot_prefix is `scratch`/STAGE, write a snapshot into `directory`.

    Raises FaceAlignError when the disk has too little room: Caffe itself would end the process.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    numbers = sum(blob.count for blobs in solver.net.params.values() for blob in blobs)
    needed = 2 * 4 * 4 * numbers  # weights and two moments of each, and as much again
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise FaceAlignError(
            f"{directory}: no room for a snapshot of iteration {solver.iter}: {needed / 1e6:.0f} MB needed, "
            f"{free / 1e6:.0f} MB free; free some and run the same command again"
        )
    iteration = int(solver.iter)
    solver.snapshot()
    made = scratch / f"{stage}_iter_{iteration}.solverstate"
    final = directory / made.name
    snapshot = Snapshot(iteration, final.with_suffix(".caffemodel"), final)
    state = caffe_pb2.SolverState()
    state.ParseFromString(made.read_bytes())
    state.learned_net = str(snapshot.weights.resolve())  # where Caffe looks for the weights on resuming
    made.with_suffix(".caffemodel").replace(snapshot.weights)
    with replacing(snapshot.state) as partial:
        partial.write_bytes(state.SerializeToString())
    shutil.rmtree(scratch)
    return snapshot
