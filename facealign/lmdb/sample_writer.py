"""Writing the paired LMDBs from annotated photos: cut, augment, shuffle; the same bytes by any workers."""

import hashlib
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.concurrency.pools import ordered_map
from facealign.concurrency.processes import ITEMS_A_WORKER, WorkerPool, one_thread
from facealign.crops.augmentation import Jitter, Noise, draw_jitter, moved, transform
from facealign.crops.context_crop import ContextCrop, context_crop, most_bytes, show
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_face
from facealign.crops.targets import encode_targets
from facealign.engines.opening import engine_of, open_engine
from facealign.errors import FaceAlignError, attempted
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
"""Samples that a worker makes at once. Random draws and the digests of contents depend on it."""
NOISE_PICTURES = 8
"""Size, in images, of a chunk's noise field, out of which each sample's noise is cut at its own place."""
BATCH = 64
"""Batch size of the first cascade stage."""
CUT_CHUNK = 16
"""Most photos that a worker cuts at once: sending them one by one takes a good part of the cutting time."""


def open_first(weights: Path) -> tuple[LandmarkNetwork, FirstStage]:
    """The first stage of a cascade: a caffemodel runs in Caffe, ONNX in OpenCV.

    Raises FaceAlignError on a missing or unfit file, and on a network whose crops are not by a box.
    """
    engine, spec = open_engine(engine_of(weights), weights)
    if spec.crop != "square":
        raise FaceAlignError(
            f"{weights}: its crop is {spec.crop!r}, expected 'square', that of a first cascade stage"
        )
    return LandmarkNetwork(engine, spec), FirstStage(weights, spec)


