"""Evaluations as people read them: the Markdown table beside the reported figures, and the CED plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign.datasets import POOLED
from facealign.errors import FaceAlignError
from facealign.evaluation import NORMALISERS
from facealign.plotting import figure_in

NORMALISER_NAMES = {"inter_pupil": "inter-pupil", "inter_ocular": "inter-ocular"}


@dataclass(frozen=True)
class Reported:
    """A row of the reference's table: 300-W NME in %, taken to be inter-pupil (it does not say)."""

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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a `|` inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _cell(evaluation: Mapping[str, Any], subset: str, key: str) -> str:
    figures = evaluation["subsets"].get(subset)
    if figures is None:
        return "absent"
    mark = "*" if subset in evaluation.get("incomplete", {}) else ""
    return _number(figures[key]) + mark


def comparison(evaluations: Sequence[Mapping[str, Any]], normaliser: str = "inter_pupil") -> str:
    """Our rows under the reported ones, 300-W NME in %; `*` marks a subset of which only a part was there.

    normaliser: "inter_pupil" or "inter_ocular"; the reported rows appear only in the former, which is theirs.
    """
    if normaliser not in NORMALISERS:
        raise ValueError(f"normaliser {normaliser!r}, expected one of {NORMALISERS}")
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


def details(evaluation: Mapping[str, Any]) -> str:
    """Every figure of every subset of one evaluation, a row a subset; what is absent is said."""
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
        rows.append([title, *[_number(figures[key], digits) for key, _, digits in columns]])
    rows += [[name, "absent", *[""] * (len(columns) - 1)] for name in evaluation.get("absent", [])]
    return table(["Subset", *[title for _, title, _ in columns]], rows)


def markdown(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The whole report: both normalisers by name, then each evaluation in detail."""
    if not evaluations:
        raise FaceAlignError("no evaluation to report; tools/evaluate.py makes one")
    parts = [
        "300-W, NME in % of the inter-pupil distance (the reported rows do not name theirs):\n",
        comparison(evaluations, "inter_pupil"),
        "300-W, NME in % of the inter-ocular distance (outer eye corners):\n",
        comparison(evaluations, "inter_ocular"),
    ]
    if any(set(POOLED) & set(evaluation.get("incomplete", {})) for evaluation in evaluations):
        parts.append("`*` only a part of this subset's images was there.\n")
    for evaluation in evaluations:
        settings = evaluation["settings"]
        parts.append(
            f"{settings['method']}, boxes: {settings.get('boxes', '?')}. Failure rates (fractions) and AUC "
            "are relative to the inter-ocular distance; a missed detection is a failure, left out of NME.\n"
        )
        parts.append(details(evaluation))
        if evaluation.get("skipped"):
            parts.append(f"{len(evaluation['skipped'])} files could not be used and are not counted.\n")
    return "\n".join(parts)


def plot_ced(path: Path, evaluations: Sequence[Mapping[str, Any]], limit: float = 10.0) -> None:
    """Draw the cumulative error distributions (both normalisers) up to `limit` % into a PNG.

    One curve per subset: for one evaluation common, challenging and full, or else its folders; for several
    evaluations the widest subset each has.
    Raises FaceAlignError when matplotlib is not installed.
    """
    with figure_in(path, (11, 4.5)) as figure:
        for index, normaliser in enumerate(NORMALISERS):
            axes = figure.add_subplot(1, 2, index + 1)
            for label, errors in curves(evaluations, normaliser):
                finite = np.sort(errors[np.isfinite(errors)])
                shares = np.arange(1, len(finite) + 1) / len(errors)
                axes.step([0.0, *finite], [0.0, *shares], where="post", label=f"{label} (n = {len(errors)})")
            axes.set(
                xlim=(0, limit),
                ylim=(0, 1),
                xlabel=f"NME, % of the {NORMALISER_NAMES[normaliser]} distance",
                ylabel="share of the images",
            )
            axes.grid(alpha=0.3)
            axes.legend(loc="lower right", fontsize="small")


def curves(
    evaluations: Sequence[Mapping[str, Any]], normaliser: str
) -> list[tuple[str, np.ndarray[Any, np.dtype[np.float64]]]]:
    """(label, errors in %, infinite where the face was missed) of each curve of the CED plot."""
    result = []
    for evaluation in evaluations:
        members = evaluation["members"]
        pooled = [name for name in POOLED if name in members]
        names = pooled or list(members)
        if len(evaluations) > 1:
            names = ["full"] if "full" in members else names
        for name in names:
            found = [evaluation["errors"][path] for path in members[name]]
            errors = np.array([np.inf if error is None else error[normaliser] for error in found])
            label = name if len(evaluations) == 1 else f"{evaluation['settings']['method']}: {name}"
            result.append((label, errors))
    return result
