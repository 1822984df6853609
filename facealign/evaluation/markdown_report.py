"""Reports of evaluations in Markdown: comparison with the reported figures, validation part, breakdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facealign.datasets.sample import POOLED
from facealign.errors import FaceAlignError
from facealign.evaluation import metrics
from facealign.evaluation.figures import HELD_OUT, PITCHES, VALIDATION, YAWS
from facealign.evaluation.metrics import NORMALISERS
from facealign.io.markdown import table

INTERVAL = "bootstrap, resampling faces"


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


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _with_interval(figures: Mapping[str, Any], key: str) -> str:
    """A figure and its confidence interval, where it has one: "5.71 [5.50, 5.93]"."""
    interval = figures.get(f"{key}_interval")
    tail = "" if interval is None else f" [{_number(interval[0])}, {_number(interval[1])}]"
    return _number(figures[key]) + tail


def _cell(evaluation: Mapping[str, Any], subset: str, key: str) -> str:
    figures = evaluation["subsets"].get(subset)
    if figures is None:
        return "absent"
    mark = "*" if subset in evaluation.get("incomplete", {}) else ""
    return _number(figures[key]) + mark


def _faces(evaluation: Mapping[str, Any], subset: str) -> str:
    """Number of a subset's faces: "300", or, of an incomplete one, "10 of 300"."""
    number = str(evaluation["subsets"][subset]["images"])
    part = evaluation.get("incomplete", {}).get(subset)
    return f"{number} of {part['in_release']}" if part else number


def comparison(evaluations: Sequence[Mapping[str, Any]], normaliser: str = "inter_pupil") -> str:
    """Table of our rows under the reported ones, 300-W NME in %; `*` marks an incomplete subset.

    normaliser: "inter_pupil" or "inter_ocular"; the reported rows appear only with the former, which is taken
    to be theirs.
    """
    if normaliser not in NORMALISERS:
        raise ValueError(f"normaliser {normaliser!r}, expected one of {tuple(NORMALISERS)}")
    rows = []
    if normaliser == "inter_pupil":
        for row in REPORTED:
            numbers = [_number(value) for value in (row.common, row.challenging, row.full)]
            rows.append([f"{row.method} (reported)", row.input, *numbers, row.training_data])
    for evaluation in evaluations:
        settings = evaluation["settings"]
        numbers = [_cell(evaluation, subset, f"nme_{normaliser}") for subset in POOLED]
        trained_on = str(settings.get("training_data", "see the model card"))
        rows.append([str(settings["method"]), str(settings["input"]), *numbers, trained_on])
    return table(["Method", "Input", "Common", "Challenge", "Full", "Training data"], rows)


PARTS = {
    VALIDATION: "Validation part: faces of 300-W's training photos that are never trained on",
    HELD_OUT: "Held-out part: other such faces, by which nothing was chosen",
}
"""What the parts of 300-W's training photos are, that are no test set."""


def methods_on(part: str, evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Table of methods on the validation or held-out part; evaluations without that part are left out.

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
            _faces(evaluation, part),
            str(figures["missed_detections"]),
            *[_with_interval(figures, f"nme_{name}") for name in NORMALISERS],
            _number(100 * figures["failure_rate_08"], 1) + " %",
        ]
        if paired:
            row.append("-" if evaluation is kept[0] else _difference(part, kept[0], evaluation))
        rows.append(row)
    return table([*header, "Inter-pupil, to the first"][: len(header) + paired], rows)


def validation_by_data_set(evaluation: Mapping[str, Any]) -> str:
    """The validation part of one evaluation, whole and by data set: a sentence and a table.

    Raises KeyError when the evaluation has no validation part.
    """
    whole = evaluation["subsets"][VALIDATION]
    rows = [("all", _faces(evaluation, VALIDATION), whole)]
    rows += [
        (row["name"], str(row["images"]), row) for row in evaluation["breakdown"] if row["by"] == "data set"
    ]
    settings = evaluation["settings"]
    how = f"{settings['method']}, boxes: {settings['boxes']}, {settings['engine']}"
    return (
        f"Measured by `facealign evaluate`\n({how}); NME in %, with its confidence interval\n"
        f"({evaluation['interval']}):\n\n"
    ) + table(
        ["Faces", "Number", "Missed", "Inter-pupil", "Inter-ocular"],
        [
            [
                name,
                number,
                str(row["missed_detections"]),
                *[_with_interval(row, f"nme_{normaliser}") for normaliser in NORMALISERS],
            ]
            for name, number, row in rows
        ],
    )


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


