"""From annotated photos to the paired LMDBs: cut, vary, shuffle, write; the same bytes by any workers."""

import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.concurrency.processes import ITEMS_A_WORKER, WorkerPool, one_thread, ordered_map
from facealign.crops.augmentation import Jitter, Noise, draw_jitter, moved, transform
from facealign.crops.context_crop import ContextCrop, context_crop, most_bytes, show
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_face
from facealign.crops.targets import encode_targets
from facealign.datasets.sample import Sample
from facealign.engines.opening import engine_of, open_engine
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply as map_points
from facealign.geometry.affine import compose, invert, warp
from facealign.inference.landmark_network import LandmarkNetwork, second_transforms
from facealign.io.images import read_image
from facealign.lmdb.datum import Records, encode_image
from facealign.lmdb.datum import encode_landmarks as encode_values
from facealign.lmdb.jobs import FirstStage, Job, SampleSettings, Wrap, Written, by_folder, usable
from facealign.lmdb.pairs import write_part
from facealign.lmdb.shared_files import Cut, CutStore, Slots

CHUNK = 256
"""Samples a worker makes at once. What is drawn, and the digests of contents, depend on it."""
NOISE_PICTURES = 8
"""The noise of a chunk's samples is cut, each from a place of its own, out of that of so many pictures."""
BATCH = 64
"""Crops that a first network is shown at once."""
CUT_CHUNK = 16
"""Photos a worker reads and cuts at once, at most: sending them one by one takes a good part of that time."""


def open_first(weights: Path) -> tuple[LandmarkNetwork, FirstStage]:
    """Open the first network of a cascade: a caffemodel in Caffe, ONNX without it.

    Raises FaceAlignError on a missing or unfit file, and on a network that is not fed crops by a box.
    """
    engine, spec = open_engine(engine_of(weights), weights)
    if spec.crop != "square":
        raise FaceAlignError(f"{weights}: its crop is {spec.crop!r}, expected 'square' of a first network")
    return LandmarkNetwork(engine, spec), FirstStage(weights, spec)


_recipe: SampleSettings
_net: LandmarkNetwork | None = None
_cuts: CutStore | None = None
_slots: Slots | None = None


def _setup(recipe: SampleSettings, directory: Path | None = None) -> None:
    """Get ready to work; `_keep` and `_vary` need a directory for what they share."""
    global _recipe, _net, _cuts, _slots
    if _cuts is not None:
        _cuts.close()
    _recipe, _net, _slots = recipe, None, None
    _cuts = None if directory is None else CutStore(directory)


def _cut(job: Job) -> ContextCrop | FaceAlignError:
    try:
        image = read_image(job.sample.path, orient=False)
    except FaceAlignError as error:
        return error
    settings, second = _recipe.augmentation, _recipe.second
    return context_crop(image, job.sample.points, job.box, _recipe.by_box, settings, second)


def _keep(jobs: Sequence[Job]) -> list[Cut | FaceAlignError]:
    """Cut faces, and keep them in this process's file."""
    assert _cuts is not None
    crops = map(_cut, jobs)
    return [crop if isinstance(crop, FaceAlignError) else _cuts.append(crop) for crop in crops]


def cut_all(
    jobs: Sequence[Job], recipe: SampleSettings, workers: int
) -> Iterator[ContextCrop | FaceAlignError]:
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


def _transforms(cuts: Sequence[ContextCrop], jitter: Jitter) -> FloatArray:
    """Affines (n, 2, 3) from loose crops to the samples that `jitter` makes of them."""
    spec = _recipe.by_box
    size = spec.size
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
    size, records = spec.size, _records(spec)
    if _slots is None:
        _cuts.load()
        _slots = Slots(_cuts.directory)
    # A generator for each chunk, so that it does not matter who makes it, and when. SFC64 has the fastest
    # bits, of which noise takes many.
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(_recipe.seed, spawn_key=(number,))))
    jitter = draw_jitter(_recipe.augmentation, rng, len(faces))
    cuts = [_cuts[face] for face in faces]
    points, affines = np.stack([cut.points for cut in cuts]), _transforms(cuts, jitter)
    buffer = _slots[slot]
    pixels, values = records.blank(buffer, len(faces))
    values[:] = encode_targets(moved(points, affines, jitter), size, spec.origin)
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
    return Records(spec.size, 2 * spec.landmarks)


def _plain(job: Job) -> tuple[bytes, bytes] | FaceAlignError:
    """One sample without any variation, encoded: what inference shows the network."""
    spec = _recipe.spec
    size = spec.size
    try:
        photo = read_image(job.sample.path, orient=False)
    except FaceAlignError as error:
        return error
    image, affine = crop_face(photo, job.box, _recipe.by_box)
    if _recipe.first is not None:
        landmarks = map_points(invert(affine), _first_landmarks([image]))
        (affine,) = second_transforms(landmarks, spec)
        image = warp(photo, affine, size)
    values = encode_targets(map_points(affine, job.sample.points), size, spec.origin)
    return encode_image(image), encode_values(values)


def write_training_part(
    directory: Path,
    part: str,
    jobs: Sequence[Job],
    copies: int,
    recipe: SampleSettings,
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
        WorkerPool(workers, _setup, (recipe, Path(temporary))) as crew,
        ExitStack() as after,
    ):
        after.callback(_setup, recipe)  # lets go of the files, if this process is the worker
        kept: list[Cut] = []
        used: list[Sample] = []
        skipped: list[str] = []
        step = max(
            1, min(CUT_CHUNK, len(jobs) // (ITEMS_A_WORKER * workers))
        )  # of few, some for every worker
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
        slots = ITEMS_A_WORKER * workers if workers > 1 else 1
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

        size = recipe.spec.size
        write_part(directory, part, len(order), size, wrap(samples(), len(order), part))
    return Written(by_folder(used), len(order), total.hexdigest(), skipped)


def write_validation_part(
    directory: Path,
    part: str,
    jobs: Sequence[Job],
    recipe: SampleSettings,
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
    size = recipe.spec.size
    write_part(directory, part, len(encoded), size, encoded)
    total = hashlib.sha256()
    for image, values in encoded:
        total.update(image)
        total.update(values)
    return Written(by_folder(used), len(encoded), total.hexdigest(), skipped)


def cut_bytes(job: Job, recipe: SampleSettings) -> int:
    """At most so many bytes does the loose crop of a face need while samples are made of it."""
    settings, second = recipe.augmentation, recipe.second
    return most_bytes(job.box, recipe.by_box, settings, job.sample.points, second)
