"""The numbers of an aligner on annotated photos: NME, failure rate, AUC, missed detections, per subset.

A face whose box the detector did not find is a failure: it counts in the failure rate and, as an infinite
error, in the AUC and the CED curve. It has no landmarks, so it is left out of the mean error, and the number
of missed faces is given beside that.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facealign import metrics
from facealign.arrays import FloatArray, Image
from facealign.boxes import box_from_landmarks
from facealign.datasets import POOLED, Sample, eval_subsets
from facealign.errors import FaceAlignError
from facealign.face_boxes import FaceBox, best_match, boxes_for
from facealign.files import replacing
from facealign.images import read_image

NORMALISERS = ("inter_pupil", "inter_ocular")
THRESHOLDS = {"08": 0.08, "10": 0.10}
"""Key suffix -> threshold, a fraction of the normaliser."""
FAILURE_NORMALISER = "inter_ocular"
"""What `failure_rate_08`, `auc_08`... are relative to: the literature's choice for these two figures."""
RELEASE: dict[str, int] = {
    "afw": 337,
    "helen/testset": 330,
    "helen/trainset": 2000,
    "ibug": 135,
    "lfpw/testset": 224,
    "lfpw/trainset": 811,
}
"""Folders of the 300-W release and their images."""
MISSED_RULE = (
    "a missed detection is a failure: it counts in failure_rate and, as an infinite error, in auc and the "
    "CED; it is left out of nme"
)

FindBox = Callable[[Sample, Image], FloatArray | None]
"""The box (4,) of a sample's annotated face in its image; None when it was not found."""
Align = Callable[[Image, FloatArray], FloatArray]
"""Landmarks (n, 68, 2) for boxes (n, 4) of an image: `FaceAligner.align_boxes`."""


@dataclass
class Measurement:
    """Errors of each sample by its path relative to the root.

    errors: normaliser name -> error as a fraction, or None for a missed detection; skipped: (file, reason).
    """

    errors: dict[str, dict[str, float] | None] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def box_of_annotation(sample: Sample, image: Image) -> FloatArray:
    """The box that the sample's own landmarks imply, in place of a detector's."""
    return box_from_landmarks(sample.points)


def detected_box(detect: Callable[[Image], Sequence[Any]]) -> FindBox:
    """Find boxes with a detector's `detect` (image -> Detections), matched to the annotation by overlap."""

    def find(sample: Sample, image: Image) -> FloatArray | None:
        found = np.array([one.box for one in detect(image)], dtype=np.float64).reshape(-1, 4)
        best = best_match(found, sample.points)
        return None if best is None else found[best]

    return find


def listed_box(faces: Mapping[str, FaceBox], where: str) -> FindBox:
    """Take boxes from a detections file; a box whose source is not "mtcnn" stands for a missed detection.

    The finder raises FaceAlignError for a sample that the file, named `where`, does not list as it is now.
    """

    def find(sample: Sample, image: Image) -> FloatArray | None:
        (face,) = boxes_for([sample], faces, where)
        return face.box if face.source == "mtcnn" else None

    return find


def limit_per_folder(samples: Iterable[Sample], limit: int | None) -> list[Sample]:
    """The first `limit` samples of each subset, in order; all without a limit."""
    taken: dict[str, int] = {}
    kept = []
    for sample in samples:
        taken[sample.subset] = taken.get(sample.subset, 0) + 1
        if limit is None or taken[sample.subset] <= limit:
            kept.append(sample)
    return kept


def measure(
    samples: Iterable[Sample],
    find_box: FindBox,
    align: Align,
    strict: bool = False,
    on_skip: Callable[[str, str], None] | None = None,
) -> Measurement:
    """Align the annotated face of every sample and compare it with the annotation.

    A file that cannot be read goes to `skipped` (and `on_skip(file, reason)` is called), or, if `strict`, its
    FaceAlignError is raised.
    """
    result = Measurement()
    for sample in samples:
        try:
            image = read_image(sample.path, orient=False)
            box = find_box(sample, image)
            predicted = None if box is None else align(image, np.asarray(box, dtype=np.float64)[None])
        except FaceAlignError as error:
            if strict:
                raise
            result.skipped.append((sample.relative, str(error)))
            if on_skip is not None:
                on_skip(sample.relative, str(error))
            continue
        if predicted is None:
            result.errors[sample.relative] = None
        else:
            result.errors[sample.relative] = {
                name: float(metrics.nme(predicted, sample.points[None], name)[0]) for name in NORMALISERS
            }
    return result


