"""Reports of evaluations in Markdown: comparison with the reported figures, validation part, breakdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from facealign.datasets.sample import POOLED
from facealign.errors import FaceAlignError
from facealign.evaluation.figures import VALIDATION
from facealign.evaluation.metrics import NORMALISERS
from facealign.evaluation.report_tables import (
    INTERVAL,
    breakdown_table,
    comparison,
    faces_text,
    side_by_side,
    skipped_text,
    subset_table,
    with_interval,
)
from facealign.io.markdown import table


def validation_by_data_set(evaluation: Mapping[str, Any]) -> str:
    """The validation part of one evaluation, whole and by data set: a sentence and a table.

    Raises KeyError when the evaluation has no validation part.
    """
    whole = evaluation["subsets"][VALIDATION]
    rows = [("all", faces_text(evaluation, VALIDATION), whole)]
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
                *[with_interval(row, f"nme_{normaliser}") for normaliser in NORMALISERS],
            ]
            for name, number, row in rows
        ],
    )


def markdown(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """The whole report: methods side by side, by both normalisers, then each evaluation in detail."""
    if not evaluations:
        raise FaceAlignError("no evaluation to report; facealign evaluate makes one")
    parts = []
    for what, content in side_by_side(evaluations):
        parts += [
            f"{what}. NME in % with its 95 % confidence interval ({INTERVAL}); failures by the "
            "inter-ocular distance:\n",
            table(*content),
        ]
    if not parts or any(set(POOLED) & set(evaluation["subsets"]) for evaluation in evaluations):
        parts += [
            "300-W, NME in % of the inter-pupil distance (the reported rows do not state theirs):\n",
            table(*comparison(evaluations, "inter_pupil")),
            "300-W, NME in % of the inter-ocular distance (outer eye corners):\n",
            table(*comparison(evaluations, "inter_ocular")),
        ]
    for evaluation in evaluations:
        if VALIDATION in evaluation.get("incomplete", {}):
            parts.append(
                f"{evaluation['settings']['method']}: not the whole validation part, but "
                f"{faces_text(evaluation, VALIDATION)} faces: compare it with no other.\n"
            )
    if any(set(POOLED) & set(evaluation.get("incomplete", {})) for evaluation in evaluations):
        parts.append("`*` only a part of this subset's images was present.\n")
    for evaluation in evaluations:
        settings = evaluation["settings"]
        parts.append(
            f"{settings['method']}, boxes: {settings.get('boxes', '?')}. Failure rates (fractions) and AUC "
            "are relative to the inter-ocular distance; a missed detection is a failure, left out of NME.\n"
        )
        parts.append(table(*subset_table(evaluation)))
        if evaluation.get("breakdown"):
            of = "the validation part" if VALIDATION in evaluation["subsets"] else "all measured faces"
            if VALIDATION in evaluation.get("incomplete", {}):
                of = f"{faces_text(evaluation, VALIDATION)} faces of the validation part"
            parts.append(
                f"{settings['method']}, {of} broken down. Yaw and pitch are those of the annotated "
                "landmarks, by the six-point head model; box overlap is the intersection over union of the "
                "box with theirs; face size is the longer side of theirs:\n"
            )
            parts.append(table(*breakdown_table(evaluation)))
        if evaluation.get("skipped"):
            parts.append(f"{skipped_text(len(evaluation['skipped']))}.\n")
    return "\n".join(parts)
