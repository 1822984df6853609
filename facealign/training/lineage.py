"""Which weights a training run began with, and the runs behind them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.caffe_files.caffemodel import named
from facealign.training.log import LOG, read_log
from facealign.training.snapshots import iteration_of

RUN = "run.json"
"""What a run was started with, in its folder."""


def origin(weights: Path) -> dict[str, Any]:
    """What a run keeps of the weights that it begins with: the file's name and SHA-256.

    Of a run's snapshot also `run`: that run's own description, with the snapshot's `iteration` and how many
    `seconds` of training it took.
    """
    told: dict[str, Any] = named(weights)
    try:
        run = json.loads((weights.parent / RUN).read_text(encoding="utf-8"))
        iteration = iteration_of(weights, run["recipe"]["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return told  # no run's folder; the file is told by its digest
    if iteration is not None:
        seconds = [row.seconds for row in read_log(weights.parent / LOG, iteration)]
        told["run"] = {**run, "iteration": iteration, "seconds": max(seconds, default=0.0)}
    return told


def runs_before(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs of the same recipe that a run's weights went through before, the first one first."""
    before: list[Mapping[str, Any]] = []
    while True:
        start = run.get("start")
        earlier = start.get("run") if isinstance(start, Mapping) else None
        if earlier is None or earlier["recipe"]["name"] != run["recipe"]["name"]:
            return before[::-1]
        before.append(earlier)
        run = earlier
