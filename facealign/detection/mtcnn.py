"""Face detection by MTCNN (Zhang et al. 2016): three nets, each refining the boxes of the one before.

Inside this module boxes are in edge coordinates, in which pixel i reaches from i to i + 1. Those returned are
in pixel centres, as everywhere in the library: half a pixel less.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from facealign.arrays import AnyArray, Float32Array, FloatArray, Image, check_image
from facealign.detection import mtcnn_weights
from facealign.engines.caffe import CaffeEngine
from facealign.engines.engine import Batched, Engine
from facealign.engines.onnx import OnnxEngine
from facealign.engines.onnx_file import OnnxFileEngine
from facealign.engines.opening import onnx_engine, our_caffe_available
from facealign.geometry.boxes import area, intersection, square
from facealign.io.unfinished import temporary_folder

CELL, STRIDE = 12, 2
"""Side of PNet's window and the step between windows, in pixels of a pyramid level."""
LARGEST = 32766
"""Longest side of an image, and of a map, that OpenCV's remap accepts."""
BATCH = {"rnet": 32, "onet": 8}
"""Windows that OpenCV runs at a time: as many as keep a net's feature maps in the processor's cache."""
CAFFE_BATCH = 256
"""The same for Caffe, which computes them one by one and stores only inputs and outputs."""
FAR = 2.0**30
"""More pixels than any image is wide."""
BLOCK = 128
"""Boxes compared with each other at a time."""


@dataclass(frozen=True)
class MtcnnSettings:
    """Settings of the detector.

    min_face: side of the smallest windows that PNet searches, 12 pixels or more (`minsize` of the authors);
    boxes are not filtered by it, and that of a face may be smaller, as the nets move the window's edges to
    those of the face; factor: between the sizes of successive pyramid levels, between 0 and 1; thresholds:
    lowest score accepted by each net, 0..1; unsure: fraction 0..1 of ONet's threshold from which a window is
    evaluated a second time (1: none is).
    """

    min_face: float = 40.0
    factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    unsure: float = 0.6

    def __post_init__(self) -> None:
        """Raises ValueError on a setting out of range."""
        if not CELL <= self.min_face < np.inf:
            raise ValueError(f"min_face is {self.min_face}, expected {CELL} pixels or more")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}, expected a number between 0 and 1")
        if len(self.thresholds) != 3 or not all(0 <= value <= 1 for value in self.thresholds):
            raise ValueError(f"thresholds are {self.thresholds}, expected three from 0 to 1")
        if not 0 <= self.unsure <= 1:
            raise ValueError(f"unsure is {self.unsure}, expected a number from 0 to 1")


@dataclass(frozen=True)
class Detection:
    """A detected face: box (4,), score 0..1, and points (5, 2): eyes, tip of the nose, mouth corners."""

    box: FloatArray
    score: float
    points: FloatArray


@dataclass(frozen=True)
class Level:
    """The image at one size, BGR (h, w, 3), and that size relative to the original (x, y)."""

    pixels: AnyArray
    scale: FloatArray

    @cached_property
    def as_float(self) -> Float32Array:
        """The pixels as float32, so that samples between them are not rounded to whole grey levels."""
        return self.pixels.astype(np.float32)