class _Maker:
    """The sample maker of a worker process.

    directory: holds the context crops and encoded samples that the processes share; the validation part needs
    none.
    """

    def __init__(self, settings: SampleSettings, directory: Path | None = None) -> None:
        self.settings = settings
        self._net: LandmarkNetwork | None = None
        self._cuts = None if directory is None else CutStore(directory)
        self._slots: Slots | None = None

    def close(self) -> None:
        """Close the shared files."""
        self._slots = None
        if self._cuts is not None:
            self._cuts.close()

    def keep(self, jobs: Sequence[Job]) -> list[Cut | FaceAlignError]:
        """Cut faces and append them to this process's file; the place of each, or the error of its photo."""
        assert self._cuts is not None
        crops = map(self.cut, jobs)
        return [crop if isinstance(crop, FaceAlignError) else self._cuts.append(crop) for crop in crops]

    def cut(self, job: Job) -> ContextCrop | FaceAlignError:
        """The context crop of a face, or the error of its photo."""
        image = attempted(read_image, job.sample.path, orient=False)
        if isinstance(image, FaceAlignError):
            return image
        settings = self.settings
        by_box, augmentation, second = settings.by_box, settings.augmentation, settings.second
        return context_crop(image, job.sample.points, job.box, by_box, augmentation, second)

    def vary(self, chunk: tuple[int, int, list[int]]) -> bytes:
        """Encode an augmented sample of each face of a chunk into a slot; the samples' checksums.

        chunk: its number, its slot and the indices of its faces. A checksum is the CRC-32 of a sample's two
        Datums, 4 bytes, lowest first. The SHA-256 of all checksums identifies a data set, and is faster than
        that of all samples on processors without instructions for it.
        """
        assert self._cuts is not None
        number, slot, faces = chunk
        settings, spec = self.settings, self.settings.spec
        size, records = spec.size, _records(spec)
        if self._slots is None:
            self._cuts.load()
            self._slots = Slots(self._cuts.directory)
        # One generator per chunk, so that the result depends neither on the worker nor on the order. SFC64 is
        # the fastest generator, and noise takes many bits.
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
            checksums.append(zlib.crc32(sample))  # here, while the sample is in the processor's cache
        return np.array(checksums, "<u4").tobytes()

    def plain(self, job: Job) -> tuple[bytes, bytes] | FaceAlignError:
        """One encoded sample without augmentation: the network's input at inference."""
        spec = self.settings.spec
        photo = attempted(read_image, job.sample.path, orient=False)
        if isinstance(photo, FaceAlignError):
            return photo
        image, affine = crop_face(photo, job.box, self.settings.by_box)
        if self.settings.first is not None:
            landmarks = map_points(invert(affine), self._first_landmarks([image]))
            (affine,) = second_transforms(landmarks, spec)
            image = warp(photo, affine, spec.size)
        values = encode_targets(map_points(affine, job.sample.points), spec.size, spec.origin)
        return encode_image(image), encode_values(values)

    def _transforms(self, cuts: Sequence[ContextCrop], jitter: Jitter) -> FloatArray:
        """Affine maps (n, 2, 3) from context crops to the samples that `jitter` makes of them."""
        spec = self.settings.by_box
        boxes = np.stack([cut.box for cut in cuts])
        affines = transform(boxes, jitter, spec.size, spec.box_scale, spec.box_shift)
        if self.settings.first is None:
            return affines
        crops = [shown[..., :3] for shown in show(cuts, affines, spec.size)]
        return compose(second_transforms(self._first_landmarks(crops), self.settings.spec), affines)

    def _first_landmarks(self, crops: Sequence[Image]) -> FloatArray:
        """The first stage's predictions (n, 68, 2) in the pixels of n crops."""
        if self._net is None:
            assert self.settings.first is not None
            self._net, _ = open_first(self.settings.first.weights)
        with one_thread():  # sums then do not depend on the number of threads
            batches = [self._net(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]
        return self._net.points(np.concatenate(batches))


def _records(spec: ModelSpec) -> Records:
    return Records(spec.size, 2 * spec.landmarks)


def write_training_part(
    request: PartRequest, copies: int, copies_of: Mapping[str, int] | None = None
) -> Written:
    """Write `copies` augmented samples of every face, all shuffled once, into the LMDB pair of a part.

    copies_of: number of samples for the faces of one folder (`Sample.subset`) instead, which weights the data
    sets.
    Photos are cut where the request says; the samples are made of these cuts by processes of this machine.
    Raises FaceAlignError when no photo can be read.
    """
    settings, workers = request.settings, request.workers
    with (
        tempfile.TemporaryDirectory(prefix="cuts-", dir=request.directory) as temporary,
        WorkerPool(workers, _Maker, (settings, Path(temporary))) as pool,
    ):
        shared, faces = Path(temporary), UsedFaces(request)
        kept = [cut for _, cut in faces.of(_cuts(request, pool, shared), "cut")]
        CutStore(shared).save(kept)
        of_folder = copies_of or {}
        counts = [of_folder.get(sample.subset, copies) for sample in faces.samples]
        order = np.random.default_rng(settings.seed).permutation(np.repeat(np.arange(len(kept)), counts))
        # As many slots as chunks that are being made or written at a time.
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


def _cuts(request: PartRequest, pool: WorkerPool[_Maker], shared: Path) -> Iterator[Cut | FaceAlignError]:
    """Cut the faces of a request into the folder `shared`; the place of each, or the error of its photo."""
    jobs, workers = request.jobs, request.workers
    if request.scheduler is None:
        # Of few jobs, some for every worker.
        step = max(1, min(CUT_CHUNK, len(jobs) // (ITEMS_A_WORKER * workers)))
        few = (jobs[start : start + step] for start in range(0, len(jobs), step))
        yield from chain.from_iterable(pool.ordered_map(_Maker.keep, few))
        return
    with closing(CutStore(shared)) as store:
        for crop in ordered_map(_Maker.cut, jobs, request.scheduler, _Maker, (request.settings,)):
            yield crop if isinstance(crop, FaceAlignError) else store.append(crop)


def write_validation_part(request: PartRequest) -> Written:
    """Write one sample per face, without augmentation, in order, into the LMDB pair of a part.

    Raises FaceAlignError when no photo can be read.
    """
    faces = UsedFaces(request)
    made = ordered_map(_Maker.plain, request.jobs, request.where, _Maker, (request.settings,))
    encoded = [pair for _, pair in faces.of(made, request.part)]
    write_part(request.directory, request.part, len(encoded), request.settings.spec.size, encoded)
    total = hashlib.sha256()
    for image, values in encoded:
        total.update(image)
        total.update(values)
    return faces.written(len(encoded), total.hexdigest())


def cut_bytes(job: Job, settings: SampleSettings) -> int:
    """Upper bound, in bytes, of the size of a face's context crop while samples are made of it."""
    augmentation, second = settings.augmentation, settings.second
    return most_bytes(job.box, settings.by_box, augmentation, job.sample.points, second)
