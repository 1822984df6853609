"""From annotated photos to the paired LMDBs: cut, vary, shuffle, write; the same bytes by any workers."""

import dataclasses
import hashlib
import math
import mmap
import os
import pickle
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facealign.arrays import AnyArray, FloatArray, Image
from facealign.augment import Augmentation, Jitter, Noise, draw, moved, transform
from facealign.crop import apply as map_points
from facealign.crop import compose, crop_face, encode_landmarks, invert, warp
from facealign.datasets import Sample
from facealign.engines.choose import engine_of, open_engine
from facealign.errors import FaceAlignError
from facealign.images import read_image
from facealign.landmark_net import LandmarkNet, second_transforms
from facealign.loose_crop import LooseCrop, loose_crop, most_bytes, show
from facealign.parallel import AHEAD, Crew, one_thread, ordered_map
from facealign.spec import ModelSpec
from facealign.storage import Records, encode_image, write_part
from facealign.storage import encode_landmarks as encode_values
from facealign.weights import named

CHUNK = 256
"""Samples a worker makes at once. What is drawn, and the digests of contents, depend on it."""

NOISE_PICTURES = 8
"""The noise of a chunk's samples is cut, each from a place of its own, out of that of so many pictures."""

BATCH = 64
"""Crops that a first network is shown at once."""

CUT_CHUNK = 16
"""Photos a worker reads and cuts at once, at most: sending them one by one takes a good part of that time."""

Wrap = Callable[[Iterator[Any], int, str], Iterable[Any]]
"""(items, how many, what they are) -> the same items: where a progress bar goes."""


@dataclass(frozen=True)
class Job:
    """A face to be cut: its sample, its box (4,), and where that comes from ("mtcnn" or "landmarks")."""

    sample: Sample
    box: FloatArray
    source: str


@dataclass(frozen=True)
class FirstNet:
    """The first network of a cascade: the file of its weights, and how it is fed and read."""

    weights: Path
    spec: ModelSpec


@dataclass(frozen=True)
class Recipe:
    """What decides how a face becomes samples.

    first: of samples for the second network of a cascade, which `spec` then is of: the samples are cut by the
    landmarks that the first network tells on a crop by the box. That is the crop which varies; noise is added
    to the second one only.
    """

    spec: ModelSpec
    augmentation: Augmentation
    seed: int
    first: FirstNet | None = None

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
class Cut:
    """Where a loose crop is kept: a file, where in it, the shapes of its pictures; its points and its box."""

    file: str
    offset: int
    shapes: tuple[tuple[int, ...], ...]
    points: FloatArray
    box: FloatArray


class CutStore:
    """Loose crops, in a file of each process that made some; all share them by the system's page cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._writing: Any = None
        self._crops: list[LooseCrop] = []

    def append(self, crop: LooseCrop) -> Cut:
        if self._writing is None:
            self._writing = (self.directory / f"cuts-{os.getpid()}").open("wb", buffering=0)
        pictures = [crop.pixels] if crop.half is None else [crop.pixels, crop.half]
        offset = self._writing.tell()
        for picture in pictures:
            rest = picture.data.cast("B")
            while rest:
                rest = rest[self._writing.write(rest) :]
        shapes = tuple(picture.shape for picture in pictures)
        return Cut(Path(self._writing.name).name, offset, shapes, crop.points, crop.box)

    def save(self, cuts: list[Cut]) -> None:
        """Tell all processes which crops there are."""
        (self.directory / "index").write_bytes(pickle.dumps(cuts))

    def load(self) -> None:
        """Learn which crops there are, and map the files into memory."""
        files: dict[str, Image] = {}
        for cut in pickle.loads((self.directory / "index").read_bytes()):
            if cut.file not in files:
                with (self.directory / cut.file).open("rb") as stream:
                    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                files[cut.file] = np.frombuffer(mapped, np.uint8)
            pictures, start = [], cut.offset
            for shape in cut.shapes:
                end = start + math.prod(shape)
                pictures.append(files[cut.file][start:end].reshape(shape))
                start = end
            self._crops.append(LooseCrop(pictures[0], cut.points, cut.box, *pictures[1:]))

    def close(self) -> None:
        """Let go of the files."""
        if self._writing is not None:
            self._writing.close()
        self._crops.clear()

    def __getitem__(self, index: int) -> LooseCrop:
        return self._crops[index]


class Slots:
    """Places for encoded chunks in a file, so that they need not be sent from the workers to the writer."""

    def __init__(self, directory: Path) -> None:
        self.slot_bytes = int((directory / "slot_bytes").read_text())
        with (directory / "slots").open("r+b") as stream:
            self._mapped = mmap.mmap(stream.fileno(), 0)

    def __getitem__(self, index: int) -> memoryview:
        return memoryview(self._mapped)[index * self.slot_bytes : (index + 1) * self.slot_bytes]

    @staticmethod
    def create(directory: Path, slots: int, slot_bytes: int) -> None:
        """Raises FaceAlignError when the disk is full: who wrote there later would be killed."""
        (directory / "slot_bytes").write_text(str(slot_bytes))
        with (directory / "slots").open("wb") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, slots * slot_bytes)
            except OSError as error:
                raise FaceAlignError(
                    f"{directory}: cannot be written ({error.strerror}); is the disk full?"
                ) from error


def open_first(weights: Path) -> tuple[LandmarkNet, FirstNet]:
    """Open the first network of a cascade: a caffemodel in Caffe, ONNX without it.

    Raises FaceAlignError on a missing or unfit file, and on a network that is not fed crops by a box.
    """
    engine, spec = open_engine(engine_of(weights), weights)
    if spec.crop != "square":
        raise FaceAlignError(f"{weights}: its crop is {spec.crop!r}, expected 'square' of a first network")
    return LandmarkNet(engine, spec), FirstNet(weights, spec)


_recipe: Recipe
_net: LandmarkNet | None = None
_cuts: CutStore | None = None
_slots: Slots | None = None


def _setup(recipe: Recipe, directory: Path | None = None) -> None:
    """Get ready to work; `_keep` and `_vary` need a directory for what they share."""
    global _recipe, _net, _cuts, _slots
    if _cuts is not None:
        _cuts.close()
    _recipe, _net, _slots = recipe, None, None
    _cuts = None if directory is None else CutStore(directory)


def _cut(job: Job) -> LooseCrop | FaceAlignError:
    try:
        image = read_image(job.sample.path, orient=False)
    except FaceAlignError as error:
        return error
    settings, second = _recipe.augmentation, _recipe.second
    return loose_crop(image, job.sample.points, job.box, _recipe.by_box, settings, second)


def _keep(jobs: Sequence[Job]) -> list[Cut | FaceAlignError]:
    """Cut faces, and keep them in this process's file."""
    assert _cuts is not None
    crops = map(_cut, jobs)
    return [crop if isinstance(crop, FaceAlignError) else _cuts.append(crop) for crop in crops]


