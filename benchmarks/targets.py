"""The targets of speed: `make bench` prints which are reached; no table in the docs has them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import comparisons
from benchmarks.comparisons import Comparison, Outcome, compare, ratio_text
from benchmarks.measure import Measurement
from facealign.io.markdown import table


@dataclass(frozen=True)
class Target:
    """The ratio of a comparison is at most `limit`; a limit by level has none at the levels that it lacks.

    per_second: units that ours has to do as well; recall: whether ours must find no less, by both notes.
    """

    comparison: Comparison
    limit: float | Mapping[str, float]
    per_second: float = 0.0
    recall: bool = False

    def limit_at(self, level: str) -> float | None:
        return self.limit.get(level) if isinstance(self.limit, Mapping) else self.limit


TARGETS = (
    Target(comparisons.TRAINING, {"v4": 0.30, "v3": 0.35}),
    Target(comparisons.TRAINING_STOCK, 0.12),
    Target(comparisons.VGG_SHADOW, 0.35),
    # Which has no switch, so that at a lower level only we would be held to it.
    Target(comparisons.FORWARD, {"v4": 1.0}),
    Target(comparisons.ONE_FACE, {"v4": 0.7, "v3": 0.8}),
    *(Target(one, 0.5, recall=True) for one in comparisons.DETECTION),
    Target(comparisons.WRITING, 0.5, per_second=15_000),
    # "Linear or better", which noise may miss by a twentieth.
    Target(comparisons.BATCH_GROWTH, 1.05),
    Target(comparisons.SAMPLES_GROWTH, 1.05),
)


def recall(measurement: Measurement) -> float:
    """The recall in a note (`recall 0.98`); nan, which is not reached, when it says none."""
    found = re.search(r"recall (\d+(?:\.\d+)?)", measurement.note)
    return float(found[1]) if found else math.nan


def reached(target: Target, level: str, found: Outcome) -> bool:
    """False, too, when it was not measured. Raises ValueError when there is no target at this level."""
    limit = target.limit_at(level)
    if limit is None:
        raise ValueError(f"no target at level {level}: {target.comparison.what}")
    if found.missing or found.ours is None or found.theirs is None or not found.ratio[1] <= limit:
        return False
    if target.per_second and not 1 / found.ours.seconds >= target.per_second:
        return False
    return not target.recall or recall(found.ours) >= recall(found.theirs)


def verdicts(level: str, measurements: Sequence[Measurement], wanted: Sequence[Target] = TARGETS) -> str:
    """The targets at this level as a table, with what was reached."""
    rows = []
    for target in wanted:
        limit = target.limit_at(level)
        if limit is None:
            continue
        found = compare(target.comparison, measurements)
        asked = [f"at most {limit:g}"]
        asked += [f"at least {target.per_second:,.0f} a second"] if target.per_second else []
        asked += ["recall no lower"] if target.recall else []
        if found.missing or found.ours is None:
            said, verdict = found.missing, "not measured"
        else:
            said, verdict = ratio_text(found), "yes" if reached(target, level, found) else "no"
            said += f", {1 / found.ours.seconds:,.0f} a second" if target.per_second else ""
        row = [target.comparison.what, target.comparison.against, said, ", ".join(asked), verdict]
        rows.append(row)
    return table(["What", "Against", "Ratio (quartiles)", f"Target at {level}", "Reached"], rows)
