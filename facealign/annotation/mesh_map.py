"""The map from the 478 points of a face mesh to the 68 landmarks: a ridge regression on aligned points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facealign.arrays import AnyArray, FloatArray
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply, invert
from facealign.geometry.landmarks import N_LANDMARKS, inter_pupil
from facealign.geometry.similarity import fit_similarity
from facealign.io.atomic import replacing
from facealign.io.package_data import package_folder

MESH_POINTS = 478
MESH_MAP = package_folder("models") / "face_mesh_68.npz"
"""The map that comes with the package; made by tools/fit_face_mesh.py."""
ROUNDS = 5
"""Iterations of aligning meshes to their mean and averaging."""


@dataclass(frozen=True)
class MeshMap:
    """The map from mesh points to landmarks.

    shape: (478, 2), the mean mesh, to which others are aligned by a similarity; of unit RMS size, centred on
    0. bias: (136,), x and y of each landmark in turn; weights: (956, 136): the aligned landmarks are
    bias + mesh @ weights.
    """

    shape: FloatArray
    bias: FloatArray
    weights: FloatArray

    def landmarks(self, mesh: FloatArray) -> FloatArray:
        """The landmarks (68, 2) of a face with mesh points (478, 2), both in pixels of the image.

        Raises ValueError when all points of the mesh coincide.
        """
        affine = fit_similarity(mesh, self.shape)
        aligned = self.bias + apply(affine, mesh).ravel() @ self.weights
        return apply(invert(affine), aligned.reshape(N_LANDMARKS, 2))

    def write(self, path: Path) -> None:
        """Write the map as an .npz file of float32."""
        arrays = {name: getattr(self, name).astype(np.float32) for name in ("shape", "bias", "weights")}
        with replacing(path) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)


def read_mesh_map(path: Path = MESH_MAP) -> MeshMap:
    """The map in a file of `MeshMap.write`. Raises FaceAlignError when there is none.

    >>> read_mesh_map().landmarks(read_mesh_map().shape * 100).shape
    (68, 2)
    """
    shapes = {"shape": (MESH_POINTS, 2), "bias": (136,), "weights": (2 * MESH_POINTS, 136)}
    hint = "make it with tools/fit_face_mesh.py"
    try:
        with np.load(path) as stored:
            arrays = {name: np.asarray(stored[name], dtype=np.float64) for name in shapes}
    except FileNotFoundError as error:
        raise FaceAlignError(f"{path}: no such file; {hint}") from error
    except Exception as error:  # numpy and zipfile raise many kinds on what is no such file
        raise FaceAlignError(f"{path}: not the map of a face mesh ({error}); {hint}") from error
    for name, array in arrays.items():
        if array.shape != shapes[name] or not np.isfinite(array).all():
            raise FaceAlignError(f"{path}: not the map of a face mesh ({name}: {array.shape}); {hint}")
    return MeshMap(**arrays)


def mean_mesh(meshes: FloatArray) -> FloatArray:
    """Mean of meshes (n, 478, 2) aligned to each other; of unit RMS size, centred on 0."""
    mean = _unit(meshes[0])
    for _ in range(ROUNDS):
        mean = _unit(apply(fit_similarity(meshes, mean), meshes).mean(axis=0))
    return mean


def _unit(shape: FloatArray) -> FloatArray:
    centred = shape - shape.mean(axis=0)
    unit: FloatArray = centred / np.sqrt((centred**2).sum(axis=1).mean())
    return unit


def fit_maps(meshes: FloatArray, landmarks: FloatArray, strengths: Sequence[float]) -> list[MeshMap]:
    """Ridge regressions of landmarks (n, 68, 2) on meshes (n, 478, 2), one for each strength.

    strength: the penalty on the squared weights, beside squared errors of aligned landmarks, whose unit is
    the RMS size of the mesh; summed over the faces.
    """
    shape = mean_mesh(meshes)
    affines = fit_similarity(meshes, shape)
    given = apply(affines, meshes).reshape(len(meshes), -1)
    wanted = apply(affines, landmarks).reshape(len(meshes), -1)
    centre, middle = given.mean(axis=0), wanted.mean(axis=0)
    left, values, right = np.linalg.svd(given - centre, full_matrices=False)
    turned = left.T @ (wanted - middle)
    maps = []
    for strength in strengths:
        weights = right.T @ (turned * (values / (values**2 + strength))[:, None])
        maps.append(MeshMap(shape, middle - centre @ weights, weights))
    return maps


def cross_validated(
    meshes: FloatArray, landmarks: FloatArray, folds: AnyArray, strengths: Sequence[float]
) -> FloatArray:
    """Errors (strengths, n) of each face by maps fitted on the other folds: % of the inter-pupil distance.

    folds: (n,), the fold of each face; faces of one photo belong into one.
    """
    errors = np.empty((len(strengths), len(meshes)))
    for fold in np.unique(folds):
        out = folds == fold
        for row, fitted in enumerate(fit_maps(meshes[~out], landmarks[~out], strengths)):
            predicted = np.stack([fitted.landmarks(mesh) for mesh in meshes[out]])
            errors[row, out] = percent_apart(predicted, landmarks[out])
    return errors


def percent_apart(points: FloatArray, truth: FloatArray) -> FloatArray:
    """Mean distance (...) of landmarks (..., 68, 2), in % of the inter-pupil distance of `truth`.

    >>> face = np.random.default_rng(0).uniform(0, 100, (68, 2))
    >>> float(percent_apart(face + (0, inter_pupil(face) / 10), face).round(6))
    10.0
    """
    distance = np.linalg.norm(points - truth, axis=-1).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = 100 * distance / inter_pupil(truth)
    result: FloatArray = np.where(np.isnan(percent), np.inf, percent)
    return result