def breakdown_table(evaluation: Mapping[str, Any]) -> str:
    """Table of the breakdown of an evaluation: a row per data set, group of landmarks, yaw and pitch."""
    titles = {
        ("yaw", "frontal"): f"less than {YAWS['frontal'][1]:.0f} degrees to either side",
        ("yaw", "half"): f"{YAWS['half'][0]:.0f} to {YAWS['half'][1]:.0f} degrees",
        ("yaw", "strong"): f"{YAWS['strong'][0]:.0f} degrees or more",
        ("pitch", "down"): f"{-PITCHES['down'][1]:.0f} degrees or more down",
        ("pitch", "level"): "between",
        ("pitch", "up"): f"{PITCHES['up'][0]:.0f} degrees or more up",
    }
    rows = []
    for row in evaluation["breakdown"]:
        failures = row.get("failure_rate_08")
        rows.append(
            [
                row["by"],
                titles.get((row["by"], row["name"]), row["name"]),
                str(row["images"]),
                str(row["missed_detections"]),
                *[_with_interval(row, f"nme_{name}") for name in NORMALISERS],
                "" if failures is None else _number(100 * failures, 1) + " %",
            ]
        )
    return table(["By", "Part", "Faces", "Missed", "Inter-pupil", "Inter-ocular", "Failures over 8 %"], rows)


def subset_table(evaluation: Mapping[str, Any]) -> str:
    """Table of every figure of one evaluation, a row per subset; absent subsets have a row that says so."""
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
                    _with_interval(figures, key) if key.startswith("nme") else _number(figures[key], digits)
                    for key, _, digits in columns
                ],
            ]
        )
    rows += [[name, "absent", *[""] * (len(columns) - 1)] for name in evaluation.get("absent", [])]
    return table(["Subset", *[title for _, title, _ in columns]], rows)


def markdown(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The whole report: methods side by side, by both normalisers, then each evaluation in detail."""
    if not evaluations:
        raise FaceAlignError("no evaluation to report; facealign evaluate makes one")
    parts = []
    for part, what in PARTS.items():
        if any(part in evaluation["subsets"] for evaluation in evaluations):
            parts += [
                f"{what}. NME in % with its 95 % confidence interval ({INTERVAL}); failures by the "
                "inter-ocular distance:\n",
                methods_on(part, evaluations),
            ]
    if not parts or any(set(POOLED) & set(evaluation["subsets"]) for evaluation in evaluations):
        parts += [
            "300-W, NME in % of the inter-pupil distance (the reported rows do not state theirs):\n",
            comparison(evaluations, "inter_pupil"),
            "300-W, NME in % of the inter-ocular distance (outer eye corners):\n",
            comparison(evaluations, "inter_ocular"),
        ]
    for evaluation in evaluations:
        if VALIDATION in evaluation.get("incomplete", {}):
            parts.append(
                f"{evaluation['settings']['method']}: not the whole validation part, but "
                f"{_faces(evaluation, VALIDATION)} faces: compare it with no other.\n"
            )
    if any(set(POOLED) & set(evaluation.get("incomplete", {})) for evaluation in evaluations):
        parts.append("`*` only a part of this subset's images was present.\n")
    for evaluation in evaluations:
        settings = evaluation["settings"]
        parts.append(
            f"{settings['method']}, boxes: {settings.get('boxes', '?')}. Failure rates (fractions) and AUC "
            "are relative to the inter-ocular distance; a missed detection is a failure, left out of NME.\n"
        )
        parts.append(subset_table(evaluation))
        if evaluation.get("breakdown"):
            of = "the validation part" if VALIDATION in evaluation["subsets"] else "all measured faces"
            if VALIDATION in evaluation.get("incomplete", {}):
                of = f"{_faces(evaluation, VALIDATION)} faces of the validation part"
            parts.append(
                f"{settings['method']}, {of} broken down. Yaw and pitch are those of the annotated "
                "landmarks, by the six-point head model:\n"
            )
            parts.append(breakdown_table(evaluation))
        if evaluation.get("skipped"):
            parts.append(f"{len(evaluation['skipped'])} files could not be used and are not included.\n")
    return "\n".join(parts)
