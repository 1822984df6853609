"""The least-squares similarity against its definition, OpenCV and scikit-image; the mean shape."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from skimage.transform import SimilarityTransform

from facealign.crops.aligned import MARGIN, aligned_spec, aligned_transform, numbers_of, shape_of
from facealign.crops.augmentation import Jitter, jitter_transform
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.crop_variation import crop_moves
from facealign.geometry.affine import apply, compose, invert
from facealign.geometry.landmarks import LANDMARK_GROUPS, MIRROR
from facealign.geometry.similarity import fit_similarity, mean_shape

turns = st.floats(-math.pi, math.pi)
scales = st.floats(0.05, 20)
moves = st.tuples(st.floats(-500, 500), st.floats(-500, 500))


def similarity(scale, angle, move):
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cosine, -sine, move[0]], [sine, cosine, move[1]]])


def cloud(n=68, seed=0):
    return np.random.default_rng(seed).uniform(-50, 90, (n, 2))


def face(rng=None, spread=0.0):
    """A face seen from the front, its own mirror image: outline, brows, nose, eyes, mouth; y points down."""
    points = np.zeros((68, 2))
    turn = np.linspace(math.pi, 0, 17)
    points[LANDMARK_GROUPS["contour"]] = np.column_stack([np.cos(turn) * 50, np.sin(turn) * 62])
    points[17:22] = np.column_stack([np.linspace(-40, -12, 5), [-14, -20, -22, -20, -17]])
    points[27:31] = np.column_stack([np.zeros(4), np.linspace(-5, 22, 4)])
    points[31:34] = [[-9, 28], [-4, 30], [0, 31]]
    points[36:42] = [[-32, -4], [-27, -8], [-20, -8], [-15, -3], [-20, -1], [-27, -1]]
    points[48:52] = [[-20, 45], [-12, 41], [-5, 39], [0, 40]]
    points[57:60] = [[0, 55], [-6, 54], [-13, 51]]
    points[60:63] = [[-16, 45], [-5, 44], [0, 44]]
    points[66:68] = [[0, 49], [-5, 48]]
    empty = ~points.any(axis=1)
    points[empty] = (points[MIRROR] * (-1, 1))[empty]
    return points if rng is None else points + rng.normal(0, spread, (68, 2))


@settings(deadline=None)
@given(scales, turns, moves)
def test_a_similarity_is_found_again(scale, angle, move):
    truth = similarity(scale, angle, move)
    np.testing.assert_allclose(fit_similarity(cloud(), apply(truth, cloud())), truth, atol=1e-8)


def test_the_margin_is_that_of_the_released_cascade():
    text = (Path(__file__).parents[2] / "models" / "mobilenet_v2_cascade.json").read_text()
    spec = ModelSpec.from_json(text, "the released cascade")
    shape = shape_of(spec)
    sides = np.array([spec.input_width, spec.input_height])
    free = (1 - np.ptp(shape, axis=0) / sides) / 2
    assert free.min() == pytest.approx(MARGIN, abs=1e-4)


def test_two_points_by_hand():
    """(0, 0), (1, 0) to (5, 5), (5, 7): twice as large, a quarter turn clockwise on the screen."""
    found = fit_similarity(np.array([[0.0, 0], [1, 0]]), np.array([[5.0, 5], [5, 7]]))
    np.testing.assert_allclose(found, [[0, -2, 5], [2, 0, 5]], atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scikit_image_s_umeyama_and_the_least_sum_of_squares(seed):
    source = cloud(seed=seed)
    target = apply(similarity(0.4, 2.0, (10, -20)), source)
    target += np.random.default_rng(seed).normal(0, 6, target.shape)
    ours = fit_similarity(source, target)
    theirs = SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(ours, theirs.params[:2], atol=1e-9)

    def residuals(numbers):
        a, b, x, y = numbers
        return (apply(np.array([[a, -b, x], [b, a, y]]), source) - target).ravel()

    searched = least_squares(residuals, [1, 0, 0, 0]).x
    np.testing.assert_allclose([ours[0, 0], ours[1, 0], *ours[:, 2]], searched, atol=1e-4)


def test_it_is_opencv_s_where_no_point_is_an_outlier():
    source = cloud()
    target = apply(similarity(1.7, -0.3, (4, 9)), source)
    target += np.random.default_rng(0).normal(0, 0.02, target.shape)
    theirs, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=3, refineIters=50)
    assert inliers.all()
    np.testing.assert_allclose(fit_similarity(source, target), theirs, atol=1e-3)


def test_it_never_mirrors():
    source = cloud()
    found = fit_similarity(source, source * (-1, 1))
    assert np.linalg.det(found[:, :2]) >= 0


def test_points_in_one_place_are_refused():
    with pytest.raises(ValueError, match="one place"):
        fit_similarity(np.full((68, 2), 3.0), cloud())


@settings(deadline=None)
@given(scales, turns, moves)
def test_the_way_to_the_crop_and_back_is_exact(scale, angle, move):
    points = apply(similarity(scale, angle, move), face(np.random.default_rng(0), 3))
    spec = ModelSpec(crop="aligned", mean_shape=numbers_of(mean_shape(face()[None], (64, 64), 0.1)))
    there = aligned_transform(points, spec)
    back = invert(there)
    np.testing.assert_allclose(compose(back, there), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(apply(back, apply(there, points)), points, atol=1e-8 * max(1, scale))
    # Wherever the face was: in the crop it is the same.
    upright = apply(
        aligned_transform(face(np.random.default_rng(0), 3), spec), face(np.random.default_rng(0), 3)
    )
    np.testing.assert_allclose(apply(there, points), upright, atol=1e-6)


def test_the_mean_of_one_symmetric_face_is_that_face():
    mean = mean_shape(apply(similarity(3, 0.7, (300, 20)), face())[None], (64, 64), 0.1)
    found = fit_similarity(face(), mean)
    np.testing.assert_allclose(apply(found, face()), mean, atol=1e-9)
    assert found[1, 0] == pytest.approx(0, abs=1e-12)  # upright
    assert found[0, 0] > 0


def test_the_mean_shape_fills_the_crop_but_for_the_margin_and_is_its_own_mirror_image():
    rng = np.random.default_rng(0)
    shapes = np.stack(
        [
            apply(similarity(rng.uniform(0.2, 4), rng.uniform(-3, 3), rng.uniform(0, 300, 2)), face(rng, 3))
            for _ in range(200)
        ]
    )
    for size, margin in (((64, 64), 0.1), ((70, 60), 0.05)):
        mean = mean_shape(shapes, size, margin)
        height, width = size
        np.testing.assert_allclose((mean * (-1, 1) + (width - 1, 0))[MIRROR], mean, atol=1e-9)
        free = np.array([width, height]) - np.ptp(mean, axis=0)
        tightest = (free / (width, height)).min()
        assert tightest == pytest.approx(2 * margin)
        np.testing.assert_allclose(
            (mean.min(axis=0) + mean.max(axis=0)) / 2, [(width - 1) / 2, (height - 1) / 2]
        )
        # 200 faces, each point off by 3: the mean is off by 3 / sqrt(200) = 0.2 of their units.
        np.testing.assert_allclose(apply(fit_similarity(mean, face()), mean), face(), atol=1)


def test_the_mean_shape_does_not_depend_on_place_size_and_angle_of_the_shapes():
    rng = np.random.default_rng(1)
    shapes = np.stack([face(rng, 4) for _ in range(40)])
    moved = np.stack(
        [
            apply(similarity(rng.uniform(0.2, 4), rng.uniform(-3, 3), rng.uniform(0, 300, 2)), one)
            for one in shapes
        ]
    )
    np.testing.assert_allclose(mean_shape(shapes, (64, 64), 0.1), mean_shape(moved, (64, 64), 0.1), atol=1e-4)
    with pytest.raises(ValueError, match="no shape"):
        mean_shape(shapes[:0], (64, 64), 0.1)


def test_the_description_keeps_the_shape_to_a_thousandth_of_a_pixel():
    mean = mean_shape(face()[None], (64, 64), 0.1)
    spec = ModelSpec(crop="aligned", mean_shape=numbers_of(mean))
    again = ModelSpec.from_json(spec.to_json(), "here")
    assert again == spec
    assert again.is_second_stage
    np.testing.assert_allclose(shape_of(again), mean, atol=5.1e-4)


def test_many_shapes_at_once_are_each_alone():
    shapes = np.stack([face(np.random.default_rng(seed), 3) for seed in range(4)])
    together = fit_similarity(shapes, face())
    for one, shape in zip(together, shapes, strict=True):
        np.testing.assert_allclose(one, fit_similarity(shape, face()), atol=1e-12)
    shapes[2] = 5
    with pytest.raises(ValueError, match="one place"):
        fit_similarity(shapes, face())


def test_the_spec_of_a_second_network_holds_the_mean_shape():
    shapes = np.stack([face(np.random.default_rng(seed), 3) for seed in range(4)])
    spec = aligned_spec(ModelSpec(stage="x"), shapes, 0.2)
    assert (spec.stage, spec.is_second_stage) == ("x", True)
    np.testing.assert_allclose(shape_of(spec), mean_shape(shapes, (64, 64), 0.2), atol=6e-4)


@settings(deadline=None)
@given(
    st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0.8, 1.25), st.floats(-40, 40), st.integers(0, 99)
)
def test_crop_moves_are_what_a_jitter_of_the_crop_did(right, down, scale, angle, seed):
    """Landmarks told where a jittered crop would put the mean shape: then that jitter is what is found."""
    rng = np.random.default_rng(seed)
    size = (64, 64)
    annotated = np.stack([face(rng, 3) * rng.uniform(0.5, 3) + rng.uniform(0, 300, 2) for _ in range(3)])
    spec = aligned_spec(ModelSpec(), annotated, 0.1)
    jitter = Jitter(shift_x=right, shift_y=down, scale=scale, angle=angle)
    back = invert(jitter_transform(jitter, size))
    plain = aligned_transform(annotated, spec)
    told = np.stack(
        [
            apply(compose(invert(one), compose(back, one)), points)
            for one, points in zip(plain, annotated, strict=True)
        ]
    )
    moves = crop_moves(told, annotated, spec)
    np.testing.assert_allclose(moves, np.tile([right, down, scale, angle], (3, 1)), atol=1e-6)
