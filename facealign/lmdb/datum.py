"""Encoding and decoding of samples as Caffe's Datum."""

import math
from collections.abc import Iterator
from mmap import mmap

import numpy as np

from facealign.arrays import AnyArray, Float32Array, Image
from facealign.caffe_files.proto import caffe_pb2

Buffer = bytes | bytearray | memoryview | mmap
"""Types that can hold encoded samples."""


def encode_image(image: Image) -> bytes:
    """An image (h, w, c), uint8, as a serialized Datum, channels first."""
    height, width, channels = image.shape
    data = np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes()
    return caffe_pb2.Datum(channels=channels, height=height, width=width, data=data).SerializeToString()


def encode_landmarks(values: Float32Array) -> bytes:
    """Network targets (n,) as a serialized Datum of n channels, one number each."""
    return caffe_pb2.Datum(
        channels=len(values), height=1, width=1, float_data=values.tolist()
    ).SerializeToString()


class Records:
    """Encoder of many samples at a time: an array with the bytes of their Datums, sample after sample.

    size: (height, width) of the images, of 3 channels; numbers: count of a sample's targets. The bytes are
    those of `encode_image` and `encode_landmarks`.
    """

    def __init__(self, size: tuple[int, int], numbers: int) -> None:
        image = encode_image(np.zeros((*size, 3), np.uint8))
        landmarks = encode_landmarks(np.zeros(numbers, np.float32))
        self._image_bytes = len(image)
        # In both Datums the values come last; each target follows a byte that holds its field number.
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
        """Length of an encoded sample in bytes."""
        return self._type.itemsize

    def blank(self, buffer: Buffer, count: int) -> tuple[Image, Float32Array]:
        """Begin `count` samples in `buffer`: views of their pixels (n, 3, h, w) and targets, to be filled."""
        samples = np.frombuffer(buffer, self._type, count)
        for name in ("image", "landmarks"):
            samples[name] = self._blank[name]
        samples["numbers"]["field"] = self._blank["numbers"]["field"]
        return samples["pixels"], samples["numbers"]["value"]

    def whole(self, buffer: Buffer, count: int) -> Image:
        """The bytes (n, length) of `count` samples in `buffer`, as a view of it."""
        return np.frombuffer(buffer, np.uint8, count * self.bytes).reshape(count, self.bytes)

    def pairs(self, buffer: Buffer, count: int) -> Iterator[tuple[memoryview, memoryview]]:
        """The (image, landmarks) Datums of `count` samples in `buffer`, as views of it."""
        view = memoryview(buffer)
        for start in range(0, count * self.bytes, self.bytes):
            middle = start + self._image_bytes
            yield view[start:middle], view[middle : start + self.bytes]


def decode_datum(data: bytes) -> AnyArray:
    """The array (channels, height, width) of a serialized Datum: uint8, or float32 for `float_data`.

    Raises ValueError when `data` is not a Datum, or its values do not fill the shape.
    """
    datum = caffe_pb2.Datum()
    try:
        datum.ParseFromString(data)
    except Exception as error:
        raise ValueError("not a Datum") from error
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    shape = (datum.channels, datum.height, datum.width)
    if min(shape) < 0 or values.size != math.prod(shape):
        raise ValueError(f"{values.size} numbers do not fill the shape {shape}")
    return values.reshape(shape)


def shown_key(key: bytes | memoryview) -> str:
    """A key as text, whatever its bytes are."""
    return bytes(key).decode(errors="backslashreplace")


def key_of(index: int) -> bytes:
    """The key of a sample: digits of a fixed width, so that keys sort in the order of the samples."""
    return b"%09d" % index