def cut_all(jobs: Sequence[Job], recipe: Recipe, workers: int) -> Iterator[LooseCrop | FaceAlignError]:
    """The loose crop of each job, in their order, or why its photo cannot be read."""
    return ordered_map(_cut, jobs, workers, _setup, (recipe,))


def _first_landmarks(crops: Sequence[Image]) -> FloatArray:
    """What the first network tells (n, 68, 2) in the pixels of n crops."""
    global _net
    if _net is None:
        assert _recipe.first is not None
        _net, _ = open_first(_recipe.first.weights)
    with one_thread():  # whose sums do not depend on how many there are
        batches = [_net(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]
    return _net.points(np.concatenate(batches))


def _transforms(cuts: Sequence[LooseCrop], jitter: Jitter) -> FloatArray:
    """Affines (n, 2, 3) from loose crops to the samples that `jitter` makes of them."""
    spec = _recipe.by_box
    size = (spec.input_height, spec.input_width)
    affines = transform(np.stack([cut.box for cut in cuts]), jitter, size, spec.box_scale, spec.box_shift)
    if _recipe.first is None:
        return affines
    crops = [shown[..., :3] for shown in show(cuts, affines, size)]
    return compose(second_transforms(_first_landmarks(crops), _recipe.spec), affines)


def _vary(chunk: tuple[int, int, list[int]]) -> bytes:
    """Encode a variation of each of the `faces` of chunk `number` into a slot; their checksums.

    Those are of 4 bytes, the lowest first: the CRC-32 of a sample's Datums, one after the other. Their
    SHA-256 differs where data sets do, and takes less time than that of the samples on processors without
    instructions for it.
    """
    global _slots
    assert _cuts is not None
    number, slot, faces = chunk
    spec = _recipe.spec
    size, records = (spec.input_height, spec.input_width), _records(spec)
    if _slots is None:
        _cuts.load()
        _slots = Slots(_cuts.directory)
    # A generator for each chunk, so that it does not matter who makes it, and when. SFC64 has the fastest
    # bits, of which noise takes many.
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(_recipe.seed, spawn_key=(number,))))
    jitter = draw(_recipe.augmentation, rng, len(faces))
    cuts = [_cuts[face] for face in faces]
    points, affines = np.stack([cut.points for cut in cuts]), _transforms(cuts, jitter)
    buffer = _slots[slot]
    pixels, values = records.blank(buffer, len(faces))
    values[:] = encode_landmarks(moved(points, affines, jitter), size, spec.origin)
    unused = np.empty(size, np.uint8)
    many = NOISE_PICTURES * pixels[0].size
    noise = Noise(rng, many)
    starts = rng.integers(many - pixels[0].size, size=len(faces), endpoint=True).tolist()
    stds = np.asarray(jitter.noise_std).tolist()
    checksums = []
    for shown, std, start, planes, sample in zip(
        show(cuts, affines, size), stds, starts, pixels, records.whole(buffer, len(faces)), strict=True
    ):
        cv2.split(shown, [*planes, unused])
        noise.add(planes, std, start)
        checksums.append(zlib.crc32(sample))  # while it is in the processor's cache
    return np.array(checksums, "<u4").tobytes()