class MtcnnDetector:
    """The MTCNN cascade, run by any three engines."""

    def __init__(
        self, pnet: Engine, rnet: Engine, onet: Engine, settings: MtcnnSettings | None = None
    ) -> None:
        self.pnet, self.rnet, self.onet = pnet, rnet, onet
        self.settings = settings or MtcnnSettings()

    @classmethod
    def open(cls, engine: str = "auto", settings: MtcnnSettings | None = None) -> "MtcnnDetector":
        """A detector whose nets are run by an engine of `opening.KINDS`.

        "auto" is "caffe", the fastest one, if this project's Caffe is installed, and else "onnx"; all give
        the same boxes within rounding. Raises FaceAlignError when weights or engine are not installed.
        """
        if engine == "auto":
            engine = "caffe" if our_caffe_available() else "onnx"
        with temporary_folder() as folder:
            mtcnn_weights.write(folder)

            def net(name: str) -> Engine:
                if engine == "caffe":
                    caffe = CaffeEngine(folder / f"{name}.prototxt", folder / f"{name}.caffemodel")
                    return Batched(caffe, CAFFE_BATCH)
                file = folder / f"{name}.onnx"  # made by us, so it needs no trial
                if engine == "onnx":
                    onnx: OnnxFileEngine = OnnxEngine(file, classic=True, tried=True)
                else:
                    onnx = onnx_engine(engine)(file, tried=True)
                return Batched(onnx, BATCH[name]) if name in BATCH else onnx

            return cls(net("pnet"), net("rnet"), net("onet"), settings)

    def detect(self, image: Image) -> list[Detection]:
        """The faces of an image, best score first; boxes and points in its 0-based pixels.

        image: BGR uint8 (h, w, 3), not empty. Raises FaceAlignError on any other array.
        """
        sources = halves(check_image(image))
        boxes = self._propose(pyramid(sources, self.settings))
        sampled = [level for level in sources if max(level.pixels.shape) <= LARGEST]
        boxes = self._refine(sampled, boxes)
        return self._finish(sampled, boxes)

    def _propose(self, levels: list[Level]) -> FloatArray:
        """Stage 1: PNet over the levels; square boxes (n, 4)."""
        windows, boxes, scores, offsets = [], [], [], []
        for index, level in enumerate(levels):
            outputs = self.pnet.forward({"data": as_seen(level.pixels[None])})
            probability = outputs["prob"][0, 1]
            rows, columns = np.nonzero(probability >= self.settings.thresholds[0])
            if len(rows) == 0:
                continue
            corner = STRIDE * np.column_stack([columns, rows]).astype(np.float64)
            window = np.hstack([corner, corner + CELL])
            boxes.append(window / np.tile(level.scale, 2))
            # Moved far from those of the other levels, so that they do not overlap.
            windows.append(window + index * FAR)
            scores.append(probability[rows, columns].astype(np.float64))
            offsets.append(outputs["conv4-2"][0][:, rows, columns].T)
        if not boxes:
            return np.empty((0, 4))
        score = np.concatenate(scores)
        kept = suppress(np.concatenate(windows), score, 0.5)
        box, offset, score = np.concatenate(boxes)[kept], np.concatenate(offsets)[kept], score[kept]
        # Overlap is computed on the windows, before regression, as in the authors' code.
        kept = suppress(box, score, 0.7)
        return square(regress(box[kept], offset[kept]))

    def _refine(self, levels: list[Level], boxes: FloatArray) -> FloatArray:
        """Stage 2: RNet; square boxes (m, 4), best score first."""
        outputs = _run(self.rnet, levels, boxes, 24)
        score = outputs["prob"][:, 1].astype(np.float64)
        good = np.flatnonzero(score >= self.settings.thresholds[1])
        kept = good[suppress(boxes[good], score[good], 0.7)]
        return square(regress(boxes[kept], outputs["conv5-2"][kept]))

    def _finish(self, levels: list[Level], boxes: FloatArray) -> list[Detection]:
        """Stage 3: ONet, which also gives the five points; `boxes` (m, 4), best first.

        RNet moves the windows of a face to one place. Of these the best is evaluated first, and the others
        only if it is no face: this saves most of the stage's time and loses no face. A window for which ONet
        is unsure (see MtcnnSettings) and that overlaps no face found is evaluated again where ONet's
        regression moves it: this finds faces off the window's centre.
        """
        least = self.settings.thresholds[2]
        best = suppress(boxes, -np.arange(len(boxes), dtype=np.float64), 0.7)
        outputs = _run(self.onet, levels, boxes[best], 48)
        faces = best[outputs["prob"][:, 1] >= least]
        others = np.setdiff1d(np.arange(len(boxes)), best)
        others = others[~_overlapping(boxes[faces], boxes[others], 0.7, False).any(axis=0)]
        outputs = _joined(outputs, _run(self.onet, levels, boxes[others], 48))
        boxes = boxes[np.concatenate([best, others])]

        score = outputs["prob"][:, 1].astype(np.float64)
        unsure = (score >= self.settings.unsure * least) & (score < least)
        moved = square(regress(boxes[unsure], outputs["conv6-2"][unsure]))
        moved = moved[~_overlapping(boxes[score >= least], moved, 0.3, False).any(axis=0)]
        outputs = _joined(outputs, _run(self.onet, levels, moved, 48))
        boxes = np.concatenate([boxes, moved])

        score = outputs["prob"][:, 1].astype(np.float64)
        good = np.flatnonzero(score >= least)
        corner, side = boxes[good, :2], boxes[good, 2:] - boxes[good, :2]
        relative = outputs["conv6-3"][good].astype(np.float64).reshape(-1, 2, 5).transpose(0, 2, 1)
        points = corner[:, None] + relative * side[:, None]
        final = regress(boxes[good], outputs["conv6-2"][good])
        kept = suppress(final, score[good], 0.7, of_smaller=True)
        return [
            Detection(box=final[index] - 0.5, score=float(score[good[index]]), points=points[index] - 0.5)
            for index in kept
        ]


