"""Distillation: targets between the annotated landmarks and predictions, of networks or kept in a folder.

Annotators never place a landmark twice in the same spot; predictions, learned from all faces, are smoother.
The weighted mean of both is a better target than either (a simple form of Hinton, Vinyals and Dean,
"Distilling the Knowledge in a Neural Network", 2015).
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.annotation.description import ANNOTATIONS, HINT, is_unfinished, read_description
from facealign.arrays import FloatArray
from facealign.caffe_files.caffemodel import named
from facealign.concurrency.pools import Where, ordered_map
from facealign.concurrency.processes import one_thread
from facealign.datasets.pts import read_pts
from facealign.datasets.sample import Sample
from facealign.engines.opening import engine_of
from facealign.errors import FaceAlignError, attempted
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.lmdb.jobs import Job


@dataclass(frozen=True)
class Teacher:
    """The networks whose predictions, averaged with those on the mirrored crop, are distilled.

    weights: of the network, or of a cascade's first stage; second: of the cascade's second stage; share: the
    distillation weight, from the annotated landmarks (0) to the predicted ones (1).
    """

    weights: Path
    second: Path | None = None
    share: float = 0.5

    def open(self) -> FaceAligner:
        """An aligner with these networks: a caffemodel runs in Caffe, ONNX in OpenCV.

        Raises FaceAlignError when a file is missing or unfit.
        """
        engine = engine_of(self.weights)
        return FaceAligner.open(self.weights, engine, detector=False, flip=True, cascade=self.second)

    def describe(self) -> dict[str, Any]:
        """The entry in meta.json."""
        files = [self.weights] if self.second is None else [self.weights, self.second]
        return {"networks": [named(file) for file in files], "share": self.share}


def _open(teacher: Teacher) -> tuple[FaceAligner, float]:
    return teacher.open(), teacher.share


def _distilled(context: tuple[FaceAligner, float], job: Job) -> Job:
    aligner, share = context
    image = attempted(read_image, job.sample.path, orient=False)
    if isinstance(image, FaceAlignError):
        return job  # reported where the face is cut
    with one_thread():  # sums then do not depend on the number of threads
        (predicted,) = aligner.landmarks_in(image, job.box[None])
    return _moved(job, predicted, share)


def _moved(job: Job, predicted: FloatArray, share: float) -> Job:
    points = job.sample.points + share * (predicted - job.sample.points)
    return dataclasses.replace(job, sample=dataclasses.replace(job.sample, points=points))


def distilled(jobs: Sequence[Job], teacher: Teacher, where: Where) -> Iterator[Job]:
    """The faces of `jobs`, in order, with landmarks moved towards the teacher's predictions in their boxes.

    where: number of worker processes, or a scheduler. A face whose photo cannot be read keeps its annotation.
    """
    return ordered_map(_distilled, jobs, where, _open, (teacher,))


@dataclass(frozen=True)
class TeacherPoints:
    """Predicted landmarks, kept in a folder, that are distilled.

    folder: it has the landmarks of the face `Sample.relative` in the file of that name with the suffix .pts;
    share: the distillation weight, from the annotated landmarks (0) to the predicted ones (1).
    """

    folder: Path
    share: float = 0.5

    def path_of(self, sample: Sample) -> Path:
        """The file of a face's landmarks, which need not be there."""
        return (self.folder / sample.relative).with_suffix(".pts")

    def check(self) -> None:
        """Raises FaceAlignError when there is no such folder, or it has a description that cannot be read."""
        if not self.folder.is_dir():
            raise FaceAlignError(f"{self.folder}: no such folder of predicted landmarks")
        if is_unfinished(self.folder):
            raise FaceAlignError(f"{self.folder}: not finished; {HINT}, by the same command again")
        self._described()

    def describe(self, moved: int, kept: int) -> dict[str, Any]:
        """The entry in meta.json.

        moved: number of faces whose landmarks were moved; kept: of those that kept their annotation.
        """
        points = {"folder": self.folder.resolve().name, "moved": moved, "kept": kept, **self._described()}
        return {"points": points, "share": self.share}

    def _described(self) -> dict[str, Any]:
        file = self.folder / ANNOTATIONS
        if not file.exists():
            return {}
        settings, _ = read_description(self.folder)
        return {"description": named(file), "members": [member["name"] for member in settings["members"]]}


def distilled_from_points(
    jobs: Iterable[Job], teacher: TeacherPoints, on_skip: Callable[[FaceAlignError], None]
) -> Iterator[Job]:
    """The faces of `jobs`, in order, with landmarks moved towards those that the teacher's folder has.

    A face that it lacks is the same object as before. on_skip: called with the error of each file of
    landmarks that cannot be used, which it may raise; its face is kept too.
    """
    for job in jobs:
        path = teacher.path_of(job.sample)
        predicted = None
        if path.exists():
            try:
                predicted = read_pts(path)
            except FaceAlignError as error:
                on_skip(error)
        yield job if predicted is None else _moved(job, predicted, teacher.share)
