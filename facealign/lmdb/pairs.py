"""Paired LMDBs for Caffe's Data layer: images in one, their landmarks in the other.

A part ("train", "val") of a data set is the two folders PART_images and PART_landmarks; the same key denotes
the same sample in both. `meta.json` beside them describes how they were made.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np

from facealign.arrays import AnyArray, Float32Array
from facealign.errors import FaceAlignError
from facealign.lmdb.datum import Buffer, decode_datum, key_of, shown_key
from facealign.lmdb.environment import open_lmdb, open_new_lmdb

SAMPLES_A_COMMIT = 64
"""Number of samples in one LMDB transaction: few enough that its uncommitted pages stay in the cache."""
WRITE_BACK_SECONDS = 0.25
"""Pause between two requests to the system to write to the disk."""
PAGE = 4096


def pairs_bytes(samples: int, height: int, width: int) -> int:
    """Approximate size on disk, in bytes, of `samples` images of 3 channels and their landmarks."""
    image_pages = -(-(3 * height * width + 64) // PAGE)
    return samples * (image_pages * PAGE + 2048) + (1 << 20)


def write_part(
    directory: Path, part: str, samples: int, size: tuple[int, int], encoded: Iterable[tuple[Buffer, Buffer]]
) -> None:
    """Write the part `part`: `samples` pairs of (image, landmarks) Datums in the order of `encoded`.

    size: (height, width) of the images. The buffers of a pair may be reused once the next pair is requested.
    Raises FaceAlignError when the disk is full.
    """
    room = 2 * pairs_bytes(samples, *size)
    paths = [directory / f"{part}_{kind}" for kind in ("images", "landmarks")]
    pairs = iter(encoded)
    with (
        open_new_lmdb(paths[0], room) as images,
        open_new_lmdb(paths[1], room) as landmarks,
        _writing_back([path / "data.mdb" for path in paths]),
    ):
        for start in range(0, samples, SAMPLES_A_COMMIT):
            with images.begin(write=True) as image_txn, landmarks.begin(write=True) as landmark_txn:
                for index in range(start, min(start + SAMPLES_A_COMMIT, samples)):
                    image, values = next(pairs)
                    image_txn.put(key_of(index), image, append=True)
                    landmark_txn.put(key_of(index), values, append=True)
        if next(pairs, None) is not None:  # which also ends a progress bar
            raise ValueError(f"more than the {samples} samples announced")


@contextmanager
def _writing_back(files: list[Path]) -> Iterator[None]:
    """Write files back to disk in the background, so that the final sync does not wait for all of it."""
    ended = threading.Event()

    def write_back() -> None:
        with ExitStack() as opened:
            streams = [opened.enter_context(file.open("rb")) for file in files]
            while not ended.wait(WRITE_BACK_SECONDS):
                for stream in streams:
                    # The final sync reports an error again.
                    with suppress(OSError):
                        os.fdatasync(stream.fileno())

    thread = threading.Thread(target=write_back)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def read_raw(directory: Path, part: str, limit: int | None = None) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(key, image Datum, landmarks Datum) of the first `limit` samples of a part, in order.

    Raises FaceAlignError when a database is missing or damaged or the two do not belong together.
    """
    for key, image, values in islice(_records(directory, part), limit):
        yield bytes(key), bytes(image), bytes(values)


def check_part(directory: Path, part: str) -> None:
    """Check that all samples of a part have the same shapes: Caffe's Data layer would exit at another one.

    Only the beginning of each record is read.
    Raises FaceAlignError as `read_raw`, and for a sample of other shapes, which it names.
    """
    known: list[dict[tuple[int, bytes], tuple[int, ...]]] = [{}, {}]
    for key, *pair in _records(directory, part, readahead=True):
        for kind, record, shapes in zip(("image", "landmarks"), pair, known, strict=True):
            # The first fields hold the shape; with the length they identify the kind of record.
            begins = len(record), bytes(record[:8])
            if begins not in shapes:
                where = f"{directory}: {part} sample {shown_key(key)}"
                try:
                    shape = decode_datum(bytes(record)).shape
                except ValueError as error:
                    raise FaceAlignError(f"{where}: its {kind}: {error}; make it again") from error
                if shapes and shape not in shapes.values():
                    (others,) = set(shapes.values())
                    raise FaceAlignError(
                        f"{where}: its {kind} of shape {shape}, unlike {others} before; make it again"
                    )
                shapes[begins] = shape


def _records(
    directory: Path, part: str, readahead: bool = False
) -> Iterator[tuple[memoryview, memoryview, memoryview]]:
    """The samples of `read_raw`, as views that are valid until the next step."""
    paths = [directory / f"{part}_{kind}" for kind in ("images", "landmarks")]
    with ExitStack() as stack:
        environments = [stack.enter_context(open_lmdb(path, readahead=readahead)) for path in paths]
        counts = [environment.stat()["entries"] for environment in environments]
        if counts[0] != counts[1]:
            raise FaceAlignError(f"{paths[0]}: {counts[0]} images, but {counts[1]} landmarks; make it again")
        image_txn, landmark_txn = (
            stack.enter_context(environment.begin(buffers=True)) for environment in environments
        )
        for (key, image), (other, values) in zip(image_txn.cursor(), landmark_txn.cursor(), strict=True):
            if key != other:
                raise FaceAlignError(f"{paths[0]}: its keys are not those of {paths[1].name}; make it again")
            yield key, image, values


def read_part(directory: Path, part: str, limit: int | None = None) -> tuple[AnyArray, Float32Array]:
    """Images (n, channels, h, w) uint8 and landmarks (n, 136) of the first `limit` samples of a part.

    Raises FaceAlignError as `read_raw`, and on a Datum that is damaged.
    """
    images, landmarks = [], []
    for key, image, values in read_raw(directory, part, limit):
        try:
            images.append(decode_datum(image))
            landmarks.append(decode_datum(values).reshape(-1))
            if images[-1].shape != images[0].shape or landmarks[-1].shape != landmarks[0].shape:
                raise ValueError("its size differs from that of the samples before")
        except ValueError as error:
            raise FaceAlignError(f"{directory}: {part} sample {shown_key(key)}: {error}") from error
    if not images:
        raise FaceAlignError(f"{directory}: its part {part!r} holds no sample")
    return np.stack(images), np.stack(landmarks).astype(np.float32)
