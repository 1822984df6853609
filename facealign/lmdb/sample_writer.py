"""From annotated photos to the paired LMDBs: cut, vary, shuffle, write; the same bytes by any workers."""

import hashlib
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
from facealign.engines.opening import engine_of, open_engine
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply as map_points
from facealign.geometry.affine import compose, invert, warp
from facealign.inference.landmark_network import LandmarkNetwork, second_transforms
from facealign.io.images import read_image
from facealign.lmdb.datum import Records, encode_image
from facealign.lmdb.datum import encode_landmarks as encode_values
from facealign.lmdb.jobs import FirstStage, Job, PartRequest, SampleSettings, UsedFaces, Written
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


class _Maker:
    """What each worker process makes samples with.

    directory: where the context crops and the encoded samples are that the processes share; the validation
    part needs none.
    """

    def __init__(self, settings: SampleSettings, directory: Path | None = None) -> None:
        self.settings = settings
        self._net: LandmarkNetwork | None = None
        self._cuts = None if directory is None else CutStore(directory)
        self._slots: Slots | None = None

    def close(self) -> None:
        """Let go of the shared files."""
        self._slots = None
        if self._cuts is not None:
            self._cuts.close()

    def keep(self, jobs: Sequence[Job]) -> list[Cut | FaceAlignError]:
        """Cut faces, and keep them in this process's file."""
        assert self._cuts is not None
        crops = map(self._cut, jobs)
        return [crop if isinstance(crop, FaceAlignError) else self._cuts.append(crop) for crop in crops]

    def _cut(self, job: Job) -> ContextCrop | FaceAlignError:
        try:
            image = read_image(job.sample.path, orient=False)
        except FaceAlignError as error:
            return error
        settings = self.settings
        by_box, augmentation, second = settings.by_box, settings.augmentation, settings.second
        return context_crop(image, job.sample.points, job.box, by_box, augmentation, second)

    def vary(self, chunk: tuple[int, int, list[int]]) -> bytes:
        """Encode a variation of each of the `faces` of chunk `number` into a slot; their checksums.

        Those are of 4 bytes, the lowest first: the CRC-32 of a sample's Datums, one after the other. Their
        SHA-256 differs where data sets do, and takes less time than that of the samples on processors without
        instructions for it.
        """
        assert self._cuts is not None
        number, slot, faces = chunk
        settings, spec = self.settings, self.settings.spec
        size, records = spec.size, _records(spec)
        if self._slots is None:
            self._cuts.load()
            self._slots = Slots(self._cuts.directory)
        # A generator for each chunk, so that it does not matter who makes it, and when. SFC64 has the fastest
        # bits, of which noise takes many.
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(settings.seed, spawn_key=(number,))))
        jitter = draw_jitter(settings.augmentation, rng, len(faces))
        cuts = [self._cuts[face] for face in faces]
        points, affines = np.stack([cut.points for cut in cuts]), self._transforms(cuts, jitter)
        buffer = self._slots[slot]
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

    def plain(self, job: Job) -> tuple[bytes, bytes] | FaceAlignError:
        """One sample without any variation, encoded: what inference shows the network."""
        spec = self.settings.spec
        try:
            photo = read_image(job.sample.path, orient=False)
        except FaceAlignError as error:
            return error
        image, affine = crop_face(photo, job.box, self.settings.by_box)
        if self.settings.first is not None:
            landmarks = map_points(invert(affine), self._first_landmarks([image]))
            (affine,) = second_transforms(landmarks, spec)
            image = warp(photo, affine, spec.size)
        values = encode_targets(map_points(affine, job.sample.points), spec.size, spec.origin)
        return encode_image(image), encode_values(values)

    def _transforms(self, cuts: Sequence[ContextCrop], jitter: Jitter) -> FloatArray:
        """Affines (n, 2, 3) from context crops to the samples that `jitter` makes of them."""
        spec = self.settings.by_box
        boxes = np.stack([cut.box for cut in cuts])
        affines = transform(boxes, jitter, spec.size, spec.box_scale, spec.box_shift)
        if self.settings.first is None:
            return affines
        crops = [shown[..., :3] for shown in show(cuts, affines, spec.size)]
        return compose(second_transforms(self._first_landmarks(crops), self.settings.spec), affines)

    def _first_landmarks(self, crops: Sequence[Image]) -> FloatArray:
        """What the first network predicts (n, 68, 2) in the pixels of n crops."""
        if self._net is None:
            assert self.settings.first is not None
            self._net, _ = open_first(self.settings.first.weights)
        with one_thread():  # whose sums do not depend on how many there are
            batches = [self._net(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]
        return self._net.points(np.concatenate(batches))


def _records(spec: ModelSpec) -> Records:
    return Records(spec.size, 2 * spec.landmarks)


def write_training_part(
    request: PartRequest, copies: int, copies_of: Mapping[str, int] | None = None
) -> Written:
    """`copies` variations of every face, all shuffled once, into the LMDB pair of a part.

    copies_of: folder (`Sample.subset`) -> variations of its faces instead, which weighs the data sets.
    Raises FaceAlignError when no photo can be read.
    """
    jobs, settings, workers = request.jobs, request.settings, request.workers
    with (
        tempfile.TemporaryDirectory(prefix="cuts-", dir=request.directory) as temporary,
        WorkerPool(workers, _Maker, (settings, Path(temporary))) as pool,
    ):
        shared, faces = Path(temporary), UsedFaces(request)
        step = max(
            1, min(CUT_CHUNK, len(jobs) // (ITEMS_A_WORKER * workers))
        )  # of few, some for every worker
        few = (jobs[start : start + step] for start in range(0, len(jobs), step))
        cuts = chain.from_iterable(pool.ordered_map(_Maker.keep, few))
        kept = [cut for _, cut in faces.of(cuts, "cut")]
        CutStore(shared).save(kept)
        shares = copies_of or {}
        counts = [shares.get(sample.subset, copies) for sample in faces.samples]
        order = np.random.default_rng(settings.seed).permutation(np.repeat(np.arange(len(kept)), counts))
        # As many as are under way or being written at a time.
        slots = ITEMS_A_WORKER * workers if workers > 1 else 1
        records = _records(settings.spec)
        Slots.create(shared, slots, min(CHUNK, len(order)) * records.bytes)
        chunks = [order[start : start + CHUNK].tolist() for start in range(0, len(order), CHUNK)]
        total = hashlib.sha256()

        def samples() -> Iterator[tuple[memoryview, memoryview]]:
            tasks = ((number, number % slots, chunk) for number, chunk in enumerate(chunks))
            filled = Slots(shared)
            for number, checksums in enumerate(pool.ordered_map(_Maker.vary, tasks)):
                total.update(checksums)
                yield from records.pairs(filled[number % slots], len(chunks[number]))

        wrapped = request.wrap(samples(), len(order), request.part)
        write_part(request.directory, request.part, len(order), settings.spec.size, wrapped)
    return faces.written(len(order), total.hexdigest())


def write_validation_part(request: PartRequest) -> Written:
    """One sample a face, without variation, in order, into the LMDB pair of a part.

    Raises FaceAlignError when no photo can be read.
    """
    faces = UsedFaces(request)
    made = ordered_map(_Maker.plain, request.jobs, request.workers, _Maker, (request.settings,))
    encoded = [pair for _, pair in faces.of(made, request.part)]
    write_part(request.directory, request.part, len(encoded), request.settings.spec.size, encoded)
    total = hashlib.sha256()
    for image, values in encoded:
        total.update(image)
        total.update(values)
    return faces.written(len(encoded), total.hexdigest())


def cut_bytes(job: Job, settings: SampleSettings) -> int:
    """At most so many bytes does the context crop of a face need while samples are made of it."""
    augmentation, second = settings.augmentation, settings.second
    return most_bytes(job.box, settings.by_box, augmentation, job.sample.points, second)
