"""The tables of a report of evaluations: comparison with the reported figures, validation part, breakdown.

A table is its header and its rows of text, which the Markdown report and the page both show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facealign.datasets.sample import POOLED
from facealign.evaluation import metrics
from facealign.evaluation.figures import HELD_OUT, PITCHES, RELEASE, VALIDATION, YAWS
from facealign.evaluation.metrics import NORMALISERS

INTERVAL = "bootstrap, resampling faces"
Table = tuple[list[str], list[list[str]]]
"""Header and rows."""


@dataclass(frozen=True)
class Reported:
    """A row of the reference's table: 300-W NME in %, taken to be inter-pupil (not stated there)."""

    method: str
    input: str
    common: float
    challenging: float
    full: float
    training_data: str


REPORTED = (
    Reported("VGG-Shadow (with dropout)", "70x60", 5.66, 10.82, 6.67, "300W"),
    Reported("Mobilenet-v2-stage1", "64x64", 6.07, 10.60, 6.96, "300W and Menpo"),
    Reported("Mobilenet-v2-stage2", "64x64", 5.76, 8.93, 6.39, "300W and Menpo"),
)


PART_TITLES = {
    ("yaw", "frontal"): f"less than {YAWS['frontal'][1]:.0f} degrees to either side",
    ("yaw", "half"): f"{YAWS['half'][0]:.0f} to {YAWS['half'][1]:.0f} degrees",
    ("yaw", "strong"): f"{YAWS['strong'][0]:.0f} degrees or more",
    ("pitch", "down"): f"{-PITCHES['down'][1]:.0f} degrees or more down",
    ("pitch", "level"): "between",
    ("pitch", "up"): f"{PITCHES['up'][0]:.0f} degrees or more up",
}
"""(by, name) of a part of the breakdown -> what it is, where the name does not say it."""


def figure_text(value: float | None, digits: int = 2) -> str:
    """A figure, or "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def with_interval(figures: Mapping[str, Any], key: str) -> str:
    """A figure and its confidence interval, where it has one: "5.71 [5.50, 5.93]"."""
    interval = figures.get(f"{key}_interval")
    tail = "" if interval is None else f" [{figure_text(interval[0])}, {figure_text(interval[1])}]"
    return figure_text(figures[key]) + tail


def _cell(evaluation: Mapping[str, Any], subset: str, key: str) -> str:
    figures = evaluation["subsets"].get(subset)
    if figures is None:
        return "absent"
    mark = "*" if subset in evaluation.get("incomplete", {}) else ""
    return figure_text(figures[key]) + mark


def faces_text(evaluation: Mapping[str, Any], subset: str) -> str:
    """Number of a subset's faces: "300", or, of an incomplete one, "10 of 300"."""
    number = str(evaluation["subsets"][subset]["images"])
    part = evaluation.get("incomplete", {}).get(subset)
    return f"{number} of {part['in_release']}" if part else number


def comparison(evaluations: Sequence[Mapping[str, Any]], normaliser: str = "inter_pupil") -> Table:
    """Our rows under the reported ones, 300-W NME in %; `*` marks an incomplete subset.

    normaliser: "inter_pupil" or "inter_ocular"; the reported rows appear only with the former, which is taken
    to be theirs.
    """
    if normaliser not in NORMALISERS:
        raise ValueError(f"normaliser {normaliser!r}, expected one of {tuple(NORMALISERS)}")
    rows = []
    if normaliser == "inter_pupil":
        for row in REPORTED:
            numbers = [figure_text(value) for value in (row.common, row.challenging, row.full)]
            rows.append([f"{row.method} (reported)", row.input, *numbers, row.training_data])
    for evaluation in evaluations:
        settings = evaluation["settings"]
        numbers = [_cell(evaluation, subset, f"nme_{normaliser}") for subset in POOLED]
        trained_on = str(settings.get("training_data", "see the model card"))
        rows.append([str(settings["method"]), str(settings["input"]), *numbers, trained_on])
    return ["Method", "Input", "Common", "Challenge", "Full", "Training data"], rows


PARTS = {
    VALIDATION: "Validation part: faces of 300-W's training photos that are never trained on",
    HELD_OUT: "Held-out part: other such faces, by which nothing was chosen",
}
"""What the parts of 300-W's training photos are, that are no test set."""


