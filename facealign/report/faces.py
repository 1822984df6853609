"""The faces that a report shows: the worst of each evaluation and some at random, each in its own square."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.datasets.sample import NAME_300W
from facealign.evaluation.figures import face_size
from facealign.geometry.affine import warp
from facealign.geometry.boxes import landmark_box, overlap, square
from facealign.geometry.head_pose import Pose, head_pose

NUMBER, SEED = 50, 0
"""How many faces of each kind are shown, and the seed of the random ones."""
MARGIN, FARTHEST = 1.25, 2.5
"""Side of a face's square: over that of all its landmarks', and at most over that of the annotated ones'."""
LARGEST_CROP = 320
"""Side of the embedded images, pixels; smaller faces are not enlarged."""
QUALITY = 82
"""Of the JPEG files."""
SAME = 0.05
"""Annotations that differ by less than this, pixels, are the same."""


@dataclass(frozen=True)
class ShownFace:
    """A face of the report.

    path: `Sample.relative`; folder: see `folder_of`; random: whether it is one of the random
    ones; worst: indices of the evaluations of whose worst faces it is one; errors: for each evaluation, in %
    by normaliser (None: missed or not measured); missed: for each evaluation, whether it was missed.
    Of an evaluation of an earlier version there are no landmarks: truth and frame are None.
    """

    path: str
    folder: str
    random: bool
    worst: tuple[int, ...]
    errors: tuple[Mapping[str, float] | None, ...]
    missed: tuple[bool, ...]
    truth: FloatArray | None
    predicted: tuple[FloatArray | None, ...]
    overlaps: tuple[float | None, ...]
    frame: FloatArray | None

    @property
    def pose(self) -> Pose | None:
        """Head pose by the annotated landmarks."""
        return None if self.truth is None else head_pose(self.truth)

    @property
    def size(self) -> float | None:
        """Longer side of the annotated landmarks' bounding box, pixels."""
        return None if self.truth is None else face_size(self.truth)


def shown_faces(
    evaluations: Sequence[Mapping[str, Any]], number: int = NUMBER, seed: int = SEED
) -> list[ShownFace]:
    """The `number` worst faces of each evaluation, those of the first in front, and as many at random.

    The worst are those missed, then those of the largest inter-pupil error. The random ones are drawn, by the
    seed, from all faces of all evaluations: the same for the same faces, whatever their errors.
    """
    worst = [worst_of(evaluation["errors"], number) for evaluation in evaluations]
    everything = sorted({path for evaluation in evaluations for path in evaluation["errors"]})
    drawn = np.random.default_rng(seed).permutation(len(everything))[:number]
    random = sorted(everything[index] for index in drawn)
    order = dict.fromkeys([path for paths in worst for path in paths] + random)
    picked = set(random)
    members = [set(paths) for paths in worst]
    return [
        _face(
            path,
            evaluations,
            path in picked,
            tuple(index for index, paths in enumerate(members) if path in paths),
        )
        for path in order
    ]


def worst_of(errors: Mapping[str, Mapping[str, float] | None], number: int) -> list[str]:
    """Paths of the `number` worst faces, worst first.

    >>> worst_of({"a": {"inter_pupil": 3.0}, "b": None, "c": {"inter_pupil": 5.0}}, 2)
    ['b', 'c']
    """

    def badness(path: str) -> tuple[float, str]:
        error = errors[path]
        return (-np.inf if error is None else -error["inter_pupil"], path)

    return sorted(errors, key=badness)[:number]


def _face(
    path: str, evaluations: Sequence[Mapping[str, Any]], random: bool, worst: tuple[int, ...]
) -> ShownFace:
    """All that the evaluations know of a face."""
    known = [evaluation.get("faces", {}).get(path) for evaluation in evaluations]
    truth = next((np.array(face["truth"]) for face in known if face is not None), None)
    predicted: list[FloatArray | None] = []
    overlaps: list[float | None] = []
    for face in known:
        # Another evaluation's photo may be another copy, of another size: its pixels would not be these.
        same = face is not None and truth is not None and np.allclose(face["truth"], truth, atol=SAME, rtol=0)
        found = same and face["predicted"] is not None
        predicted.append(np.array(face["predicted"]) if found else None)
        overlaps.append(None if face is None or face["box"] is None else _overlap(face["box"], face["truth"]))
    return ShownFace(
        path=path,
        folder=folder_of(path),
        random=random,
        worst=worst,
        errors=tuple(evaluation["errors"].get(path) for evaluation in evaluations),
        missed=tuple(
            path in evaluation["errors"] and evaluation["errors"][path] is None for evaluation in evaluations
        ),
        truth=truth,
        predicted=tuple(predicted),
        overlaps=tuple(overlaps),
        frame=None if truth is None else frame(truth, [one for one in predicted if one is not None]),
    )


def _overlap(box: Sequence[float], truth: Sequence[Sequence[float]]) -> float:
    return float(overlap(np.array(box), landmark_box(np.array(truth))))


def folder_of(path: str) -> str:
    """The folder that a face is in, without 300-W's own name; "" for a file by itself.

    >>> folder_of("300w/helen/trainset/1.jpg")
    'helen/trainset'
    """
    return path.rpartition("/")[0].removeprefix(f"{NAME_300W}/")


def frame(truth: FloatArray, predicted: Sequence[FloatArray]) -> FloatArray:
    """The square (4,) of the photo, x1 y1 x2 y2, that shows a face: its landmarks and all predicted ones.

    Landmarks predicted far off the face do not widen it further than FARTHEST times the face.

    >>> frame(np.array([[0.0, 0.0], [80.0, 80.0]]), [])
    array([-10., -10.,  90.,  90.])
    """
    everything = landmark_box(np.concatenate([truth, *predicted]))
    wide, most = square(everything, MARGIN), square(landmark_box(truth), FARTHEST)
    return wide if wide[2] - wide[0] <= most[2] - most[0] else most


def crop(image: Image, square_: FloatArray) -> bytes:
    """A JPEG file of the square (4,) of an image (h, w, 3), LARGEST_CROP pixels wide at most.

    What is outside the image is black.
    """
    x1, y1, x2, _ = square_.tolist()
    side = int(np.clip(np.ceil(x2 - x1), 16, LARGEST_CROP))
    scale = side / (x2 - x1)
    # The first pixel's centre is half a pixel inside the square.
    affine = np.array([[scale, 0.0, -0.5 - scale * x1], [0.0, scale, -0.5 - scale * y1]])
    done, file = cv2.imencode(".jpg", warp(image, affine, (side, side)), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return file.tobytes()
