"""Landmarks to train on that lie between the annotated ones and those that trained networks tell.

Annotators do not put a landmark twice in the same place; what networks learned from all faces is smoother. So
the mean of both is a better target than either (a simple form of Hinton, Vinyals and Dean, "Distilling the
Knowledge in a Neural Network", 2015).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.caffe_files.caffemodel import named
from facealign.concurrency.processes import one_thread, ordered_map
from facealign.engines.opening import engine_of
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.lmdb.jobs import Job


@dataclass(frozen=True)
class Teacher:
    """The networks that tell landmarks, each with the mirrored crop too.

    weights: of a first network; second: of the second one, if it is a cascade; share: how far landmarks move
    from the annotated ones (0) to those told (1).
    """

    weights: Path
    second: Path | None = None
    share: float = 0.5

    def open(self) -> FaceAligner:
        """Open the networks: a caffemodel in Caffe, ONNX without it.

        Raises FaceAlignError when one is missing or unfit.
        """
        engine = engine_of(self.weights)
        return FaceAligner.open(self.weights, engine, detector=False, flip=True, cascade=self.second)

    def describe(self) -> dict[str, Any]:
        """As meta.json keeps it."""
        files = [self.weights] if self.second is None else [self.weights, self.second]
        return {"networks": [named(file) for file in files], "share": self.share}


def _open(teacher: Teacher) -> tuple[FaceAligner, float]:
    return teacher.open(), teacher.share


def _distilled(context: tuple[FaceAligner, float], job: Job) -> Job:
    aligner, share = context
    try:
        image = read_image(job.sample.path, orient=False)
    except FaceAlignError:
        return job  # who cuts the face will say so
    with one_thread():  # whose sums do not depend on how many there are
        (told,) = aligner.landmarks_in(image, job.box[None])
    points = job.sample.points + share * (told - job.sample.points)
    return dataclasses.replace(job, sample=dataclasses.replace(job.sample, points=points))


def distilled(jobs: Sequence[Job], teacher: Teacher, workers: int) -> Iterator[Job]:
    """The faces of `jobs`, in their order, with landmarks moved towards what `teacher` tells in their boxes.

    A face whose photo cannot be read stays as it is.
    """
    return ordered_map(_distilled, jobs, workers, _open, (teacher,))
