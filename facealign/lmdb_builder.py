"""From annotated photos to the paired LMDBs: cut, vary, shuffle, write; the same bytes by any workers."""

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign.arrays import AnyArray, FloatArray
from facealign.augment import Augmentation, augment
from facealign.crop import apply as map_points
from facealign.crop import crop_face, encode_landmarks
from facealign.datasets import Sample
from facealign.errors import FaceAlignError
from facealign.images import read_image
from facealign.loose_crop import LooseCrop, loose_crop
from facealign.parallel import ordered_map
from facealign.spec import ModelSpec
from facealign.storage import encode_image, write_part
from facealign.storage import encode_landmarks as encode_values

CHUNK = 512
"""Samples a worker makes at once. The digests of contents depend on it."""

Wrap = Callable[[Iterator[Any], int, str], Iterable[Any]]
"""(items, how many, what they are) -> the same items: where a progress bar goes."""


@dataclass(frozen=True)
class Job:
    """A face to be cut: its sample, its box (4,), and where that comes from ("mtcnn" or "landmarks")."""

    sample: Sample
    box: FloatArray
    source: str


@dataclass(frozen=True)
class Recipe:
    """What decides how a face becomes samples."""

    spec: ModelSpec
    augmentation: Augmentation
    seed: int


@dataclass
class Written:
    """What was written of one part: faces by folder, samples, a digest of all bytes, and who was skipped."""

    faces: dict[str, int]
    samples: int
    sha256: str
    skipped: list[str]


class CutStore:
    """Loose crops in one file, so that workers share them through the system's page cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[tuple[int, tuple[int, ...], FloatArray, FloatArray]] = []

    def append(self, stream: Any, cut: LooseCrop) -> None:
        self.records.append((stream.tell(), cut.pixels.shape, cut.points, cut.box))
        stream.write(cut.pixels.tobytes())

    def __getitem__(self, index: int) -> LooseCrop:
        offset, shape, points, box = self.records[index]
        if not hasattr(self, "_pixels"):
            self._pixels = np.memmap(self.path, dtype=np.uint8, mode="r")
        pixels = self._pixels[offset : offset + int(np.prod(shape))].reshape(shape)
        return LooseCrop(pixels, points, box)


_recipe: Recipe
_cuts: CutStore | None


def _setup(recipe: Recipe, path: Path | None, records: list[Any]) -> None:
    global _recipe, _cuts
    _recipe, _cuts = recipe, None
    if path is not None:
        _cuts = CutStore(path)
        _cuts.records = records


def _cut(job: Job) -> LooseCrop | FaceAlignError:
    try:
        image = read_image(job.sample.path, orient=False)
    except FaceAlignError as error:
        return error
    return loose_crop(image, job.sample.points, job.box, _recipe.spec, _recipe.augmentation)


def _vary(chunk: list[tuple[int, int]]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The encoded samples (face, copy) of a chunk, and their digest."""
    assert _cuts is not None
    spec = _recipe.spec
    size = (spec.input_height, spec.input_width)
    encoded = []
    for face, copy in chunk:
        cut = _cuts[face]
        # Each sample has a generator of its own, so that it does not matter who makes it, and when.
        rng = np.random.default_rng((_recipe.seed, face, copy))
        image, points = augment(cut.pixels, cut.points, cut.box, _recipe.augmentation, rng, spec)
        values = encode_landmarks(points, size, spec.origin)
        encoded.append((encode_image(image), encode_values(values)))
    return encoded, _digest(encoded)


def _plain(job: Job) -> tuple[bytes, bytes] | FaceAlignError:
    """One sample without any variation, encoded."""
    spec = _recipe.spec
    try:
        image, affine = crop_face(read_image(job.sample.path, orient=False), job.box, spec)
    except FaceAlignError as error:
        return error
    values = encode_landmarks(
        map_points(affine, job.sample.points), (spec.input_height, spec.input_width), spec.origin
    )
    return encode_image(image), encode_values(values)


