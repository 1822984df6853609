"""Paired LMDBs that Caffe's Data layer reads: in one the pictures, in the other their landmarks.

A part ("train", "val") of a data set is the two folders PART_images and PART_landmarks; the same key stands
for the same sample in both. `meta.json` beside them says how they were made.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from facealign.arrays import AnyArray, Float32Array, Image
from facealign.errors import FaceAlignError
from facealign.proto import caffe_pb2

META = "meta.json"
COMMIT_EVERY = 64
"""Samples written between two commits: so few that what is kept of them until then stays in the cache."""
Buffer = bytes | bytearray | memoryview | mmap
"""What holds encoded samples."""
WRITE_BACK_SECONDS = 0.25
"""Pause between two times that the disk is told to write."""
PAGE = 4096


def default_directory(size: tuple[int, int], fresh: bool = False, cascade: bool = False) -> Path:
    """Where a data set lives if nobody says: crops of (height, width), or loose ones, to be varied.

    cascade: crops for the second network of a cascade.
    """
    shape = "" if size == (64, 64) else f"_{size[0]}x{size[1]}"
    return Path(f"data/lmdb{shape}{'_cascade' if cascade else ''}{'_fresh' if fresh else ''}")


def encode_image(image: Image) -> bytes:
    """A picture (h, w, c) as a Datum, channels first."""
    height, width, channels = image.shape
    data = np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes()
    return caffe_pb2.Datum(channels=channels, height=height, width=width, data=data).SerializeToString()


def encode_landmarks(values: Float32Array) -> bytes:
    """Network targets (n,) as a Datum of n channels, one number each."""
    return caffe_pb2.Datum(
        channels=len(values), height=1, width=1, float_data=values.tolist()
    ).SerializeToString()


class Records:
    """Samples encoded many at a time: an array with the bytes of their Datums, one sample after the other.

    size: (height, width) of the pictures, of 3 channels; numbers: of a sample's landmarks. The bytes are
    those of `encode_image` and `encode_landmarks`.
    """

    def __init__(self, size: tuple[int, int], numbers: int) -> None:
        image = encode_image(np.zeros((*size, 3), np.uint8))
        landmarks = encode_landmarks(np.zeros(numbers, np.float32))
        self._image_bytes = len(image)
        # In both Datums the numbers come last; before each landmark is a byte that tells its field.
        self._type = np.dtype(
            [
                ("image", np.void, len(image) - 3 * size[0] * size[1]),
                ("pixels", np.uint8, (3, *size)),
                ("landmarks", np.void, len(landmarks) - 5 * numbers),
                ("numbers", [("field", np.uint8), ("value", "<f4")], (numbers,)),
            ]
        )
        self._blank = np.frombuffer(image + landmarks, self._type)

    @property
    def bytes(self) -> int:
        """The length of a sample."""
        return self._type.itemsize

    def blank(self, buffer: Buffer, count: int) -> tuple[Image, Float32Array]:
        """Begin `count` samples in `buffer`: views of their pixels (n, 3, h, w) and numbers, to be filled."""
        samples = np.frombuffer(buffer, self._type, count)
        for name in ("image", "landmarks"):
            samples[name] = self._blank[name]
        samples["numbers"]["field"] = self._blank["numbers"]["field"]
        return samples["pixels"], samples["numbers"]["value"]

    def whole(self, buffer: Buffer, count: int) -> Image:
        """The bytes (n, length) of `count` samples in `buffer`, as a view of it."""
        return np.frombuffer(buffer, np.uint8, count * self.bytes).reshape(count, self.bytes)

    def pairs(self, buffer: Buffer, count: int) -> Iterator[tuple[memoryview, memoryview]]:
        """The (picture, landmarks) Datums of `count` samples in `buffer`, as views of it."""
        view = memoryview(buffer)
        for start in range(0, count * self.bytes, self.bytes):
            middle = start + self._image_bytes
            yield view[start:middle], view[middle : start + self.bytes]


def decode_datum(data: bytes) -> AnyArray:
    """The array (channels, height, width) of a Datum: uint8, or float32 where it holds numbers.

    Raises ValueError when it is no such Datum.
    """
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(data)
    except Exception as error:
        raise ValueError("not a Datum") from error
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    shape = (datum.channels, datum.height, datum.width)
    if values.size != np.prod(shape):
        raise ValueError(f"{values.size} numbers do not fill the shape {shape}")
    return values.reshape(shape)


def key_of(index: int) -> bytes:
    """The key of a sample: digits, so that their order is that of the samples."""
    return b"%09d" % index


def bytes_needed(samples: int, height: int, width: int) -> int:
    """About the size on disk of `samples` pictures of 3 channels and their landmarks."""
    image_pages = -(-(3 * height * width + 64) // PAGE)
    return samples * (image_pages * PAGE + 2048) + (1 << 20)


def write_part(
    directory: Path, part: str, samples: int, size: tuple[int, int], encoded: Iterable[tuple[Buffer, Buffer]]
) -> None:
    """Write the part `part`: `samples` pairs of (picture, landmarks) Datums in the order of `encoded`.

    size: (height, width) of the pictures. A pair has to stay as it is only until the next one is asked
    for. Raises FaceAlignError when the disk is full.
    """
    room = 2 * bytes_needed(samples, *size)
    paths = [directory / f"{part}_{kind}" for kind in ("images", "landmarks")]
    pairs = iter(encoded)
    with (
        open_new_lmdb(paths[0], room) as images,
        open_new_lmdb(paths[1], room) as landmarks,
        _writing_back([path / "data.mdb" for path in paths]),
    ):
        for start in range(0, samples, COMMIT_EVERY):
            with images.begin(write=True) as image_txn, landmarks.begin(write=True) as landmark_txn:
                for index in range(start, min(start + COMMIT_EVERY, samples)):
                    image, values = next(pairs)
                    image_txn.put(key_of(index), image, append=True)
                    landmark_txn.put(key_of(index), values, append=True)
        if next(pairs, None) is not None:  # also takes an iterator with a progress bar to its end
            raise ValueError(f"more than the {samples} samples announced")


@contextmanager
def _writing_back(files: list[Path]) -> Iterator[None]:
    """Keep the disk at work on what was written so far, or all of it would be waited for at the end."""
    ended = threading.Event()

    def write_back() -> None:
        with ExitStack() as opened:
            streams = [opened.enter_context(file.open("rb")) for file in files]
            while not ended.wait(WRITE_BACK_SECONDS):
                for stream in streams:
                    # An error is told again to whoever syncs at the end.
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
    """(key, picture Datum, landmarks Datum) of the first `limit` samples of a part, in order.

    Raises FaceAlignError when a database is missing or damaged or the two do not belong together.
    """
    for key, image, values in islice(_records(directory, part), limit):
        yield bytes(key), bytes(image), bytes(values)


def check_part(directory: Path, part: str) -> None:
    """See that all samples of a part have the shapes of the first, else Caffe's Data layer ends the process.

    Looks at the beginning of each record only.
    Raises FaceAlignError as `read_raw`, and names the sample that is unlike the others.
    """
    known: list[dict[tuple[int, bytes], tuple[int, ...]]] = [{}, {}]
    for key, *pair in _records(directory, part, readahead=True):
        for kind, record, shapes in zip(("picture", "landmarks"), pair, known, strict=True):
            # The first fields say the shape; with the length they tell one kind of record from another.
            begins = len(record), bytes(record[:8])
            if begins not in shapes:
                where = f"{directory}: {part} sample {bytes(key).decode()}"
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
    """What `read_raw` gives, as views that end with the next step."""
    paths = [directory / f"{part}_{kind}" for kind in ("images", "landmarks")]
    with ExitStack() as stack:
        environments = [stack.enter_context(open_lmdb(path, readahead=readahead)) for path in paths]
        counts = [environment.stat()["entries"] for environment in environments]
        if counts[0] != counts[1]:
            raise FaceAlignError(
                f"{paths[0]}: {counts[0]} pictures, but {counts[1]} landmarks; make it again"
            )
        image_txn, landmark_txn = (
            stack.enter_context(environment.begin(buffers=True)) for environment in environments
        )
        for (key, image), (other, values) in zip(image_txn.cursor(), landmark_txn.cursor(), strict=True):
            if key != other:
                raise FaceAlignError(f"{paths[0]}: its keys are not those of {paths[1].name}; make it again")
            yield key, image, values


@contextmanager
def open_new_lmdb(path: Path, room: int) -> Iterator[Any]:
    """The environment of a new LMDB of at most `room` bytes, to be written.

    Not safe against a crash before it is closed: the folder it is in is to get its name only then. Raises
    FaceAlignError when the disk is full, also while it is used.
    """
    lmdb = _lmdb()
    try:
        with lmdb.open(str(path), map_size=room, sync=False, metasync=False, readahead=False) as environment:
            yield environment
            environment.sync(True)
    except lmdb.Error as error:
        raise FaceAlignError(f"{path.parent}: cannot be written ({error}); is the disk full?") from error


@contextmanager
def open_lmdb(path: Path, made_by: str = "make lmdb DATA=ROOT", readahead: bool = False) -> Iterator[Any]:
    """The environment of an LMDB to be read; made_by: the command to tell when there is none.

    Raises FaceAlignError when it is missing or damaged, also while it is used.
    """
    lmdb = _lmdb()
    if not (path / "data.mdb").is_file():
        raise FaceAlignError(f"{path}: no LMDB; make it with `{made_by}`")
    try:
        with lmdb.open(str(path), readonly=True, lock=False, readahead=readahead) as environment:
            last, page = environment.info()["last_pgno"], environment.stat()["psize"]
            # Who reads a page beyond the file's end is killed by the system: LMDB maps the file into memory.
            if (path / "data.mdb").stat().st_size < (last + 1) * page:
                raise FaceAlignError(f"{path}: its data.mdb is cut short; make it again")
            yield environment
    except lmdb.Error as error:
        raise FaceAlignError(f"{path}: cannot be read ({error}); make it again") from error


def read_part(directory: Path, part: str, limit: int | None = None) -> tuple[AnyArray, Float32Array]:
    """Pictures (n, channels, h, w) uint8 and landmarks (n, 136) of the first `limit` samples of a part.

    Raises FaceAlignError as `read_raw`, and on a Datum that is damaged.
    """
    images, landmarks = [], []
    for key, image, values in read_raw(directory, part, limit):
        try:
            images.append(decode_datum(image))
            landmarks.append(decode_datum(values).reshape(-1))
            if images[-1].shape != images[0].shape or landmarks[-1].shape != landmarks[0].shape:
                raise ValueError("its size is another than that of the samples before")
        except ValueError as error:
            raise FaceAlignError(f"{directory}: {part} sample {key.decode()}: {error}") from error
    if not images:
        raise FaceAlignError(f"{directory}: its part {part!r} holds no sample")
    return np.stack(images), np.stack(landmarks).astype(np.float32)


def write_meta(directory: Path, meta: dict[str, Any]) -> None:
    """Write how the data set was made."""
    (directory / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def read_meta(directory: Path) -> dict[str, Any]:
    """What `write_meta` wrote. Raises FaceAlignError when `directory` is no data set of ours."""
    path = directory / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; make the LMDBs with `make lmdb DATA=ROOT`") from error
    except (OSError, ValueError) as error:
        raise FaceAlignError(f"{path}: not a description of LMDBs ({error}); make them again") from error
    if not isinstance(meta, dict) or "spec" not in meta or not _are_parts(meta.get("parts")):
        raise FaceAlignError(f"{path}: not a description of LMDBs; make them again")
    return meta


def _are_parts(parts: object) -> bool:
    return isinstance(parts, dict) and all(
        isinstance(part, dict) and "sha256" in part for part in parts.values()
    )


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise FaceAlignError("lmdb is not installed; pip install 'facealign[train]'") from error
    return lmdb
