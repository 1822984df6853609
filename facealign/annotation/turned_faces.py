"""Training faces turned farther away from the viewer: how far, their image, their landmarks, and when none.

The landmarks of the turned face are those that the mesh has on the turned image, with the offset that the
annotation has from the mesh on the photo. Those inside the face are averaged with the annotated ones as the
surface carries them; those of its outline are not, as another part of the face is seen at its edge.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from facealign.annotation.mesh_map import percent_apart
from facealign.annotation.turned_mesh import CORNERS, TurnedMesh, head_yaw, turn_mesh
from facealign.arrays import FloatArray, Image
from facealign.geometry.boxes import landmark_box
from facealign.geometry.landmarks import LANDMARK_GROUPS

OUTLINE = LANDMARK_GROUPS["contour"]
INSIDE = slice(OUTLINE.stop, None)
EITHER_WAY = 8.0
"""Yaw, degrees, up to which a face is turned to either side; farther, it is turned on to its own side."""
FAR_FROM_ANNOTATION = 12.0
"""Distance of the mesh's landmarks from the annotated ones that is too much, % of the inter-pupil one."""
YAW_OFF = 10.0
"""Degrees by which the yaw of the mesh on the turned image may differ from the intended one."""
INSIDE_OFF, OUTLINE_OFF = 2.5, 5.0
"""How far two ways to turn the landmarks may differ, % of the diagonal of the landmarks' box."""
FARTHEST = 60.0
"""Largest yaw and turn, degrees: farther, the mesh on the turned image is not to be relied on."""
OFF_IMAGE = 8.0
"""Pixels by which a corner of the turned face may lie outside the image."""


class MeshPredictor(Protocol):
    """Predicts a face mesh, and the 68 landmarks that belong to one."""

    def mesh(self, image: Image, box: FloatArray) -> FloatArray | None:
        """The mesh (478, 3) of `turned_mesh` of the face in a box (4,) of an image; None: no face."""

    def landmarks(self, mesh: FloatArray) -> FloatArray:
        """Landmarks (68, 2) of a mesh (478, 3)."""


@dataclass(frozen=True)
class TurnSettings:
    """yaw: of turned faces, degrees, drawn evenly from this range; turn: the least and the most they turn.

    Raises ValueError for ranges that are not of rising angles from 0 to FARTHEST.
    """

    yaw: tuple[float, float] = (18.0, 42.0)
    turn: tuple[float, float] = (10.0, 35.0)

    def __post_init__(self) -> None:
        for name, (low, high) in (("yaw", self.yaw), ("turn", self.turn)):
            if not 0 <= low <= high <= FARTHEST:
                raise ValueError(
                    f"{name} is {low:g} to {high:g}, expected rising angles from 0 to {FARTHEST:g}"
                )


@dataclass(frozen=True)
class TurnedFace:
    """image: (h, w, 3); points: (68, 2), its landmarks; before, yaw: of the head, degrees."""

    image: Image
    points: FloatArray
    before: float
    yaw: float


def drawn_turn(yaw: float, settings: TurnSettings, rng: np.random.Generator) -> float | None:
    """Degrees by which to turn a face of this yaw away from the viewer, or None if it is turned enough.

    >>> drawn_turn(-20.0, TurnSettings(yaw=(40.0, 40.0)), np.random.default_rng(0))
    -20.0
    """
    side = np.sign(yaw) if abs(yaw) >= EITHER_WAY else rng.choice([-1.0, 1.0])
    already = yaw * side
    turn = float(np.clip(rng.uniform(*settings.yaw) - already, *settings.turn))
    if already + turn > settings.yaw[1] + 3:
        return None
    return float(side * turn)


def turned_face(
    image: Image,
    points: FloatArray,
    mesh: FloatArray,
    predictor: MeshPredictor,
    settings: TurnSettings,
    rng: np.random.Generator,
) -> TurnedFace | str:
    """An annotated face, turned; or, in a few words, why it is not.

    points: (68, 2), its annotation; mesh: (478, 3), of `predictor` on the image.
    """
    of_mesh = predictor.landmarks(mesh)
    if percent_apart(of_mesh, points) > FAR_FROM_ANNOTATION:
        return "mesh and annotation differ"
    yaw = head_yaw(mesh)
    degrees = drawn_turn(yaw, settings, rng)
    if degrees is None:
        return "turned enough"
    turned = turn_mesh(mesh, degrees)
    height, width = image.shape[:2]
    face = turned.after[:CORNERS, :2]
    if (face < -OFF_IMAGE).any() or (face > (width + OFF_IMAGE, height + OFF_IMAGE)).any():
        return "off the image"
    result = turned.image(image)
    seen = predictor.mesh(result, mesh_box(face))
    if seen is None:
        return "no mesh on the turned image"
    if abs(head_yaw(seen) - (yaw + degrees)) > YAW_OFF:
        return "another yaw than intended"
    landmarks = turned_landmarks(
        points, of_mesh, turned, predictor.landmarks(turned.mesh), predictor.landmarks(seen)
    )
    if landmarks is None:
        return "landmarks uncertain"
    return TurnedFace(result, landmarks, yaw, yaw + degrees)


def turned_landmarks(
    points: FloatArray, of_mesh: FloatArray, turned: TurnedMesh, of_turned: FloatArray, of_seen: FloatArray
) -> FloatArray | None:
    """Landmarks (68, 2) of a turned face, or None where the ways to get them differ too much.

    points: (68, 2), annotated on the photo; of_mesh, of_turned, of_seen: (68, 2), of the mesh there, of that
    mesh turned, and of the one predicted on the turned image.
    """
    offsets = turned.turned_offsets(points - of_mesh)
    landmarks = of_seen + offsets
    inside = turned.carried(points[INSIDE])
    low, high = landmark_box(landmarks).reshape(2, 2)
    diagonal = float(np.linalg.norm(high - low)) / 100
    if _mean_distance(landmarks[INSIDE], inside) > INSIDE_OFF * diagonal:
        return None
    if _mean_distance(landmarks[OUTLINE], (of_turned + offsets)[OUTLINE]) > OUTLINE_OFF * diagonal:
        return None
    landmarks[INSIDE] = (landmarks[INSIDE] + inside) / 2
    return landmarks


def mesh_box(corners: FloatArray) -> FloatArray:
    """The box (4,), as a detector gives it, of the corners (n, 2) of a mesh: without the upper forehead."""
    box = landmark_box(corners)
    box[1] += 0.1 * (box[3] - box[1])
    return box


def _mean_distance(first: FloatArray, second: FloatArray) -> float:
    return float(np.linalg.norm(first - second, axis=1).mean())