def shows_300w(evaluations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the evaluations is, in part, of 300-W: its folders, its validation or held-out part."""
    names = {*PARTS, *POOLED, *RELEASE}
    return any(names & set(evaluation["subsets"]) for evaluation in evaluations)


def side_by_side(evaluations: Sequence[Mapping[str, Any]]) -> list[tuple[str, Table]]:
    """Methods side by side on the validation part and the held-out part or, where nothing is of 300-W, on
    each folder: what it is, and its table.
    """
    shown = PARTS
    if not shows_300w(evaluations):
        names = sorted({name for evaluation in evaluations for name in evaluation["subsets"]})
        shown = {name: f"Faces in {name}/" for name in names}
    return [
        (what, methods_on(part, evaluations))
        for part, what in shown.items()
        if any(part in evaluation["subsets"] for evaluation in evaluations)
    ]


def methods_on(part: str, evaluations: Sequence[Mapping[str, Any]]) -> Table:
    """Methods on the validation part or another subset; evaluations without it are left out.

    Where all were measured on the same faces, the last column is the mean difference to the first method, per
    face, with its confidence interval.
    """
    kept = [evaluation for evaluation in evaluations if part in evaluation["subsets"]]
    members = [evaluation["members"][part] for evaluation in kept]
    paired = len(kept) > 1 and all(sorted(one) == sorted(members[0]) for one in members)
    header = ["Method", "Input", "Faces", "Missed", "Inter-pupil", "Inter-ocular", "Failures over 8 %"]
    rows = []
    for evaluation in kept:
        settings, figures = evaluation["settings"], evaluation["subsets"][part]
        row = [
            str(settings["method"]),
            str(settings["input"]),
            faces_text(evaluation, part),
            str(figures["missed_detections"]),
            *[with_interval(figures, f"nme_{name}") for name in NORMALISERS],
            figure_text(100 * figures["failure_rate_08"], 1) + " %",
        ]
        if paired:
            row.append("-" if evaluation is kept[0] else _difference(part, kept[0], evaluation))
        rows.append(row)
    return [*header, "Inter-pupil, to the first"][: len(header) + paired], rows


def _difference(part: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Mean difference, second minus first, of the inter-pupil errors of faces that both found; interval."""
    pairs = [(first["errors"][path], second["errors"][path]) for path in first["members"][part]]
    values = np.array(
        [b["inter_pupil"] - a["inter_pupil"] for a, b in pairs if a is not None and b is not None]
    )
    if len(values) == 0:
        return "-"
    low, high = metrics.bootstrap_interval(values)
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def part_title(row: Mapping[str, Any]) -> str:
    """What a part of the breakdown is, in words."""
    return str(PART_TITLES.get((row["by"], row["name"]), row["name"]))


def breakdown_table(evaluation: Mapping[str, Any]) -> Table:
    """The breakdown of an evaluation: a row per data set, group of landmarks, yaw and so on."""
    rows = []
    for row in evaluation["breakdown"]:
        failures = row.get("failure_rate_08")
        rows.append(
            [
                row["by"],
                part_title(row),
                str(row["images"]),
                str(row["missed_detections"]),
                *[with_interval(row, f"nme_{name}") for name in NORMALISERS],
                "" if failures is None else figure_text(100 * failures, 1) + " %",
            ]
        )
    return ["By", "Part", "Faces", "Missed", "Inter-pupil", "Inter-ocular", "Failures over 8 %"], rows


def subset_table(evaluation: Mapping[str, Any]) -> Table:
    """Every figure of one evaluation, a row per subset; absent subsets have a row that says so."""
    columns = [
        ("images", "Images", 0),
        ("missed_detections", "Missed", 0),
        ("nme_inter_pupil", "NME inter-pupil, %", 2),
        ("nme_inter_ocular", "NME inter-ocular, %", 2),
        ("failure_rate_08", "Failures over 8 %", 4),
        ("auc_08", "AUC to 8 %", 4),
        ("failure_rate_10", "Failures over 10 %", 4),
        ("auc_10", "AUC to 10 %", 4),
    ]
    rows = []
    for name, figures in evaluation["subsets"].items():
        part = evaluation.get("incomplete", {}).get(name)
        title = f"{name} (of {part['in_release']})" if part else name
        rows.append(
            [
                title,
                *[
                    with_interval(figures, key)
                    if key.startswith("nme")
                    else figure_text(figures[key], digits)
                    for key, _, digits in columns
                ],
            ]
        )
    rows += [[name, "absent", *[""] * (len(columns) - 1)] for name in evaluation.get("absent", [])]
    return ["Subset", *[title for _, title, _ in columns]], rows


def skipped_text(count: int) -> str:
    """What is said of the files that were skipped.

    >>> skipped_text(1)
    '1 file could not be used and is not included'
    >>> skipped_text(2)
    '2 files could not be used and are not included'
    """
    if count == 1:
        return "1 file could not be used and is not included"
    return f"{count} files could not be used and are not included"
