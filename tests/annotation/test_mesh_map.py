"""The regression from mesh to landmarks, on faces whose landmarks are known combinations of mesh points."""

import numpy as np
import pytest

from facealign.annotation.mesh_map import (
    MESH_MAP,
    MESH_POINTS,
    cross_validated,
    fit_maps,
    mean_mesh,
    percent_apart,
    read_mesh_map,
)
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply
from facealign.geometry.landmarks import inter_pupil
from facealign.geometry.similarity import fit_similarity
from tests.upright_face import upright_face


def transform(rng):
    angle, scale = rng.uniform(-0.6, 0.6), rng.uniform(20, 200)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, rng.uniform(-50, 300, 2)])


@pytest.fixture(scope="module")
def faces():
    """Meshes that begin with the landmarks' points, each bent at random, at random places; the landmarks."""
    rng = np.random.default_rng(0)
    mesh = np.vstack([upright_face(), rng.uniform(-0.5, 0.5, (MESH_POINTS - 68, 2))])
    bent = mesh + rng.normal(0, 0.02, (60, MESH_POINTS, 2))
    meshes = np.stack([apply(transform(rng), one) for one in bent])
    landmarks = (meshes[:, :68] + meshes[:, 100:168]) / 2
    return meshes, landmarks


def test_the_mean_mesh_is_of_unit_size_and_does_not_depend_on_places(faces):
    rng = np.random.default_rng(1)
    mean = mean_mesh(faces[0])
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose((mean**2).sum(axis=1).mean(), 1)
    moved = np.concatenate([faces[0][:1], [apply(transform(rng), one) for one in faces[0][1:]]])
    np.testing.assert_allclose(mean_mesh(moved), mean, atol=1e-6)


def test_landmarks_of_the_faces_that_are_fitted_come_back_and_more_so_with_less_strength(faces):
    meshes, landmarks = faces
    errors = [
        percent_apart(np.stack([fitted.landmarks(mesh) for mesh in meshes]), landmarks).mean()
        for fitted in fit_maps(meshes, landmarks, [1e-9, 1.0, 1e9])
    ]
    assert errors[0] < 1e-3 < errors[1] < errors[2]
    # The strongest gives the mean shape, whatever the face.
    weak = fit_maps(meshes, landmarks, [1e12])[0]
    first, second = weak.landmarks(meshes[0]), weak.landmarks(meshes[1])
    np.testing.assert_allclose(apply(fit_similarity(first, second), first), second, rtol=1e-3)


def test_the_weights_are_those_of_scikit_like_normal_equations(faces):
    """Against a solution of the normal equations, written as textbooks do."""
    meshes, landmarks = faces
    (fitted,) = fit_maps(meshes, landmarks, [0.5])
    affines = [fit_similarity(mesh, fitted.shape) for mesh in meshes]
    given = np.stack([apply(a, mesh).ravel() for a, mesh in zip(affines, meshes, strict=True)])
    wanted = np.stack([apply(a, face).ravel() for a, face in zip(affines, landmarks, strict=True)])
    x, y = given - given.mean(axis=0), wanted - wanted.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + 0.5 * np.eye(x.shape[1]), x.T @ y)
    np.testing.assert_allclose(fitted.weights, weights, atol=1e-9)
    np.testing.assert_allclose(fitted.bias, wanted.mean(axis=0) - given.mean(axis=0) @ weights, atol=1e-9)


def test_a_face_turned_and_moved_has_its_landmarks_turned_and_moved(faces):
    (fitted,) = fit_maps(*faces, [0.1])
    move = transform(np.random.default_rng(2))
    mesh = faces[0][7]
    np.testing.assert_allclose(
        fitted.landmarks(apply(move, mesh)), apply(move, fitted.landmarks(mesh)), atol=1e-6
    )


def test_cross_validation_measures_faces_that_were_not_fitted(faces):
    """Landmarks that are noise can be learned by heart, which cross-validation must not reward."""
    meshes, landmarks = faces
    rng = np.random.default_rng(3)
    noisy = landmarks + rng.normal(0, 0.1, landmarks.shape) * inter_pupil(landmarks)[:, None, None]
    (fitted,) = fit_maps(meshes, noisy, [1e-6])
    by_heart = percent_apart(np.stack([fitted.landmarks(mesh) for mesh in meshes]), noisy)
    (new,) = cross_validated(meshes, noisy, np.arange(60) % 4, [1e-6])
    assert by_heart.max() < 1 < 8 < new.min()
    held = np.arange(60) % 4 == 1
    (apart,) = fit_maps(meshes[~held], noisy[~held], [1e-6])
    wanted = percent_apart(np.stack([apart.landmarks(mesh) for mesh in meshes[held]]), noisy[held])
    np.testing.assert_allclose(new[held], wanted, rtol=1e-9)


def test_a_map_is_written_and_read(faces, tmp_path):
    (fitted,) = fit_maps(*faces, [0.1])
    fitted.write(tmp_path / "map.npz")
    mesh = faces[0][3]
    read = read_mesh_map(tmp_path / "map.npz").landmarks(mesh)
    np.testing.assert_allclose(read, fitted.landmarks(mesh), atol=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["map.npz"]


@pytest.mark.parametrize("content", [None, b"", b"nothing", "cut", "other"])
def test_what_is_no_map_is_one_line(content, tmp_path):
    path = tmp_path / "map.npz"
    if content == "cut":
        path.write_bytes(MESH_MAP.read_bytes()[:1000])
    elif content == "other":
        np.savez(path, shape=np.zeros((478, 2)), bias=np.zeros(136), weights=np.zeros((10, 136)))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(FaceAlignError) as caught:
        read_mesh_map(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_released_map_keeps_the_mirror_image():
    """The mean mesh's landmarks look like a face, whose mirror image they nearly are."""
    released = read_mesh_map()
    points = released.landmarks(released.shape * 100)
    assert percent_apart(points, apply(fit_similarity(upright_face(), points), upright_face())) < 20
    assert points[8, 1] > points[33, 1] > points[27, 1]
    assert points[0, 0] < points[36, 0] < points[45, 0] < points[16, 0]


def test_landmarks_without_a_distance_of_the_eyes_are_infinitely_apart():
    flat = np.zeros((68, 2))
    assert percent_apart(flat, flat) == np.inf
    assert percent_apart(flat + 1, flat) == np.inf
