"""Which steps of the reproduction are done, and how long the rest takes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from facealign.io.atomic import replacing
from facealign.release.reproduction_plan import PlannedStep
from facealign.training.snapshots import snapshots


class Progress:
    """Which of the steps are done, remembered in a file.

    A step is done when it ended well by the same command as now, all that it needs is as it was then, and
    its result is there.
    """

    def __init__(self, path: Path, steps: Sequence[PlannedStep]) -> None:
        self.path = path
        self.digests: dict[str, str] = {}
        for step in steps:
            needed = [self.digests[name] for name in step.needs]
            told = json.dumps([step.command, needed]).encode()
            self.digests[step.name] = hashlib.sha256(told).hexdigest()
        self._done: dict[str, str] = {}
        if path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                self._done = {str(name): str(digest) for name, digest in kept.items()}
            except (ValueError, AttributeError):
                pass  # damaged: then all is done again, most of it from what is there

    def has(self, step: PlannedStep) -> bool:
        return self._done.get(step.name) == self.digests[step.name] and step.result.exists()

    def add(self, step: PlannedStep) -> None:
        self._done[step.name] = self.digests[step.name]
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(self._done, indent=1) + "\n", encoding="utf-8")


def minutes_left(step: PlannedStep, speed: float) -> float:
    """How long a step that is not done will take; of a training that was begun, the rest.

    speed: this machine's, 1 for MACHINE.
    """
    share = 1.0
    if step.iterations:
        found = snapshots(step.result, step.stage)
        if found:
            share = max(0.0, 1 - found[0].iteration / step.iterations)
    return step.minutes * share / speed
