"""Jobs, settings and results of writing samples, and their description in meta.json."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from facealign.arrays import AnyArray, FloatArray
from facealign.caffe_files.caffemodel import named
from facealign.concurrency.cluster import Scheduler
from facealign.concurrency.pools import Where, read_map
from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError, attempted
from facealign.io.addresses import readers_of
from facealign.io.reading import read_bytes

Result = TypeVar("Result")
PARTS = {"train": "training", "val": "validation"}
Wrap = Callable[[Iterator[Any], int, str], Iterable[Any]]
"""(items, their number, their kind) -> the same items, wrapped in a progress bar."""


@dataclass(frozen=True)
class Job:
    """A face to be cut: its sample, its box (4,), and the box's source ("mtcnn" or "landmarks")."""

    sample: Sample
    box: FloatArray
    source: str

    def __str__(self) -> str:
        return str(self.sample.path)


@dataclass(frozen=True)
class FirstStage:
    """The first stage of a cascade: its weights file and its description."""

    weights: Path
    spec: ModelSpec


@dataclass(frozen=True)
class SampleSettings:
    """Settings by which a face becomes samples.

    first: given for samples of a second cascade stage, which `spec` then describes: they are cut by the
    landmarks that the first stage predicts on a crop by the box. That first crop is augmented; noise is added
    to the second crop only.
    """

    spec: ModelSpec
    augmentation: Augmentation
    seed: int
    first: FirstStage | None = None

    @property
    def by_box(self) -> ModelSpec:
        """Description of the crops by the box."""
        return self.spec if self.first is None else self.first.spec

    @property
    def second(self) -> ModelSpec | None:
        """Description of the crops by landmarks, if there are any."""
        return None if self.first is None else self.spec


@dataclass
class Written:
    """Account of a written part.

    faces: their number by folder; samples: their number; sha256: of all bytes, in order, or, for augmented
    samples, which are many, of the CRC-32 of each; skipped: paths of the photos that could not be read.
    """

    faces: dict[str, int]
    samples: int
    sha256: str
    skipped: list[str]


@dataclass(frozen=True)
class PartRequest:
    """A part of a data set to be written.

    directory: of the data set; part: "train" or "val"; workers: processes of this machine; wrap: shows
    progress; on_skip: called with the error of each photo that cannot be read, which it may raise; scheduler:
    whose workers read and cut the photos, instead of this machine's.
    """

    directory: Path
    part: str
    jobs: Sequence[Job]
    settings: SampleSettings
    workers: int
    wrap: Wrap
    on_skip: Callable[[FaceAlignError], None]
    scheduler: Scheduler | None = None

    @property
    def where(self) -> Where:
        """Where photos are read and cut."""
        return self.workers if self.scheduler is None else self.scheduler


class UsedFaces:
    """Record of the faces of a request that were used, and of those skipped for an unreadable photo."""

    def __init__(self, request: PartRequest) -> None:
        self._request = request
        self.samples: list[Sample] = []
        self.skipped: list[str] = []

    def of(self, made: Iterator[Result | FaceAlignError], what: str) -> Iterator[tuple[Sample, Result]]:
        """(sample, result) of each job that succeeded; what: names the results in the progress bar.

        Raises FaceAlignError at the end when no job succeeded.
        """
        request = self._request
        for job, result in zip(request.jobs, request.wrap(made, len(request.jobs), what), strict=True):
            if isinstance(result, FaceAlignError):
                request.on_skip(result)
                self.skipped.append(job.sample.relative)
            else:
                self.samples.append(job.sample)
                yield job.sample, result
        if not self.samples:
            raise FaceAlignError(f"no photo of the {PARTS[request.part]} part can be read")

    def written(self, samples: int, sha256: str) -> Written:
        """The account of a part with this number of samples and this digest."""
        return Written(by_folder(self.samples), samples, sha256, self.skipped)


def by_folder(samples: Iterable[Sample]) -> dict[str, int]:
    """Number of samples by folder."""
    return dict(sorted(Counter(sample.subset for sample in samples).items()))


def fingerprint(jobs: Sequence[Job], where: Where = 1) -> str:
    """SHA-256 over the sources of samples: name, photo, landmarks and box of every face.

    A photo that is gone by now counts as an empty one. where: a scheduler's workers read them, if it is one.
    """
    digest = hashlib.sha256()
    readers = max((readers_of(job.sample.path) for job in jobs), default=1)
    for job, photo in zip(jobs, read_map(_photo_digest, jobs, where, readers), strict=True):
        digest.update(f"{job.sample.relative}\0".encode())
        digest.update(photo)
        digest.update(_exact(job.sample.points))
        digest.update(_exact(job.box))
    return digest.hexdigest()


def _photo_digest(job: Job) -> bytes:
    photo = attempted(read_bytes, job.sample.path, "expected an image")
    return hashlib.sha256(b"" if isinstance(photo, FaceAlignError) else photo).digest()


def _exact(values: AnyArray) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def described_settings(recipe: SampleSettings) -> dict[str, Any]:
    """The settings as stored in meta.json."""
    described = {
        "seed": recipe.seed,
        "augmentation": dataclasses.asdict(recipe.augmentation),
        "spec": dataclasses.asdict(recipe.spec.portable()),
    }
    if recipe.first is not None:
        described["after"] = named(recipe.first.weights)
    return described