def _digest(encoded: Iterable[tuple[bytes, bytes]]) -> bytes:
    digest = hashlib.sha256()
    for image, values in encoded:
        digest.update(image)
        digest.update(values)
    return digest.digest()


def write_training_part(
    directory: Path,
    part: str,
    jobs: Sequence[Job],
    copies: int,
    recipe: Recipe,
    workers: int,
    wrap: Wrap,
    on_skip: Callable[[FaceAlignError], None],
    copies_of: Mapping[str, int] | None = None,
) -> Written:
    """`copies` variations of every face, all shuffled once, into the LMDB pair `part` of `directory`.

    copies_of: folder (`Sample.subset`) -> variations of its faces instead, which weighs the data sets.
    A photo that cannot be read is passed to `on_skip` and left out. Raises FaceAlignError when none is left.
    """
    with tempfile.TemporaryDirectory(prefix="cuts-", dir=directory) as temporary:
        store = CutStore(Path(temporary) / "pixels")
        used: list[Sample] = []
        skipped = []
        cuts = ordered_map(_cut, jobs, workers, _setup, (recipe, None, []))
        with store.path.open("wb") as stream:
            for job, cut in zip(jobs, wrap(cuts, len(jobs), "cut"), strict=True):
                if isinstance(cut, FaceAlignError):
                    on_skip(cut)
                    skipped.append(job.sample.relative)
                    continue
                store.append(stream, cut)
                used.append(job.sample)
        if not used:
            raise FaceAlignError("no photo of the training part can be read")
        shares = copies_of or {}
        counts = np.array([shares.get(sample.subset, copies) for sample in used])
        ends = np.cumsum(counts)
        order = np.random.default_rng(recipe.seed).permutation(int(ends[-1]))
        faces = np.searchsorted(ends, order, side="right")
        members = np.column_stack([faces, order - (ends - counts)[faces]]).tolist()
        chunks = (members[start : start + CHUNK] for start in range(0, len(order), CHUNK))
        total = hashlib.sha256()

        def samples() -> Iterator[tuple[bytes, bytes]]:
            made = ordered_map(_vary, chunks, workers, _setup, (recipe, store.path, store.records))
            for encoded, digest in made:
                total.update(digest)
                yield from encoded

        size = (recipe.spec.input_height, recipe.spec.input_width)
        write_part(directory, part, len(order), size, wrap(samples(), len(order), part))
    return Written(_by_folder(used), len(order), total.hexdigest(), skipped)


def write_validation_part(
    directory: Path,
    part: str,
    jobs: Sequence[Job],
    recipe: Recipe,
    workers: int,
    wrap: Wrap,
    on_skip: Callable[[FaceAlignError], None],
) -> Written:
    """One sample a face, without variation, in order, into the LMDB pair `part` of `directory`."""
    encoded: list[tuple[bytes, bytes]] = []
    used: list[Sample] = []
    skipped = []
    made = ordered_map(_plain, jobs, workers, _setup, (recipe, None, []))
    for job, sample in zip(jobs, wrap(made, len(jobs), part), strict=True):
        if isinstance(sample, FaceAlignError):
            on_skip(sample)
            skipped.append(job.sample.relative)
            continue
        encoded.append(sample)
        used.append(job.sample)
    if not used:
        raise FaceAlignError("no photo of the validation part can be read")
    size = (recipe.spec.input_height, recipe.spec.input_width)
    write_part(directory, part, len(encoded), size, encoded)
    return Written(_by_folder(used), len(encoded), _digest(encoded).hex(), skipped)


def _by_folder(samples: Iterable[Sample]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.subset] = counts.get(sample.subset, 0) + 1
    return dict(sorted(counts.items()))


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


def describe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as meta.json keeps it."""
    return {
        "seed": recipe.seed,
        "augmentation": dataclasses.asdict(recipe.augmentation),
        "spec": dataclasses.asdict(recipe.spec.portable()),
    }
