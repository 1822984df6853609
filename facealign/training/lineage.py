"""Lineage of a training run: the weights it started from, and the runs that made them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.caffe_files.caffemodel import named
from facealign.errors import FaceAlignError
from facealign.io.reading import read_json
from facealign.io.schema import anything, either, map_of, maybe, number, record, text, whole
from facealign.training.log import LOG, read_log
from facealign.training.snapshots import iteration_of

RUN = "run.json"
"""Name, in a run's folder, of the file with the settings it was started with."""


def read_run(directory: Path, hint: str = "expected a run of `facealign train`") -> dict[str, Any]:
    """The contents of run.json in a run's folder. Raises FaceAlignError when it is missing or damaged."""
    path = directory / RUN
    run = read_json(path, hint)
    try:
        _check_run(run, "")
    except ValueError as error:
        raise FaceAlignError(f"{path}: {error}; {hint}") from error
    return run


def _check_run(value: Any, place: str) -> None:
    _RUN(value, place)  # by name, as a run may hold another


_WORDS = ("network", "lr_policy")
_NUMBERS = ("base_lr", "weight_decay", "momentum", "momentum2", "dropout")
_COUNTS = ("normalized", "warmup_iter", "batch_size", "max_iter")
_RECIPE = record(
    {"name": text(), "stage": text()},
    {
        **{name: text() for name in _WORDS},
        **{name: number() for name in _NUMBERS},
        **{name: whole(0) for name in _COUNTS},
        **{name: maybe(number()) for name in ("power", "gamma", "final_lr_ratio")},
        **{name: maybe(text()) for name in ("function", "starts_from")},
    },
)
_RUN = record(
    {"recipe": _RECIPE},
    {
        "data_sha256": map_of(text()),
        "seed": whole(0, 2**64),
        "fresh": maybe(record({}, {"weights": map_of(number(0)), "changes": map_of(anything)})),
        "samples": map_of(anything),
        "start": maybe(either(text(), record({}, {"run": _check_run, "weights": text(), "sha256": text()}))),
        "iterations": whole(0),
        "iteration": whole(0),
        "seconds": number(0),
    },
)


def origin(weights: Path) -> dict[str, Any]:
    """Description of the weights that a run starts from: the file's name and SHA-256.

    For a snapshot of another run also `run`: that run's own description, with the snapshot's `iteration` and
    its `seconds` of training.
    """
    described: dict[str, Any] = named(weights)
    try:
        run = read_run(weights.parent)
    except FaceAlignError:
        return described  # not in a run's folder
    iteration = iteration_of(weights, run["recipe"]["stage"])
    if iteration is not None:
        seconds = [row.seconds for row in read_log(weights.parent / LOG, iteration)]
        described["run"] = {**run, "iteration": iteration, "seconds": max(seconds, default=0.0)}
    return described


def runs_before(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Earlier runs of the same recipe that a run's weights come from, oldest first."""
    before: list[Mapping[str, Any]] = []
    while True:
        start = run.get("start")
        earlier = start.get("run") if isinstance(start, Mapping) else None
        if earlier is None or earlier["recipe"]["name"] != run["recipe"]["name"]:
            return before[::-1]
        before.append(earlier)
        run = earlier
