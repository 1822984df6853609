"""What is cut into samples, how, and what is told of it in meta.json."""

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
from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError

Result = TypeVar("Result")
PARTS = {"train": "training", "val": "validation"}
Wrap = Callable[[Iterator[Any], int, str], Iterable[Any]]
"""(items, how many, what they are) -> the same items: where a progress bar goes."""


@dataclass(frozen=True)
class Job:
    """A face to be cut: its sample, its box (4,), and where that comes from ("mtcnn" or "landmarks")."""

    sample: Sample
    box: FloatArray
    source: str


@dataclass(frozen=True)
class FirstStage:
    """The first network of a cascade: the file of its weights, and how it is fed and read."""

    weights: Path
    spec: ModelSpec


@dataclass(frozen=True)
class SampleSettings:
    """What decides how a face becomes samples.

    first: of samples for the second network of a cascade, which `spec` then is of: the samples are cut by the
    landmarks that the first network tells on a crop by the box. That is the crop which varies; noise is added
    to the second one only.
    """

    spec: ModelSpec
    augmentation: Augmentation
    seed: int
    first: FirstStage | None = None

    @property
    def by_box(self) -> ModelSpec:
        """How the crops by the box are made."""
        return self.spec if self.first is None else self.first.spec

    @property
    def second(self) -> ModelSpec | None:
        """How the crops by landmarks are made, if any are."""
        return None if self.first is None else self.spec


@dataclass
class Written:
    """What was written of one part: faces by folder, samples, a digest of all bytes, and who was skipped.

    sha256: of all bytes, in order; of augmented samples, which are many, of the CRC-32 of each.
    """

    faces: dict[str, int]
    samples: int
    sha256: str
    skipped: list[str]


@dataclass(frozen=True)
class PartRequest:
    """A part of a data set that is to be written.

    directory: of the data set; part: "train" or "val"; wrap: where progress is shown; on_skip: is given the
    error of each photo that cannot be read, and may raise it.
    """

    directory: Path
    part: str
    jobs: Sequence[Job]
    settings: SampleSettings
    workers: int
    wrap: Wrap
    on_skip: Callable[[FaceAlignError], None]


class UsedFaces:
    """Which faces of a request were used, and which were skipped as their photo cannot be read."""

    def __init__(self, request: PartRequest) -> None:
        self._request = request
        self.samples: list[Sample] = []
        self.skipped: list[str] = []

    def of(self, made: Iterator[Result | FaceAlignError], what: str) -> Iterator[tuple[Sample, Result]]:
        """(sample, what was made of it) of each job that nothing is wrong with; what: is made, for progress.

        Raises FaceAlignError at the end when there was none.
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
        """The account of a part of so many samples with that digest."""
        return Written(by_folder(self.samples), samples, sha256, self.skipped)


def by_folder(samples: Iterable[Sample]) -> dict[str, int]:
    """How many of the samples each folder has."""
    return dict(sorted(Counter(sample.subset for sample in samples).items()))


def fingerprint(jobs: Iterable[Job]) -> str:
    """SHA-256 over what samples are made from: name, bytes of the photo, points and box of every face."""
    digest = hashlib.sha256()
    for job in jobs:
        digest.update(f"{job.sample.relative}\0".encode())
        digest.update(hashlib.sha256(job.sample.path.read_bytes()).digest())
        digest.update(_exact(job.sample.points))
        digest.update(_exact(job.box))
    return digest.hexdigest()


def _exact(values: AnyArray) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def described_settings(recipe: SampleSettings) -> dict[str, Any]:
    """The recipe as meta.json keeps it."""
    described = {
        "seed": recipe.seed,
        "augmentation": dataclasses.asdict(recipe.augmentation),
        "spec": dataclasses.asdict(recipe.spec.portable()),
    }
    if recipe.first is not None:
        described["after"] = named(recipe.first.weights)
    return described