def halves(image: Image) -> list[Level]:
    """The image, then half of it, and so on, as long as its sides have CELL pixels."""
    height, width = image.shape[:2]
    levels = [Level(image, np.ones(2))]
    while min(height, width) >= 2 * CELL:
        height, width = (height + 1) // 2, (width + 1) // 2
        pixels = levels[-1].pixels
        if pixels.shape[:2] != (2 * height, 2 * width):
            pixels = cv2.resize(pixels, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        # INTER_AREA is fast when it averages exactly 2 x 2 pixels.
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        levels.append(Level(pixels, np.array([width / image.shape[1], height / image.shape[0]])))
    return levels


def pyramid(sources: list[Level], settings: MtcnnSettings) -> list[Level]:
    """PNet's pyramid, largest level first: CELL pixels are windows of min_face pixels, then of larger ones.

    sources: from `halves`; each level is interpolated from the next larger one of them. No level is larger
    than OpenCV can sample from, or has a side shorter than CELL.
    """
    height, width = sources[0].pixels.shape[:2]
    base, step = CELL / settings.min_face, settings.factor
    levels = []
    exponent = max(0, math.ceil(math.log(LARGEST / max(height, width) / base) / math.log(step)))
    while (scale := base * step**exponent) * min(height, width) >= CELL:
        size = (round(width * scale), round(height * scale))
        source = next(
            one.pixels
            for one in reversed(sources)
            if one.pixels.shape[1] >= size[0] and one.pixels.shape[0] >= size[1]
        )
        pixels = cv2.resize(source, size, interpolation=cv2.INTER_LINEAR)
        levels.append(Level(pixels, np.array([size[0] / width, size[1] / height])))
        exponent += 1
    return levels


def as_seen(images: AnyArray) -> Float32Array:
    """Input (n, 3, h, w) of the nets, RGB and (value - 127.5) / 128, for BGR images (n, h, w, 3)."""
    n, height, width, _ = images.shape
    result = np.empty((n, 3, height, width), np.float32)
    for channel, plane in zip((2, 1, 0), cv2.split(images.reshape(n * height, width, 3)), strict=True):
        result[:, channel] = np.asarray(plane).reshape(n, height, width)
    result -= np.float32(127.5)
    result *= np.float32(1 / 128)
    return result


def _run(net: Engine, levels: list[Level], boxes: FloatArray, side: int) -> dict[str, Float32Array]:
    """Outputs of RNet or ONet for square boxes (n, 4), each shown at `side` x `side` pixels."""
    if len(boxes) == 0:
        return {
            "prob": np.empty((0, 2), np.float32),
            **{name: np.empty((0, 4), np.float32) for name in ("conv5-2", "conv6-2")},
            "conv6-3": np.empty((0, 10), np.float32),
        }
    return net.forward({"data": cut(levels, boxes, side)})


def _joined(outputs: dict[str, Float32Array], more: dict[str, Float32Array]) -> dict[str, Float32Array]:
    """The outputs for some windows, then those for others."""
    return {name: np.concatenate([values, more[name]]) for name, values in outputs.items()}


def cut(levels: list[Level], boxes: FloatArray, side: int) -> Float32Array:
    """Net inputs (n, 3, side, side) cut from boxes (n, 4), in edge coordinates of the image; black outside.

    Each is sampled from the smallest level that shows it at `side` pixels or more, which avoids aliasing, in
    one call a level.
    """
    scales = np.array([level.scale for level in levels])
    wanted = side / np.maximum(boxes[:, 2] - boxes[:, 0], 1e-6)
    chosen = np.maximum((scales.mean(axis=1)[None] >= wanted[:, None]).sum(axis=1) - 1, 0)
    n = len(boxes)
    corner = boxes[:, :2] * scales[chosen]
    step = (boxes[:, 2:] - boxes[:, :2]) * scales[chosen] / side
    places = corner[:, None] + (np.arange(side)[:, None] + 0.5) * step[:, None] - 0.5
    maps = np.empty((2, n, side, side), np.float32)
    maps[0] = places[:, None, :, 0]
    maps[1] = places[:, :, None, 1]
    result = np.empty((n, side, side, 3), np.float32)
    rows = LARGEST // side
    for index in np.unique(chosen):
        members = np.flatnonzero(chosen == index)
        for start in range(0, len(members), rows):
            part = members[start : start + rows]
            x, y = maps[:, part].reshape(2, len(part) * side, side)
            sampled = cv2.remap(
                levels[index].as_float, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
            )
            result[part] = sampled.reshape(len(part), side, side, 3)
    return as_seen(result)


def regress(boxes: FloatArray, offsets: AnyArray) -> FloatArray:
    """Boxes (n, 4) moved by a net's offsets (n, 4), fractions of width and height."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved: FloatArray = boxes + offsets.astype(np.float64) * sides
    return moved


def suppress(boxes: FloatArray, scores: FloatArray, limit: float, of_smaller: bool = False) -> AnyArray:
    """Non-maximum suppression: indices of the boxes (n, 4) that remain, best score first.

    A box is dropped when its common area with a better one that remains exceeds `limit` (0..1) of their union
    or, if `of_smaller`, of the smaller of the two. scores: (n,).

    >>> boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    >>> suppress(boxes, np.array([0.8, 0.9, 0.7]), limit=0.5)
    array([1, 2])
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        block, order = order[:BLOCK], order[BLOCK:]
        clear = ~_overlapping(boxes[block], boxes[block], limit, of_smaller)
        remaining = np.ones(len(block), dtype=bool)
        for index in range(len(block)):
            if remaining[index]:
                remaining[index + 1 :] &= clear[index, index + 1 :]
        kept.append(block[remaining])
        if len(order):
            dropped = _overlapping(boxes[block[remaining]], boxes[order], limit, of_smaller).any(axis=0)
            order = order[~dropped]
    return np.concatenate(kept) if kept else np.empty(0, dtype=np.intp)


def _overlapping(boxes: FloatArray, others: FloatArray, limit: float, of_smaller: bool) -> AnyArray:
    """Whether boxes (n, 4) overlap others (m, 4) by more than the limit, (n, m); see `suppress`."""
    common = intersection(boxes[:, None], others[None])
    areas, others_areas = area(boxes)[:, None], area(others)[None]
    whole = np.minimum(areas, others_areas) if of_smaller else areas + others_areas - common
    overlapping: AnyArray = common > limit * whole
    return overlapping
