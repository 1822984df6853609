"""The mean error of each landmark, drawn on the mean face."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facealign.arrays import FloatArray
from facealign.evaluation.figures import VALIDATION
from facealign.evaluation.metrics import point_errors
from facealign.geometry.landmarks import LANDMARK_GROUPS, inter_pupil
from facealign.geometry.similarity import mean_shape

SIDE, MARGIN = 300, 0.08
"""Side of the drawing, and room around the mean face as a fraction of it."""
CLASSES = (3.0, 5.0, 7.0, 10.0)
"""Errors, % of the inter-pupil distance, at which the colour of a landmark changes."""
LINES = (
    (range(17), False),
    (range(17, 22), False),
    (range(22, 27), False),
    (range(27, 31), False),
    (range(31, 36), False),
    (range(36, 42), True),
    (range(42, 48), True),
    (range(48, 60), True),
    (range(60, 68), True),
)
"""Landmarks that a line joins, and whether it is closed."""


@dataclass(frozen=True)
class LandmarkErrors:
    """Mean error of each landmark over an evaluation's faces.

    faces: how many; errors: (68,), % of the inter-pupil distance; shape: (68, 2), the mean face in a drawing
    of SIDE; radii: (68,), the errors at the scale of the mean face.
    """

    faces: int
    errors: FloatArray
    shape: FloatArray
    radii: FloatArray

    @property
    def classes(self) -> list[int]:
        """Class of each landmark's error, 0 the smallest, by CLASSES."""
        return [int(place) for place in np.searchsorted(CLASSES, self.errors, side="right")]

    @property
    def groups(self) -> list[str]:
        """Name of each landmark's group."""
        return [name for name, members in LANDMARK_GROUPS.items() for _ in range(68)[members]]

    @property
    def lines(self) -> list[str]:
        """The mean face's outline, as paths of SVG."""
        return [
            "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in self.shape[list(members)]) + "Z" * closed
            for members, closed in LINES
        ]


def landmark_errors(evaluation: Mapping[str, Any]) -> LandmarkErrors | None:
    """The errors over the validation part, or else over all faces; None where no landmarks are known."""
    faces = evaluation.get("faces", {})
    members = evaluation["members"].get(VALIDATION, list(faces))
    found = [faces[path] for path in members if path in faces and faces[path]["predicted"] is not None]
    if not found:
        return None
    truth = np.array([face["truth"] for face in found])
    predicted = np.array([face["predicted"] for face in found])
    distances = point_errors(predicted, truth) / inter_pupil(truth)[:, None]
    errors = 100 * distances.mean(axis=0)
    shape = mean_shape(truth, (SIDE, SIDE), MARGIN)
    return LandmarkErrors(len(found), errors, shape, errors / 100 * float(inter_pupil(shape)))
