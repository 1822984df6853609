"""Memory-mapped files that the processes writing samples share: context crops and encoded samples."""

import math
import mmap
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crops.context_crop import ContextCrop
from facealign.errors import FaceAlignError


@dataclass(frozen=True)
class Cut:
    """Place of a stored context crop: its file, its offset, the shapes of its images; its points and box."""

    file: str
    offset: int
    shapes: tuple[tuple[int, ...], ...]
    points: FloatArray
    box: FloatArray


class CutStore:
    """Context crops in files, one per process that cuts; all processes share them through the page cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._writing: Any = None
        self._crops: list[ContextCrop] = []

    def append(self, crop: ContextCrop) -> Cut:
        if self._writing is None:
            self._writing = (self.directory / f"cuts-{os.getpid()}").open("wb", buffering=0)
        images = [crop.pixels] if crop.half is None else [crop.pixels, crop.half]
        offset = self._writing.tell()
        for image in images:
            rest = image.data.cast("B")
            while rest:
                rest = rest[self._writing.write(rest) :]
        shapes = tuple(image.shape for image in images)
        return Cut(Path(self._writing.name).name, offset, shapes, crop.points, crop.box)

    def save(self, cuts: list[Cut]) -> None:
        """Write the index of all crops, for `load` in every process."""
        (self.directory / "index").write_bytes(pickle.dumps(cuts))

    def load(self) -> None:
        """Read the index and map the files into memory."""
        files: dict[str, Image] = {}
        for cut in pickle.loads((self.directory / "index").read_bytes()):
            if cut.file not in files:
                with (self.directory / cut.file).open("rb") as stream:
                    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                files[cut.file] = np.frombuffer(mapped, np.uint8)
            images, start = [], cut.offset
            for shape in cut.shapes:
                end = start + math.prod(shape)
                images.append(files[cut.file][start:end].reshape(shape))
                start = end
            self._crops.append(ContextCrop(images[0], cut.points, cut.box, *images[1:]))

    def close(self) -> None:
        """Close the files."""
        if self._writing is not None:
            self._writing.close()
        self._crops.clear()

    def __getitem__(self, index: int) -> ContextCrop:
        return self._crops[index]


class Slots:
    """Slots for encoded chunks in a mapped file, so that workers need not send them to the writer."""

    def __init__(self, directory: Path) -> None:
        self.slot_bytes = int((directory / "slot_bytes").read_text())
        with (directory / "slots").open("r+b") as stream:
            self._mapped = mmap.mmap(stream.fileno(), 0)

    def __getitem__(self, index: int) -> memoryview:
        return memoryview(self._mapped)[index * self.slot_bytes : (index + 1) * self.slot_bytes]

    @staticmethod
    def create(directory: Path, slots: int, slot_bytes: int) -> None:
        """Create the file of slots.

        Raises FaceAlignError when the disk is full: a process that wrote there later would be killed.
        """
        (directory / "slot_bytes").write_text(str(slot_bytes))
        with (directory / "slots").open("wb") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, slots * slot_bytes)
            except OSError as error:
                raise FaceAlignError(
                    f"{directory.parent}: cannot be written ({error.strerror}); is the disk full?"
                ) from error
