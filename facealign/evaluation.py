"""The numbers of an aligner on annotated photos: NME, failure rate, AUC, missed detections, per subset.

The validation part of 300-W (validation_part.py) is a subset of its own, and is told apart by data set, group
of landmarks and pose.

A face whose box the detector did not find is a failure: it counts in the failure rate and, as an infinite
error, in the AUC and the CED curve. It has no landmarks, so it is left out of the mean error, and the number
of missed faces is given beside that.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facealign import metrics
from facealign.arrays import FloatArray, Image
from facealign.boxes import box_from_landmarks, square
from facealign.datasets import POOLED, Sample, eval_subsets
from facealign.errors import FaceAlignError
from facealign.face_boxes import FaceBox, best_match, boxes_for
from facealign.files import replacing
from facealign.images import read_image
from facealign.markup import GROUPS
from facealign.metrics import NORMALISERS
from facealign.parallel import cores
from facealign.pipeline import overlapped
from facealign.pose import Pose, head_pose

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

VALIDATION = "validation"
"""The subset of the faces that validate, which are in no other subset."""
YAWS = {"frontal": (0.0, 15.0), "half": (15.0, 30.0), "strong": (30.0, 180.1)}
"""Kind of pose -> the angles, in degrees and to either side, from and below which a face is of it."""
PITCHES = {"down": (-90.0, -10.0), "level": (-10.0, 10.0), "up": (10.0, 90.1)}

FindBox = Callable[[Sample, Image], FloatArray | None]
"""The box (4,) of a sample's annotated face in its image; None when it was not found."""
Align = Callable[[Image, FloatArray], FloatArray]
"""Landmarks (n, 68, 2) for boxes (n, 4) of an image: `FaceAligner.align_boxes`."""


@dataclass
class Measurement:
    """Errors of each sample by its path relative to the root.

    errors: normaliser name -> error as a fraction, or None for a missed detection; groups: the same for each
    group of landmarks; skipped: (file, reason).
    """

    errors: dict[str, dict[str, float] | None] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
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
    # While one face is aligned, the photos of the next are read.
    with closing(
        overlapped(samples, (lambda sample: read_image(sample.path, orient=False), cores()))
    ) as coming:
        return _compared(coming, find_box, align, strict, on_skip)


def _compared(
    coming: Iterable[tuple[Sample, Future[Image]]],
    find_box: FindBox,
    align: Align,
    strict: bool,
    on_skip: Callable[[str, str], None] | None,
) -> Measurement:
    """Align the face of each photo that comes; see `measure`."""
    result = Measurement()
    for sample, reading in coming:
        try:
            image = reading.result()
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
            continue
        truth = sample.points[None]
        result.errors[sample.relative] = {
            name: float(metrics.nme(predicted, truth, name)[0]) for name in NORMALISERS
        }
        by_norm = {name: metrics.group_nme(predicted, truth, name) for name in NORMALISERS}
        result.groups[sample.relative] = {
            group: {name: float(by_norm[name][group][0]) for name in NORMALISERS} for group in GROUPS
        }
    return result


def annotated_pose(sample: Sample) -> Pose | None:
    """The head pose that a sample's own landmarks tell, whatever a detector or network makes of it."""
    shown = square(box_from_landmarks(sample.points))
    side = float(shown[2] - shown[0])
    return head_pose(sample.points - shown[:2], side)


def limits(errors: Sequence[Mapping[str, float] | None]) -> dict[str, list[float] | None]:
    """ "nme_NORMALISER_interval": 95 % bootstrap interval of the mean error, in %, by drawing faces anew.

    errors: of each face (None: missed, left out); None when all were missed.
    """
    result: dict[str, list[float] | None] = {}
    for name in NORMALISERS:
        values = np.array([error[name] for error in errors if error is not None])
        interval = metrics.bootstrap_interval(100 * values) if len(values) else None
        result[f"nme_{name}_interval"] = None if interval is None else list(interval)
    return result


def breakdown(samples: Sequence[Sample], measured: Measurement) -> list[dict[str, Any]]:
    """Figures of parts of the measured faces: by data set, by group of landmarks, by yaw and by pitch.

    Each {"by": ..., "name": ..., figures}; a part without a face is left out. A group of landmarks has
    "images", "missed_detections", NME and its interval only.
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
    for group in GROUPS:
        errors = [measured.groups[path][group] for path in found]
        means = {
            f"nme_{name}": 100 * float(np.mean([error[name] for error in errors])) if errors else None
            for name in NORMALISERS
        }
        counts = {"images": len(members), "missed_detections": len(members) - len(found)}
        rows.append({"by": "landmarks", "name": group, **counts, **means, **limits(errors)})
    poses = {sample.relative: annotated_pose(sample) for sample in members}
    for by, kinds in (("yaw", YAWS), ("pitch", PITCHES)):
        for kind, (low, high) in kinds.items():
            kept = []
            for sample in members:
                pose = poses[sample.relative]
                if pose is not None:
                    angle = abs(pose.yaw) if by == "yaw" else pose.pitch
                    if low <= angle < high:
                        kept.append(sample)
            add(by, kind, kept)
    return rows


def figures(errors: Sequence[Mapping[str, float] | None]) -> dict[str, Any]:
    """The figures of one subset from the errors of its faces (None: missed).

    nme_* in %, failure_rate_* and auc_* in 0..1; failure_rate_08 is relative to the inter-ocular distance,
    failure_rate_08_inter_pupil to the other. nme_*_interval: [low, high], see `limits`. NME and interval are
    None when every face was missed.
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
            # A missed face adds nothing to the area under the curve, only to the number it is divided by.
            area = float(metrics.auc(values, threshold)) if len(values) else 0.0
            result[f"auc_{suffix}{tail}"] = area * len(values) / len(errors)
    return result


def subsets_of(
    samples: Sequence[Sample], measured: Measurement, validation: Collection[str] = ()
) -> dict[str, list[str]]:
    """Subset name -> relative paths of its measured samples: validation, common, challenging, full, then each
    folder. validation: paths of the faces of that subset, which are in no other.
    """
    known = [sample for sample in samples if sample.relative in measured.errors]
    others = [sample for sample in known if sample.relative not in validation]
    groups = {name: [sample.relative for sample in group] for name, group in eval_subsets(others).items()}
    groups[VALIDATION] = [sample.relative for sample in known if sample.relative in validation]
    order = [VALIDATION, *POOLED, *sorted(set(groups) - {VALIDATION, *POOLED})]
    return {name: groups[name] for name in order if groups.get(name)}


def results(
    samples: Sequence[Sample],
    measured: Measurement,
    settings: Mapping[str, Any],
    validation: Collection[str] = (),
) -> dict[str, Any]:
    """The evaluation as JSON-ready data; `settings` (weights, engine, boxes, ...) is stored with it.

    validation: paths of the faces that validate.
    "subsets": those present; "breakdown": of the validation subset, or else of all; "absent": 300-W subsets
    without any image; "incomplete": subset -> images here and in the release; "errors": every face's errors
    in % (null: missed).
    """
    groups = subsets_of(samples, measured, validation)
    official = {**{name: sum(RELEASE[part] for part in parts) for name, parts in POOLED.items()}, **RELEASE}
    told_apart = [sample for sample in samples if sample.relative in validation or not groups.get(VALIDATION)]
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
        "breakdown": breakdown(told_apart, measured),
        "absent": [name for name in official if name not in groups and (name in POOLED or not validation)],
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
