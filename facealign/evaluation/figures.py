"""Figures of an aligner on annotated photos, per subset: NME, failure rate, AUC, missed detections.

The validation part of 300-W (datasets/validation_300w.py) is a subset of its own, and is broken down by data
set, group of landmarks and pose.

A face that the detector missed is a failure: it counts in the failure rate and, as an infinite error, in the
AUC and the CED curve. It has no landmarks, so it is left out of the mean error, beside which the number of
missed faces is given.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from facealign.arrays import FloatArray
from facealign.datasets.sample import POOLED, Sample, eval_subsets
from facealign.datasets.validation_300w import HELD_OUT_FACES, in_held_out
from facealign.evaluation import metrics
from facealign.evaluation.measure import Measurement
from facealign.evaluation.metrics import NORMALISERS
from facealign.geometry.boxes import landmark_box, overlap
from facealign.geometry.head_pose import head_pose
from facealign.geometry.landmarks import LANDMARK_GROUPS

THRESHOLDS = {"08": 0.08, "10": 0.10}
"""Key suffix -> threshold, a fraction of the normaliser."""
FAILURE_NORMALISER = "inter_ocular"
"""Normaliser of `failure_rate_08`, `auc_08`...: the literature's choice for these two figures."""
RELEASE: dict[str, int] = {
    "01_indoor": 300,
    "02_outdoor": 300,
    "afw": 337,
    "helen/testset": 330,
    "helen/trainset": 2000,
    "ibug": 135,
    "lfpw/testset": 224,
    "lfpw/trainset": 811,
}
"""Folders of the 300-W release and their numbers of images."""
MISSED_RULE = (
    "a missed detection is a failure: it counts in failure_rate and, as an infinite error, in auc and the "
    "CED; it is left out of nme"
)
VALIDATION = "validation"
"""The subset of the validation faces, which are in no other subset."""
HELD_OUT = "held-out"
"""That of the faces of 300-W's held-out part, likewise."""
YAWS = {"frontal": (0.0, 15.0), "half": (15.0, 30.0), "strong": (30.0, 180.1)}
"""Kind of pose -> its range of absolute yaw: from, and below, in degrees."""
PITCHES = {"down": (-90.0, -10.0), "level": (-10.0, 10.0), "up": (10.0, 90.1)}
"""Kind of pose -> its range of pitch: from, and below, in degrees."""
OVERLAPS = {
    "less than 0.5": (0.0, 0.5),
    "0.5 to 0.6": (0.5, 0.6),
    "0.6 to 0.7": (0.6, 0.7),
    "0.7 or more": (0.7, 1.1),
}
"""Kind of box -> its range of intersection over union with the bounding box of the annotated landmarks."""
SIZES = {
    "less than 75 pixels": (0.0, 75.0),
    "75 to 150 pixels": (75.0, 150.0),
    "150 to 300 pixels": (150.0, 300.0),
    "300 pixels or more": (300.0, float("inf")),
}
"""Kind of face -> its range of `face_size`: from, and below, in pixels."""
RANGES = {"yaw": YAWS, "pitch": PITCHES, "box overlap": OVERLAPS, "face size": SIZES}
"""What faces are divided by -> its kinds."""


def face_size(points: FloatArray) -> float:
    """Longer side of the bounding box of a face's landmarks (68, 2), in pixels.

    >>> face_size(np.array([[0.0, 0.0], [30.0, 40.0]]))
    40.0
    """
    return float(np.ptp(points, axis=0).max())


def limits(errors: Sequence[Mapping[str, float] | None]) -> dict[str, list[float] | None]:
    """95 % bootstrap confidence intervals of the mean errors, in %, by the key "nme_NORMALISER_interval".

    errors: of each face (None: missed, left out). An interval is None when all faces were missed.
    """
    result: dict[str, list[float] | None] = {}
    for name in NORMALISERS:
        values = np.array([error[name] for error in errors if error is not None])
        interval = metrics.bootstrap_interval(100 * values) if len(values) else None
        result[f"nme_{name}_interval"] = None if interval is None else list(interval)
    return result


def breakdown(samples: Sequence[Sample], measured: Measurement) -> list[dict[str, Any]]:
    """Figures of parts of the measured faces: by data set, group of landmarks, yaw, pitch, overlap of the box
    with the landmarks', and size of the face.

    Each part is {"by": ..., "name": ..., figures}; parts without a face are left out. A group of landmarks
    has only "images", "missed_detections", NME and its confidence interval. A missed face has no box, and no
    part by overlap.
    """
    members = [sample for sample in samples if sample.relative in measured.errors]
    rows: list[dict[str, Any]] = []

    def add(by: str, name: str, kept: Sequence[Sample]) -> None:
        if kept:
            errors = [measured.errors[sample.relative] for sample in kept]
            rows.append({"by": by, "name": name, **figures(errors)})

    for subset in sorted({sample.subset for sample in members}):
        add("data set", subset, [sample for sample in members if sample.subset == subset])
    found = [sample.relative for sample in members if measured.errors[sample.relative] is not None]
    for group in LANDMARK_GROUPS:
        errors = [measured.groups[path][group] for path in found]
        means = {
            f"nme_{name}": 100 * float(np.mean([error[name] for error in errors])) if errors else None
            for name in NORMALISERS
        }
        counts = {"images": len(members), "missed_detections": len(members) - len(found)}
        rows.append({"by": "landmarks", "name": group, **counts, **means, **limits(errors)})
    poses = {sample.relative: head_pose(sample.points) for sample in members}
    values: dict[str, dict[str, float]] = {
        "yaw": {name: abs(pose.yaw) for name, pose in poses.items() if pose is not None},
        "pitch": {name: pose.pitch for name, pose in poses.items() if pose is not None},
        "box overlap": {
            sample.relative: float(overlap(face.box, landmark_box(sample.points)))
            for sample in members
            if (face := measured.faces.get(sample.relative)) is not None and face.box is not None
        },
        "face size": {sample.relative: face_size(sample.points) for sample in members},
    }
    for by, kinds in RANGES.items():
        for kind, (low, high) in kinds.items():
            inside = {name for name, value in values[by].items() if low <= value < high}
            add(by, kind, [sample for sample in members if sample.relative in inside])
    return rows


