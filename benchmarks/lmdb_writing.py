"""Augmented samples into paired LMDBs, from photos to files on disk: ours, albumentations + lmdb."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.lmdb_photos import make_photos
from benchmarks.measure import PEERS_PYTHON, ROOT, ROUNDS, Measurement, Peer, interleave
from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError
from facealign.lmdb.jobs import Job, PartRequest, SampleSettings
from facealign.lmdb.sample_writer import write_training_part

Item = TypeVar("Item")

WORK = ROOT / "build" / "bench" / "lmdb"
FACES, COPIES, WORKERS = 2000, 30, 2
GROWTH = {1_000: 10, 100_000: 1000}
"""Samples -> of how many faces: a hundred of each, in a small set as in a large one."""
LONGEST, GROWTH_ROUNDS = 5, 3
"""Rounds at most: a call takes seconds, and 15 or more of the peer."""


def run(rounds: int = ROUNDS) -> list[Measurement]:
    ours, theirs = "benchmarks.lmdb_writing:ours", "benchmarks.lmdb_albumentations:writing"
    found = interleave(
        f"LMDB writing, {WORKERS} workers",
        [
            _peer("facealign", ours, FACES, COPIES),
            _peer("albumentations + lmdb", theirs, FACES, COPIES, python=PEERS_PYTHON),
        ],
        threads=1,
        rounds=min(rounds, LONGEST),
    )
    for samples, faces in GROWTH.items():
        found += interleave(
            f"LMDB writing, {samples} samples",
            [_peer("facealign", ours, faces, samples // faces)],
            threads=1,
            rounds=min(rounds, GROWTH_ROUNDS),
        )
    return found


def _peer(name: str, make: str, faces: int, copies: int, python: Path | None = None) -> Peer:
    arguments = {
        "listed": str(make_photos(WORK / "photos", faces)),
        "copies": copies,
        "workers": WORKERS,
        "directory": str(WORK / name.replace(" ", "")),
    }
    return Peer(name, make, arguments, units=faces * copies, processes=WORKERS, python=python)


def ours(listed: str, copies: int, workers: int, directory: str) -> Callable[[], object]:
    """Makes `copies` samples of every face in `listed` anew with each call, into LMDBs in `directory`."""
    photos, place = Path(listed).parent, Path(directory)
    jobs = [
        Job(
            Sample(photos / name, np.array(face["points"]), "photos", name, name),
            np.array(face["box"]),
            "mtcnn",
        )
        for name, face in json.loads(Path(listed).read_text(encoding="utf-8")).items()
    ]
    recipe = SampleSettings(ModelSpec(), Augmentation(), 0)

    def write() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_training_part(PartRequest(place, "train", jobs, recipe, workers, as_they_are, fail), copies)

    return write


def as_they_are(items: Iterator[Item], total: int, what: str) -> Iterator[Item]:
    return items


def fail(error: FaceAlignError) -> None:
    raise error
