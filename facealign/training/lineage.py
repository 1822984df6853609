"""Lineage of a training run: the weights it started from, and the runs that made them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.caffe_files.caffemodel import named
from facealign.training.log import LOG, read_log
from facealign.training.snapshots import iteration_of

RUN = "run.json"
"""Name, in a run's folder, of the file with the settings it was started with."""


def origin(weights: Path) -> dict[str, Any]:
    """Description of the weights that a run starts from: the file's name and SHA-256.

    For a snapshot of another run also `run`: that run's own description, with the snapshot's `iteration` and
    its `seconds` of training.
    """
    described: dict[str, Any] = named(weights)
    try:
        run = json.loads((weights.parent / RUN).read_text(encoding="utf-8"))
        iteration = iteration_of(weights, run["recipe"]["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return described  # not in a run's folder
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
