"""Errors of a network on annotated faces."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.concurrency.processes import cores
from facealign.concurrency.threads import overlapped
from facealign.datasets.detected_boxes import FaceBox, best_match, boxes_for
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError, attempted
from facealign.evaluation import metrics
from facealign.evaluation.metrics import NORMALISERS
from facealign.geometry.boxes import box_from_landmarks
from facealign.geometry.landmarks import LANDMARK_GROUPS
from facealign.io.images import read_image

FindBox = Callable[[Sample, Image], FloatArray | None]
"""The box (4,) of a sample's annotated face in its image; None when it was not found."""
Align = Callable[[Image, FloatArray], FloatArray]
"""Landmarks (n, 68, 2) for boxes (n, 4) of an image: `FaceAligner.landmarks_in`."""


@dataclass(frozen=True)
class MeasuredFace:
    """What was compared, in 0-based pixels of the photo.

    truth, predicted: landmarks (68, 2); box: (4,), the one that the landmarks were predicted in. A missed
    face has neither prediction nor box.
    """

    truth: FloatArray
    predicted: FloatArray | None = None
    box: FloatArray | None = None


@dataclass
class Measurement:
    """Errors of measured samples, by `Sample.relative`.

    errors: normaliser name -> error as a fraction, or None for a missed detection; groups: the same for each
    group of landmarks; skipped: (file, reason); faces: the landmarks that were compared.
    """

    errors: dict[str, dict[str, float] | None] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    faces: dict[str, MeasuredFace] = field(default_factory=dict)


def box_of_annotation(sample: Sample, image: Image) -> FloatArray:
    """The box derived from the sample's annotated landmarks, in place of a detector's."""
    return box_from_landmarks(sample.points)


def detected_box(detect: Callable[[Image], Sequence[Any]]) -> FindBox:
    """A finder that detects boxes by `detect` (image -> Detections), matched to the annotation by overlap."""

    def find(sample: Sample, image: Image) -> FloatArray | None:
        found = np.array([one.box for one in detect(image)], dtype=np.float64).reshape(-1, 4)
        best = best_match(found, sample.points)
        return None if best is None else found[best]

    return find


def listed_box(faces: Mapping[str, FaceBox], where: str) -> FindBox:
    """A finder that takes boxes from a file of detections, named `where`.

    A box whose source is not "mtcnn" counts as a missed detection. The finder raises FaceAlignError for a
    sample that the file does not list, or whose photo or annotation has changed since.
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
    """Errors of the aligner on the annotated face of every sample.

    A file that cannot be read goes to `skipped` (and `on_skip(file, reason)` is called), or, if `strict`, its
    FaceAlignError is raised.
    """
    # While one face is aligned, the next photos are read.
    with closing(
        overlapped(samples, (lambda sample: read_image(sample.path, orient=False), cores()))
    ) as coming:
        return _compared(coming, find_box, align, strict, on_skip)


def _predicted(
    sample: Sample, reading: Future[Image], find_box: FindBox, align: Align
) -> tuple[FloatArray | None, FloatArray | None]:
    """The box of a face, if it was found, and the landmarks predicted in it."""
    image = reading.result()
    box = find_box(sample, image)
    return box, None if box is None else align(image, np.asarray(box, dtype=np.float64)[None])


def _compared(
    coming: Iterable[tuple[Sample, Future[Image]]],
    find_box: FindBox,
    align: Align,
    strict: bool,
    on_skip: Callable[[str, str], None] | None,
) -> Measurement:
    """The errors of `measure`, on photos as they are read."""
    result = Measurement()
    for sample, reading in coming:
        found = attempted(_predicted, sample, reading, find_box, align)
        if isinstance(found, FaceAlignError):
            if strict:
                raise found
            result.skipped.append((sample.relative, str(found)))
            if on_skip is not None:
                on_skip(sample.relative, str(found))
            continue
        box, predicted = found
        if box is None or predicted is None:
            result.errors[sample.relative] = None
            result.faces[sample.relative] = MeasuredFace(sample.points)
            continue
        result.faces[sample.relative] = MeasuredFace(sample.points, predicted[0], np.asarray(box))
        truth = sample.points[None]
        result.errors[sample.relative] = {
            name: float(metrics.nme(predicted, truth, name)[0]) for name in NORMALISERS
        }
        by_norm = {name: metrics.group_nme(predicted, truth, name) for name in NORMALISERS}
        result.groups[sample.relative] = {
            group: {name: float(by_norm[name][group][0]) for name in NORMALISERS} for group in LANDMARK_GROUPS
        }
    return result
