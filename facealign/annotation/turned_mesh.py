"""A face turned by its own shape in depth, as 300W-LP's were: mediapipe's face mesh, and its surroundings.

The mesh is (478, 3): x right and y down in pixels of the image, z away from the viewer in the same unit,
larger by 1.15 than mediapipe gives it (`DEPTH`). 468 points are corners of the surface, ten lie on the
irises. Around the face, the surface goes on in rings: the head, which recedes, then the background, which
stays.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from facealign.arrays import FloatArray, Image, IntArray
from facealign.geometry.surface import carry, outline, rotate, rotation_matrix
from facealign.geometry.surface_warp import warp_surface

CORNERS = 468
"""Points of the mesh that are corners of its surface; they come first."""
DEPTH = 1.15
"""What mediapipe's depth is multiplied by. Measured on 1,512 annotated faces of 300-W: the farther the tip of
the nose is from the middle between the eyes, the closer together the eyes are. Faces turned with the depth as
it comes lie beside that curve, with 1.25 times the depth on its other side.
"""
_LEFT = (234, 127, 93, 132, 58, 33, 61, 133, 98, 70)
_RIGHT = (454, 356, 323, 361, 288, 263, 291, 362, 327, 300)
"""Points of the mesh at the face's left side in the image, and their mirror images: outline, eyes, mouth."""
_TOP, _CHIN = 10, 152
_HEAD, _STILL = 1.22, 1.9
"""Rings around the face, by their size as a multiple of its outline: the head, and what stays where it is."""
_HEAD_BEHIND = 0.45
"""Depth of the first ring behind the outline, in widths of the face."""
_AXIS_BEHIND = 0.1
"""Depth of the axis behind the middle between the ears, likewise."""
_TRIANGLES = Path(__file__).with_name("face_mesh_triangles.txt")


@dataclass(frozen=True)
class Surface:
    """Triangles (t, 3) and layers (t,), as `warp_surface` takes them, and the outline (k,) of the face."""

    triangles: IntArray
    layers: IntArray
    outline: IntArray


@cache
def surface() -> Surface:
    """The surface of a face and of its surroundings, whose corners follow those of the mesh, ring by ring."""
    words = _TRIANGLES.read_text(encoding="ascii").split()
    face = np.array([word.split(",") for word in words], dtype=np.int_)
    rim = outline(face)
    head = CORNERS + np.arange(len(rim))
    parts = [_strip(head, head + len(rim)), _strip(rim, head), face]
    layers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Surface(np.vstack(parts), layers, rim)


def _strip(inner: IntArray, outer: IntArray) -> IntArray:
    """Triangles between two rings of vertices (k,), of which each corresponds to one of the other."""
    inner_next, outer_next = np.roll(inner, -1), np.roll(outer, -1)
    return np.vstack(
        [np.column_stack([inner, outer, outer_next]), np.column_stack([inner, outer_next, inner_next])]
    )


def head_axes(mesh: FloatArray) -> FloatArray:
    """The head's axes as columns (3, 3): its left-to-right in the image, down, and from the face backwards.

    mesh: (478, 3).
    """
    right = (mesh[list(_RIGHT)] - mesh[list(_LEFT)]).sum(axis=0)
    right = right / np.linalg.norm(right)
    down = mesh[_CHIN] - mesh[_TOP]
    down = down - right * (right @ down)
    down = down / np.linalg.norm(down)
    return np.column_stack([right, down, np.cross(right, down)])


def head_yaw(mesh: FloatArray) -> float:
    """Yaw of the head in degrees, positive when the face turns to the image's right.

    mesh: (478, 3). It is the angle between the face's direction, seen from above, and the viewer's.
    """
    right = head_axes(mesh)[:, 0]
    return float(np.degrees(np.arctan2(right[2], np.hypot(right[0], right[1]))))


@dataclass(frozen=True)
class TurnedMesh:
    """A face and its surroundings before and after a turn: corners (n, 3) of `surface()` each.

    mesh: (478, 3), after; rotation: (3, 3).
    """

    before: FloatArray
    after: FloatArray
    mesh: FloatArray
    rotation: FloatArray

    def image(self, image: Image) -> Image:
        """The image (h, w, 3) of the turned face, given that of the face."""
        whole = surface()
        return warp_surface(image, self.before, self.after, whole.triangles, whole.layers)

    def carried(self, points: FloatArray) -> FloatArray:
        """Points (k, 2) of the image, where they are in that of the turned face."""
        whole = surface()
        near = whole.layers > 0
        return carry(points, self.before, self.after, whole.triangles[near])

    def turned_offsets(self, offsets: FloatArray) -> FloatArray:
        """Offsets (k, 2) between places in the image, as they are after the turn."""
        turned: FloatArray = offsets @ self.rotation[:2, :2].T
        return turned


def turn_mesh(mesh: FloatArray, degrees: float) -> TurnedMesh:
    """A face turned about the vertical axis of its head, which then has a yaw larger by `degrees`.

    mesh: (478, 3).
    """
    axes = head_axes(mesh)
    left, right = mesh[_LEFT[0]], mesh[_RIGHT[0]]
    width = float(np.linalg.norm(right - left))
    through = (left + right) / 2 + axes[:, 2] * (_AXIS_BEHIND * width)
    rim = mesh[surface().outline]
    middle = rim.mean(axis=0)
    ring = np.column_stack([(middle + _HEAD * (rim - middle))[:, :2], rim[:, 2]])
    still = middle + _STILL * (rim - middle)
    behind = ring + np.array([0.0, 0.0, _HEAD_BEHIND * width])

    def turned(vertices: FloatArray) -> FloatArray:
        return rotate(vertices, axes[:, 1], through, degrees)

    after = turned(mesh)
    return TurnedMesh(
        np.vstack([mesh[:CORNERS], ring, still]),
        np.vstack([after[:CORNERS], turned(behind), still]),
        after,
        rotation_matrix(axes[:, 1], degrees),
    )