def _records(spec: ModelSpec) -> Records:
    return Records((spec.input_height, spec.input_width), 2 * spec.landmarks)


def _plain(job: Job) -> tuple[bytes, bytes] | FaceAlignError:
    """One sample without any variation, encoded: what inference shows the network."""
    spec = _recipe.spec
    size = (spec.input_height, spec.input_width)
    try:
        photo = read_image(job.sample.path, orient=False)
    except FaceAlignError as error:
        return error
    image, affine = crop_face(photo, job.box, _recipe.by_box)
    if _recipe.first is not None:
        landmarks = map_points(invert(affine), _first_landmarks([image]))
        (affine,) = second_transforms(landmarks, spec)
        image = warp(photo, affine, size)
    values = encode_landmarks(map_points(affine, job.sample.points), size, spec.origin)
    return encode_image(image), encode_values(values)


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
    with (
        tempfile.TemporaryDirectory(prefix="cuts-", dir=directory) as temporary,
        Crew(workers, _setup, (recipe, Path(temporary))) as crew,
        ExitStack() as after,
    ):
        after.callback(_setup, recipe)  # lets go of the files, if this process is the worker
        kept: list[Cut] = []
        used: list[Sample] = []
        skipped: list[str] = []
        step = max(1, min(CUT_CHUNK, len(jobs) // (AHEAD * workers)))  # of few, some for every worker
        few = (jobs[start : start + step] for start in range(0, len(jobs), step))
        cuts = chain.from_iterable(crew.ordered_map(_keep, few))
        for sample, cut in usable(jobs, wrap(cuts, len(jobs), "cut"), on_skip, skipped):
            kept.append(cut)
            used.append(sample)
        if not used:
            raise FaceAlignError("no photo of the training part can be read")
        CutStore(Path(temporary)).save(kept)
        shares = copies_of or {}
        counts = [shares.get(sample.subset, copies) for sample in used]
        order = np.random.default_rng(recipe.seed).permutation(np.repeat(np.arange(len(used)), counts))
        # As many as are under way or being written at a time.
        slots = AHEAD * workers if workers > 1 else 1
        records = _records(recipe.spec)
        Slots.create(Path(temporary), slots, min(CHUNK, len(order)) * records.bytes)
        chunks = [order[start : start + CHUNK].tolist() for start in range(0, len(order), CHUNK)]
        total = hashlib.sha256()

        def samples() -> Iterator[tuple[memoryview, memoryview]]:
            tasks = ((number, number % slots, faces) for number, faces in enumerate(chunks))
            filled = Slots(Path(temporary))
            for number, checksums in enumerate(crew.ordered_map(_vary, tasks)):
                total.update(checksums)
                yield from records.pairs(filled[number % slots], len(chunks[number]))

        size = (recipe.spec.input_height, recipe.spec.input_width)
        write_part(directory, part, len(order), size, wrap(samples(), len(order), part))
    return Written(by_folder(used), len(order), total.hexdigest(), skipped)


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
    skipped: list[str] = []
    made = ordered_map(_plain, jobs, workers, _setup, (recipe,))
    for sample, pair in usable(jobs, wrap(made, len(jobs), part), on_skip, skipped):
        encoded.append(pair)
        used.append(sample)
    if not used:
        raise FaceAlignError("no photo of the validation part can be read")
    size = (recipe.spec.input_height, recipe.spec.input_width)
    write_part(directory, part, len(encoded), size, encoded)
    total = hashlib.sha256()
    for image, values in encoded:
        total.update(image)
        total.update(values)
    return Written(by_folder(used), len(encoded), total.hexdigest(), skipped)


def usable(
    jobs: Sequence[Job], made: Iterable[Any], on_skip: Callable[[FaceAlignError], None], skipped: list[str]
) -> Iterator[tuple[Sample, Any]]:
    """(sample, what was made of it) of each job; an error goes to `on_skip`, and its photo into `skipped`."""
    for job, result in zip(jobs, made, strict=True):
        if isinstance(result, FaceAlignError):
            on_skip(result)
            skipped.append(job.sample.relative)
        else:
            yield job.sample, result


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


def describe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as meta.json keeps it."""
    described = {
        "seed": recipe.seed,
        "augmentation": dataclasses.asdict(recipe.augmentation),
        "spec": dataclasses.asdict(recipe.spec.portable()),
    }
    if recipe.first is not None:
        described["after"] = named(recipe.first.weights)
    return described


def cut_bytes(job: Job, recipe: Recipe) -> int:
    """At most so many bytes does the loose crop of a face need while samples are made of it."""
    settings, second = recipe.augmentation, recipe.second
    return most_bytes(job.box, recipe.by_box, settings, job.sample.points, second)