def figures(errors: Sequence[Mapping[str, float] | None]) -> dict[str, Any]:
    """Figures of one subset from the errors of its faces (None: missed).

    nme_* is in %, failure_rate_* and auc_* in 0..1; failure_rate_08 is relative to the inter-ocular distance,
    failure_rate_08_inter_pupil to the inter-pupil distance. nme_*_interval: [low, high], see `limits`. NME
    and interval are None when every face was missed.
    Raises ValueError when there is no face.
    """
    if not errors:
        raise ValueError("no face to compute figures of")
    found = [error for error in errors if error is not None]
    missed = len(errors) - len(found)
    result: dict[str, Any] = {"images": len(errors), "missed_detections": missed}
    by_name = {name: np.array([error[name] for error in found]) for name in NORMALISERS}
    for name, values in by_name.items():
        result[f"nme_{name}"] = 100 * float(values.mean()) if len(values) else None
    result.update(limits(errors))
    for name in (FAILURE_NORMALISER, *[name for name in NORMALISERS if name != FAILURE_NORMALISER]):
        values = by_name[name]
        tail = "" if name == FAILURE_NORMALISER else f"_{name}"
        for suffix, threshold in THRESHOLDS.items():
            result[f"failure_rate_{suffix}{tail}"] = float(metrics.failure_rate(values, threshold, missed))
            # A missed face adds nothing to the area under the curve, but counts in the number of faces.
            area = float(metrics.auc(values, threshold)) if len(values) else 0.0
            result[f"auc_{suffix}{tail}"] = area * len(values) / len(errors)
    return result


def subsets_of(
    samples: Sequence[Sample], measured: Measurement, validation: Collection[str] = ()
) -> dict[str, list[str]]:
    """Relative paths of the measured samples by subset: validation, held-out, common, challenging, full, and
    each folder.

    validation: paths of the validation faces, which are in no other subset.
    """
    known = [sample for sample in samples if sample.relative in measured.errors]
    others = [sample for sample in known if sample.relative not in validation]
    in_folders = [sample for sample in others if not in_held_out(sample)]
    groups = {name: [sample.relative for sample in group] for name, group in eval_subsets(in_folders).items()}
    groups[VALIDATION] = [sample.relative for sample in known if sample.relative in validation]
    groups[HELD_OUT] = [sample.relative for sample in others if in_held_out(sample)]
    first = [VALIDATION, HELD_OUT, *POOLED]
    order = [*first, *sorted(set(groups) - set(first))]
    return {name: groups[name] for name in order if groups.get(name)}


def results(
    samples: Sequence[Sample],
    measured: Measurement,
    settings: Mapping[str, Any],
    validation: Collection[str] = (),
    validation_faces: int | None = None,
) -> dict[str, Any]:
    """The evaluation as JSON-ready data; `settings` (weights, engine, boxes, ...) is stored with it.

    validation: paths of the validation faces; validation_faces: number of all there are, if it is known.
    Returns "subsets": figures of those present; "breakdown": of the validation subset, or else of all faces;
    "absent": 300-W subsets without any image, where there are others; "incomplete": subset -> images here
    and in the release (or in the whole validation or held-out part);
    "errors": every face's errors in % (null: missed); "faces": its annotated landmarks, predicted ones and
    box, in pixels (null: missed); and the settings.
    """
    groups = subsets_of(samples, measured, validation)
    official = {**{name: sum(RELEASE[part] for part in parts) for name, parts in POOLED.items()}, **RELEASE}
    whole = {**official, HELD_OUT: HELD_OUT_FACES}
    if validation_faces is not None:
        whole[VALIDATION] = validation_faces
    is_of_300w = any(name in groups for name in (VALIDATION, HELD_OUT, *official))
    parts_of = [sample for sample in samples if sample.relative in validation or not groups.get(VALIDATION)]
    return {
        "settings": dict(settings),
        "units": {"nme": "percent", "failure_rate": "fraction of images", "auc": "0..1, 1 is best"},
        "interval": f"{100 * metrics.LEVEL:g} %, bootstrap by face, {metrics.RESAMPLES} resamples, "
        f"seed {metrics.SEED}",
        "failure_and_auc_normaliser": FAILURE_NORMALISER,
        "missed_detection_rule": MISSED_RULE,
        "subsets": {
            name: figures([measured.errors[path] for path in paths]) for name, paths in groups.items()
        },
        "breakdown": breakdown(parts_of, measured),
        "absent": [
            name
            for name in official
            if is_of_300w
            and name not in groups
            and (name in POOLED or not (validation or HELD_OUT in groups))
        ],
        "incomplete": {
            name: {"images": len(groups[name]), "in_release": count}
            for name, count in whole.items()
            if name in groups and len(groups[name]) < count
        },
        "skipped": [{"file": file, "reason": reason} for file, reason in measured.skipped],
        "errors": {
            path: None if error is None else {name: round(100 * value, 6) for name, value in error.items()}
            for path, error in measured.errors.items()
        },
        "members": groups,
        "faces": {
            path: {
                name: None if values is None else values.round(2).tolist()
                for name, values in (("truth", face.truth), ("predicted", face.predicted), ("box", face.box))
            }
            for path, face in measured.faces.items()
        },
    }