def figures(errors: Sequence[Mapping[str, float] | None]) -> dict[str, float | int | None]:
    """The figures of one subset from the errors of its faces (None: missed).

    nme_* in %, failure_rate_* and auc_* in 0..1; failure_rate_08 is relative to the inter-ocular distance,
    failure_rate_08_inter_pupil to the other. NME is None when every face was missed.
    Raises ValueError when there is no face.
    """
    if not errors:
        raise ValueError("no face to compute figures of")
    found = [error for error in errors if error is not None]
    missed = len(errors) - len(found)
    result: dict[str, float | int | None] = {"images": len(errors), "missed_detections": missed}
    by_name = {name: np.array([error[name] for error in found]) for name in NORMALISERS}
    for name, values in by_name.items():
        result[f"nme_{name}"] = 100 * float(values.mean()) if len(values) else None
    for name in (FAILURE_NORMALISER, *[name for name in NORMALISERS if name != FAILURE_NORMALISER]):
        values = by_name[name]
        tail = "" if name == FAILURE_NORMALISER else f"_{name}"
        for suffix, threshold in THRESHOLDS.items():
            result[f"failure_rate_{suffix}{tail}"] = float(metrics.failure_rate(values, threshold, missed))
            # A missed face adds nothing to the area under the curve, only to the number it is divided by.
            area = float(metrics.auc(values, threshold)) if len(values) else 0.0
            result[f"auc_{suffix}{tail}"] = area * len(values) / len(errors)
    return result


def subsets_of(samples: Sequence[Sample], measured: Measurement) -> dict[str, list[str]]:
    """Subset name -> relative paths of its measured samples: common, challenging, full, then each folder."""
    groups = {
        name: [sample.relative for sample in group if sample.relative in measured.errors]
        for name, group in eval_subsets(list(samples)).items()
    }
    order = [*POOLED, *sorted(set(groups) - set(POOLED))]
    return {name: groups[name] for name in order if groups.get(name)}


def results(
    samples: Sequence[Sample], measured: Measurement, settings: Mapping[str, Any], whole: str | None = None
) -> dict[str, Any]:
    """The evaluation as JSON-ready data; `settings` (weights, engine, boxes, ...) is stored with it.

    whole: name of a further subset, of all that was measured.
    "subsets": those present; "absent": 300-W subsets without any image; "incomplete": subset -> images here
    and in the release; "errors": every face's errors in % (null: missed).
    """
    groups = subsets_of(samples, measured)
    if whole is not None:
        groups = {
            whole: [sample.relative for sample in samples if sample.relative in measured.errors],
            **groups,
        }
    official = {**{name: sum(RELEASE[part] for part in parts) for name, parts in POOLED.items()}, **RELEASE}
    return {
        "settings": dict(settings),
        "units": {"nme": "percent", "failure_rate": "fraction of images", "auc": "0..1, 1 is best"},
        "failure_and_auc_normaliser": FAILURE_NORMALISER,
        "missed_detection_rule": MISSED_RULE,
        "subsets": {
            name: figures([measured.errors[path] for path in paths]) for name, paths in groups.items()
        },
        "absent": [name for name in official if name not in groups],
        "incomplete": {
            name: {"images": len(groups[name]), "in_release": count}
            for name, count in official.items()
            if name in groups and len(groups[name]) < count
        },
        "skipped": [{"file": file, "reason": reason} for file, reason in measured.skipped],
        "errors": {
            path: None if error is None else {name: round(100 * value, 6) for name, value in error.items()}
            for path, error in measured.errors.items()
        },
        "members": groups,
    }


def write_results(path: Path, data: Mapping[str, Any]) -> None:
    """Write an evaluation as JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_results(path: Path) -> dict[str, Any]:
    """Read what `write_results` wrote. Raises FaceAlignError when `path` is no evaluation."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; tools/evaluate.py writes it") from error
    except (OSError, ValueError) as error:
        raise FaceAlignError(f"{path}: not an evaluation ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("subsets"), dict):
        raise FaceAlignError(f"{path}: not an evaluation: it has no `subsets`; tools/evaluate.py writes it")
    return data
