"""What the processes that write samples share: crops and encoded samples in mapped files."""

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
        self._crops: list[ContextCrop] = []

    def append(self, crop: ContextCrop) -> Cut:
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
            self._crops.append(ContextCrop(pictures[0], cut.points, cut.box, *pictures[1:]))

    def close(self) -> None:
        """Let go of the files."""
        if self._writing is not None:
            self._writing.close()
        self._crops.clear()

    def __getitem__(self, index: int) -> ContextCrop:
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
