"""The peer of facealign make-lmdb: the same samples as well as albumentations and lmdb alone make them.

As much is done once as can be: each photo is read, cut and scaled once, so that one Affine and a cut of its
middle give the sample; the flipped cut is made once too. Runs in the peers' environment: no facealign here.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import albumentations as A  # noqa: N812, its users' name for it
import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray

SIDE = 64
LOOSE = 128
"""Side of the picture from which a sample is cut: what shift and rotation can bring into it."""
SCALE, SHIFT_X, SHIFT_Y = 1.05, 0.02, 0.09
CHUNK = 256
# A Datum's fields: channels, height, width, and what comes after them.
IMAGE = b"\x08\x03\x10\x40\x18\x40\x22\x80\x60"
LANDMARKS = b"\x08\x88\x01\x10\x01\x18\x01"
PAIRS = [
    *((i, 16 - i) for i in range(8)),
    *((17 + i, 26 - i) for i in range(5)),
    *((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
]
MIRROR = np.arange(68)
for one, other in PAIRS:
    MIRROR[one], MIRROR[other] = other, one

Cut = tuple[NDArray[np.uint8], NDArray[np.float64]]
_cuts: list[tuple[Cut, Cut]] = []
_varied: A.Compose | None = None


def writing(listed: str, copies: int, workers: int, directory: str) -> Callable[[], object]:
    """Makes `copies` samples of every face in `listed` anew with each call, into LMDBs in `directory`."""
    faces = [
        (str(Path(listed).parent / name), face["points"], face["box"])
        for name, face in json.loads(Path(listed).read_text(encoding="utf-8")).items()
    ]
    cv2.setNumThreads(1)
    place = Path(directory)

    def write() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        context = multiprocessing.get_context("fork")
        with context.Pool(workers) as pool:
            _cuts[:] = pool.map(cut, faces, chunksize=16)
        order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(faces)), copies))
        chunks = [(start, order[start : start + CHUNK].tolist()) for start in range(0, len(order), CHUNK)]
        room = len(order) * 40_000 + (1 << 22)
        with (
            context.Pool(workers) as pool,
            lmdb.open(str(place / "train_images"), map_size=room, sync=False, metasync=False) as images,
            lmdb.open(str(place / "train_landmarks"), map_size=room, sync=False, metasync=False) as landmarks,
        ):
            for start, samples in zip(range(0, len(order), CHUNK), pool.imap(vary, chunks), strict=True):
                with images.begin(write=True) as first, landmarks.begin(write=True) as second:
                    for index, (image, values) in enumerate(samples, start):
                        key = b"%09d" % index
                        first.put(key, image, append=True)
                        second.put(key, values, append=True)
            images.sync(True)
            landmarks.sync(True)

    return write


def cut(face: tuple[str, list[list[float]], list[float]]) -> tuple[Cut, Cut]:
    """A photo's face and what is around it, LOOSE pixels wide, its crop the middle SIDE; and its mirror."""
    path, points, box = face
    image = cv2.imread(path)
    assert image is not None
    side = max(box[2] - box[0], box[3] - box[1])
    zoom = SIDE / (SCALE * side)
    middle = (LOOSE - 1) / 2
    offset = (
        middle - zoom * ((box[0] + box[2]) / 2 + SHIFT_X * side),
        middle - zoom * ((box[1] + box[3]) / 2 + SHIFT_Y * side),
    )
    affine = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    loose = np.asarray(cv2.warpAffine(image, affine, (LOOSE, LOOSE)), np.uint8)
    moved = np.array(points) * zoom + offset
    mirrored = (moved * (-1, 1) + (LOOSE - 1, 0))[MIRROR]
    return (loose, moved), (np.ascontiguousarray(loose[:, ::-1]), mirrored)


def vary(chunk: tuple[int, list[int]]) -> list[tuple[bytes, bytes]]:
    """The encoded samples of the faces of a chunk."""
    global _varied
    start, faces = chunk
    cv2.setNumThreads(1)
    if _varied is None:
        _varied = A.Compose(
            [
                A.Affine(
                    scale=(0.9, 1.15),
                    translate_percent=(-0.08 * SIDE / LOOSE, 0.08 * SIDE / LOOSE),
                    rotate=(-30, 30),
                    p=1,
                ),
                A.CenterCrop(SIDE, SIDE),
                A.GaussNoise(std_range=(0, 6 / 255), p=1),
            ],
            keypoint_params=A.KeypointParams("xy", remove_invisible=False),
        )
    _varied.set_random_seed(start)
    flips = np.random.default_rng(start).random(len(faces)) < 0.5
    samples = []
    tagged = np.zeros((136, 5), np.uint8)
    tagged[:, 0] = 0x35
    for face, flip in zip(faces, flips, strict=True):
        image, points = _cuts[face][int(flip)]
        made = _varied(image=image, keypoints=points)
        data = np.ascontiguousarray(made["image"].transpose(2, 0, 1)).tobytes()
        values = ((np.asarray(made["keypoints"]) + 1) / SIDE).T.astype("<f4").ravel()
        tagged[:, 1:] = values.view(np.uint8).reshape(136, 4)
        samples.append((IMAGE + data, LANDMARKS + tagged.tobytes()))
    return samples
