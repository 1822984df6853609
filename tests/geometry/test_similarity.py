"""The mean shape against faces whose mean, upright and of its own mirror image, is known."""

import numpy as np
import pytest

from facealign.geometry import similarity
from facealign.geometry.affine import apply
from facealign.geometry.landmarks import MIRROR
from facealign.geometry.similarity import fit_similarity, mean_shape
from tests.upright_face import upright_face

SIZE, MARGIN = (80, 64), 0.1


def leaned(points, degrees, scale=1.0, shift=(0.0, 0.0)):
    """Points turned clockwise on the screen about (0, 0)."""
    turn = scale * np.exp(1j * np.deg2rad(degrees))
    return points @ np.array([[turn.real, turn.imag], [-turn.imag, turn.real]]) + shift


def in_the_crop(face):
    """An upright face in the middle of the crop, as large as the margins let it be."""
    low, high = face.min(axis=0), face.max(axis=0)
    scale = (np.array([64, 80]) * (1 - 2 * MARGIN) / (high - low)).min()
    return (face - (low + high) / 2) * scale + (31.5, 39.5)


@pytest.mark.parametrize("degrees", range(-180, 180, 15))
def test_the_mean_of_one_face_is_that_face_upright_however_it_leans(degrees):
    face = leaned(upright_face(), degrees, 37.0, (300, -20))
    np.testing.assert_allclose(mean_shape(face[None], SIZE, MARGIN), in_the_crop(upright_face()), atol=1e-9)


@pytest.mark.parametrize("degrees", [-165, -90, -45, 30, 45, 60, 90, 120, 135, 180])
def test_the_mean_does_not_depend_on_how_the_first_face_or_all_of_them_lie(degrees):
    rng = np.random.default_rng(0)
    faces = upright_face() + rng.normal(0, 0.04, (6, 68, 2))
    mean = mean_shape(faces, SIZE, MARGIN)
    first = np.stack([leaned(faces[0], degrees, 3.0, (5, 6)), *faces[1:]])
    np.testing.assert_allclose(mean_shape(first, SIZE, MARGIN), mean, atol=1e-6)
    np.testing.assert_allclose(
        mean_shape(leaned(faces, degrees, 0.2, (-9, 4)), SIZE, MARGIN), mean, atol=1e-6
    )


def test_a_face_is_upright_before_any_other_is_laid_on_it(monkeypatch):
    """The rounds would make good for an angle that is wrong at first, but not within as few of them."""
    monkeypatch.setattr(similarity, "ROUNDS", 0)
    face = upright_face() + np.random.default_rng(2).normal(0, 0.05, (68, 2))
    first = mean_shape(face[None], SIZE, MARGIN)
    for degrees in range(-180, 180, 15):
        turned = leaned(face, degrees, 5.0, (40, 70))
        np.testing.assert_allclose(mean_shape(turned[None], SIZE, MARGIN), first, atol=1e-9)


def test_the_mean_of_a_face_and_its_mirror_image_is_halfway():
    """Procrustes: what is nearest to all faces laid on it; and its own mirror image."""
    rng = np.random.default_rng(1)
    faces = upright_face() + rng.normal(0, 0.03, (5, 68, 2))
    mean = mean_shape(faces, SIZE, MARGIN)
    np.testing.assert_allclose(mean[MIRROR] * (-1, 1) + (63, 0), mean, atol=1e-9)
    both = np.concatenate([faces, faces[:, MIRROR] * (-1, 1)])
    laid = np.stack([apply(fit_similarity(one, mean), one) for one in both])
    # The mean of all, laid on it, is the mean shape: only smaller, as least squares shrink what differs.
    again = laid.mean(axis=0)
    np.testing.assert_allclose(apply(fit_similarity(again, mean), again), mean, atol=1e-6)
    assert np.hypot(*(again - again.mean(axis=0)).T).mean() < np.hypot(*(mean - mean.mean(axis=0)).T).mean()
