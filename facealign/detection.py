"""Face detection by MTCNN (Zhang et al. 2016): three nets, each refining the boxes of the one before.

Inside, a box is given by its edges, pixel i reaching from i to i + 1; outside, by pixel centres, as
everywhere in the library: half a pixel less.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facealign import mtcnn_weights
from facealign.arrays import AnyArray, Float32Array, FloatArray, Image
from facealign.boxes import area, intersection, square
from facealign.engines.base import Engine
from facealign.engines.caffe_engine import CaffeEngine
from facealign.engines.choose import caffe_available
from facealign.engines.onnx_engine import OnnxEngine
from facealign.errors import FaceAlignError

CELL, STRIDE = 12, 2
"""PNet's window and the step between windows, in pixels of a level of the pyramid."""
LARGEST = 32766
"""The longest side of a picture, and of a map, that OpenCV's remap takes."""
BATCH = 512
"""Windows a net is given at once."""


@dataclass(frozen=True)
class MtcnnSettings:
    """min_face: side in pixels of the smallest face looked for; factor: between the pyramid's levels;
    thresholds: least score of each net.
    """

    min_face: float = 40.0
    factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)

    def __post_init__(self) -> None:
        """Raises ValueError on a setting out of range."""
        if not CELL <= self.min_face < np.inf:
            raise ValueError(f"min_face is {self.min_face}, expected {CELL} pixels or more")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}, expected a number between 0 and 1")
        if len(self.thresholds) != 3 or not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError(f"thresholds are {self.thresholds}, expected three from 0 to 1")


@dataclass(frozen=True)
class Detection:
    """A face: box (4,), score 0..1, and points (5, 2): eyes, tip of the nose, corners of the mouth."""

    box: FloatArray
    score: float
    points: FloatArray


@dataclass(frozen=True)
class Level:
    """The picture at one size, RGB as the nets see it, and that size relative to the original (x, y)."""

    pixels: Float32Array
    scale: FloatArray


