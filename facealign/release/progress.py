"""Progress of the reproduction: the steps that are done, and the time that the others take."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.io.atomic import discard, replacing
from facealign.io.reading import read_json
from facealign.io.schema import map_of, record, string
from facealign.release.reproduction_plan import PlannedStep
from facealign.training.snapshots import snapshots

_KEPT = record({"begun": map_of(string), "done": map_of(string)})


class Progress:
    """Record, in a file, of the steps that were begun, and that are done.

    A step is done when it succeeded with the same command as now, the steps it needs are unchanged, and its
    result exists.
    """

    def __init__(self, path: Path, steps: Sequence[PlannedStep]) -> None:
        self.path = path
        self.digests: dict[str, str] = {}
        for step in steps:
            needed = [self.digests[name] for name in step.needs]
            described = json.dumps([step.command, needed]).encode()
            self.digests[step.name] = hashlib.sha256(described).hexdigest()
        self._begun: dict[str, str] = {}
        self._done: dict[str, str] = {}
        if path.is_file():
            # Of a damaged file all steps run again, and most find their results.
            with suppress(FaceAlignError):
                kept = read_json(path, "expected the progress of `facealign reproduce`")
                with suppress(ValueError):
                    _KEPT(kept, "")
                    self._begun, self._done = kept["begun"], kept["done"]

    def has(self, step: PlannedStep) -> bool:
        return self._done.get(step.name) == self.digests[step.name] and step.result.exists()

    def begin(self, step: PlannedStep) -> None:
        """Record that a step is begun; a training that another command began in its place is removed."""
        digest = self.digests[step.name]
        if step.iterations and self._begun.get(step.name, digest) != digest and step.result.exists():
            discard(step.result)
        self._begun[step.name] = digest
        self._write()

    def add(self, step: PlannedStep) -> None:
        self._begun[step.name] = self._done[step.name] = self.digests[step.name]
        self._write()

    def _write(self) -> None:
        with replacing(self.path) as partial:
            kept = {"begun": self._begun, "done": self._done}
            partial.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def minutes_left(step: PlannedStep, speed: float) -> float:
    """Expected minutes of a step that is not done; for a training that was started, of the rest.

    speed: of this machine, relative to MACHINE.
    """
    rest = 1.0
    if step.iterations:
        found = snapshots(step.result, step.stage)
        if found:
            rest = max(0.0, 1 - found[0].iteration / step.iterations)
    return step.minutes * rest / speed
