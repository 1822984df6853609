"""The face mesh as faces are turned by it: with its depth, from the process that predicts it."""

from pathlib import Path
from typing import Any

from facealign.annotation.face_mesh import SCALES, FaceMesh
from facealign.annotation.mesh_map import read_mesh_map
from facealign.annotation.turned_mesh import DEPTH
from facealign.arrays import FloatArray, Image


class DepthMesh:
    """A `MeshPredictor`. Close it, which ends its process."""

    def __init__(self, python: Path) -> None:
        """python: an interpreter with mediapipe. Raises FaceAlignError as `FaceMesh` does."""
        self._map = read_mesh_map()
        self._faces = FaceMesh(python, self._map)

    def close(self) -> None:
        """End the process."""
        self._faces.close()

    def describe(self) -> dict[str, Any]:
        """Version of mediapipe, and the files, as they are stored with what was made."""
        return {"mediapipe": self._faces.version, "files": self._faces.described_files()}

    def mesh(self, image: Image, box: FloatArray) -> FloatArray | None:
        """The mesh (478, 3) of `turned_mesh` of the face in a box (4,) of an image; None: no face.

        Raises FaceAlignError when the process ends.
        """
        for scale in SCALES:
            points = self._faces.mesh_in_depth(image, box, scale=scale)
            if points is not None:
                return points * (1.0, 1.0, DEPTH)
        return None

    def landmarks(self, mesh: FloatArray) -> FloatArray:
        """Landmarks (68, 2) of a mesh (478, 3)."""
        return self._map.landmarks(mesh[:, :2])