class MtcnnDetector:
    """The cascade, run by any three engines."""

    def __init__(
        self, pnet: Engine, rnet: Engine, onet: Engine, settings: MtcnnSettings | None = None
    ) -> None:
        self.pnet, self.rnet, self.onet = pnet, rnet, onet
        self.settings = settings or MtcnnSettings()

    @classmethod
    def open(cls, engine: str = "auto", settings: MtcnnSettings | None = None) -> "MtcnnDetector":
        """A detector whose nets run in "caffe", "onnx" or, for "auto", in Caffe when it is installed.

        Raises FaceAlignError when the weights or the engine are not installed.
        """
        kind = ("caffe" if caffe_available() else "onnx") if engine == "auto" else engine
        with tempfile.TemporaryDirectory(prefix="mtcnn-") as temporary:
            folder = Path(temporary)
            mtcnn_weights.write(folder)

            def net(name: str) -> Engine:
                if kind == "caffe":
                    return CaffeEngine(folder / f"{name}.prototxt", folder / f"{name}.caffemodel")
                return OnnxEngine(folder / f"{name}.onnx")

            return cls(net("pnet"), net("rnet"), net("onet"), settings)

    def detect(self, image: Image) -> list[Detection]:
        """Every face of `image` (BGR, uint8 (h, w, 3)), best score first. Raises FaceAlignError otherwise."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise FaceAlignError(f"a picture of {image.dtype} {image.shape}: expected uint8 (h, w, 3)")
        levels = pyramid(image, self.settings)
        boxes = self._propose(levels)
        boxes = self._refine(levels, boxes)
        return self._finish(levels, boxes)

    def _propose(self, levels: list[Level]) -> FloatArray:
        """Stage 1: PNet over the levels on which it finds faces of min_face or more; square boxes (n, 4)."""
        found, scores = [np.empty((0, 8))], [np.empty(0)]
        largest = CELL / self.settings.min_face
        for level in levels:
            height, width = level.pixels.shape[:2]
            # The longer side's scale is the one that rounding to whole pixels changes least.
            scale = level.scale[int(height > width)]
            if scale > largest * 1.001 + 1 / max(height, width):
                continue
            answer = self.pnet.forward({"data": level.pixels.transpose(2, 0, 1)[None]})
            probability, offsets = answer["prob"][0, 1], answer["conv4-2"][0]
            rows, columns = np.nonzero(probability >= self.settings.thresholds[0])
            corner = STRIDE * np.column_stack([columns, rows]).astype(np.float64)
            boxes = np.hstack([corner, corner + CELL]) / np.tile(level.scale, 2)
            score = probability[rows, columns].astype(np.float64)
            kept = suppress(boxes, score, 0.5)
            regressed = regress(boxes[kept], offsets[:, rows[kept], columns[kept]].T)
            found.append(np.hstack([boxes[kept], regressed]))
            scores.append(score[kept])
        both, score = np.concatenate(found), np.concatenate(scores)
        # Overlap is judged on the windows, before regression, as in the authors' code.
        return square(both[suppress(both[:, :4], score, 0.7), 4:])

    def _refine(self, levels: list[Level], boxes: FloatArray) -> FloatArray:
        """Stage 2: RNet; square boxes (m, 4)."""
        answer = _run(self.rnet, levels, boxes, 24)
        score = answer["prob"][:, 1].astype(np.float64)
        good = np.flatnonzero(score >= self.settings.thresholds[1])
        kept = good[suppress(boxes[good], score[good], 0.7)]
        return square(regress(boxes[kept], answer["conv5-2"][kept]))

    def _finish(self, levels: list[Level], boxes: FloatArray) -> list[Detection]:
        """Stage 3: ONet, which also gives the five points."""
        answer = _run(self.onet, levels, boxes, 48)
        score = answer["prob"][:, 1].astype(np.float64)
        good = np.flatnonzero(score >= self.settings.thresholds[2])
        corner, side = boxes[good, :2], boxes[good, 2:] - boxes[good, :2]
        relative = answer["conv6-3"][good].astype(np.float64).reshape(-1, 2, 5).transpose(0, 2, 1)
        points = corner[:, None] + relative * side[:, None]
        final = regress(boxes[good], answer["conv6-2"][good])
        kept = suppress(final, score[good], 0.7, of_smaller=True)
        return [
            Detection(box=final[index] - 0.5, score=float(score[good[index]]), points=points[index] - 0.5)
            for index in kept
        ]


def pyramid(image: Image, settings: MtcnnSettings) -> list[Level]:
    """The levels, largest first, from about the original size down to where the picture's side is CELL.

    The steps are such that one level shows faces of min_face pixels at PNet's window of CELL pixels. No level
    is larger than OpenCV can sample from. Where the largest would show RNet less of the smallest faces than
    there is, the picture's own size comes before it.
    """
    height, width = image.shape[:2]
    base, step = math.log(CELL / settings.min_face), -math.log(settings.factor)
    high = min(1.0, LARGEST / max(height, width))
    exponents = np.arange(
        math.floor((base - math.log(high)) / step),
        math.ceil((base - math.log(CELL / min(height, width))) / step) + 1,
    )
    scales = CELL / settings.min_face * settings.factor**exponents
    scales = scales[(scales <= high) & (scales * min(height, width) >= CELL)]
    if len(scales) > 0 and scales[0] < min(high, 24 / settings.min_face):
        scales = np.concatenate([[high], scales])
    levels = []
    picture: AnyArray = image
    for scale in scales:
        size = (round(width * scale), round(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        pixels: Float32Array = (picture[:, :, ::-1].astype(np.float32) - np.float32(127.5)) / np.float32(128)
        levels.append(Level(pixels, np.array([size[0] / width, size[1] / height])))
    return levels


def _run(net: Engine, levels: list[Level], boxes: FloatArray, side: int) -> dict[str, Float32Array]:
    """The answers of RNet or ONet for square boxes (n, 4), each shown at `side` x `side` pixels."""
    if len(boxes) == 0:
        return {
            "prob": np.empty((0, 2), np.float32),
            **{name: np.empty((0, 4), np.float32) for name in ("conv5-2", "conv6-2")},
            "conv6-3": np.empty((0, 10), np.float32),
        }
    windows = cut(levels, boxes, side)
    answers = [
        net.forward({"data": windows[start : start + BATCH]}) for start in range(0, len(windows), BATCH)
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def cut(levels: list[Level], boxes: FloatArray, side: int) -> Float32Array:
    """The pictures (n, 3, side, side) in boxes (n, 4), edges in the original's pixels; black outside.

    Each is sampled from the smallest level that shows it at `side` pixels or more: no aliasing, one call a
    level.
    """
    scales = np.array([level.scale.mean() for level in levels])
    wanted = side / np.maximum(boxes[:, 2] - boxes[:, 0], 1e-6)
    chosen = np.maximum((scales[None] >= wanted[:, None]).sum(axis=1) - 1, 0)
    steps = (np.arange(side) + 0.5) / side
    result = np.empty((len(boxes), 3, side, side), np.float32)
    black = (-127.5 / 128,) * 3
    for index in np.unique(chosen):
        level = levels[index]
        members = np.flatnonzero(chosen == index)
        corner = boxes[members, :2] * level.scale
        extent = (boxes[members, 2:] - boxes[members, :2]) * level.scale
        x = corner[:, :1] + extent[:, :1] * steps - 0.5
        y = corner[:, 1:] + extent[:, 1:] * steps - 0.5
        n = len(members)
        map_x = np.broadcast_to(x[:, None, :], (n, side, side)).reshape(n * side, side).astype(np.float32)
        map_y = np.broadcast_to(y[:, :, None], (n, side, side)).reshape(n * side, side).astype(np.float32)
        rows = LARGEST // side * side
        parts = [
            cv2.remap(
                level.pixels,
                map_x[start : start + rows],
                map_y[start : start + rows],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=black,
            )
            for start in range(0, n * side, rows)
        ]
        result[members] = np.concatenate(parts).reshape(n, side, side, 3).transpose(0, 3, 1, 2)
    return result


def regress(boxes: FloatArray, offsets: AnyArray) -> FloatArray:
    """Boxes (n, 4) moved by a net's offsets (n, 4), which are fractions of width and height."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved: FloatArray = boxes + offsets.astype(np.float64) * sides
    return moved


def suppress(boxes: FloatArray, scores: FloatArray, limit: float, of_smaller: bool = False) -> AnyArray:
    """Indices of the boxes (n, 4) that remain, best score first, when each drops those that overlap it.

    A worse box is dropped when the common area exceeds `limit` of their union or, if `of_smaller`, of the
    smaller of both.
    """
    order = np.argsort(-scores, kind="stable")
    areas = area(boxes)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        common = intersection(boxes[best], boxes[rest])
        union = areas[best] + areas[rest] - common
        whole = np.minimum(areas[best], areas[rest]) if of_smaller else union
        order = rest[common <= limit * whole]
    return np.array(kept, dtype=np.intp)
