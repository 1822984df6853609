"""Mistakes that must show in the figures, made on purpose: real inference with the released weights.

The pictures are the demo's photo, turned, scaled and mirrored; their annotation is what the network itself
sees in the photo as it is, moved along and blurred a little.
"""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.evaluation.figures import results
from facealign.evaluation.measure import detected_box, measure
from facealign.geometry.affine import apply
from facealign.geometry.boxes import landmark_box
from facealign.geometry.landmarks import MIRROR
from facealign.inference import landmark_network
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.model_zoo import default_weights

SETTINGS = {"method": "released", "input": "64x64", "boxes": "mtcnn"}
TURNS = (-24, -16, -8, 0, 8, 16, 24)


@pytest.fixture(scope="module")
def released():
    return FaceAligner.open(default_weights("onnx"), "onnx")


@pytest.fixture(scope="module")
def averaging():
    return FaceAligner.open(default_weights("onnx"), "onnx", detector=False, flip=True)


@pytest.fixture(scope="module")
def samples(released, tmp_path_factory):
    root = tmp_path_factory.mktemp("faces") / "300w" / "lfpw" / "testset"
    root.mkdir(parents=True)
    photo = np.ascontiguousarray(astronaut()[:330, :450, ::-1])
    face = released.detect_and_align(photo)[0].landmarks
    rng = np.random.default_rng(0)
    for index, degrees in enumerate(TURNS):
        affine = cv2.getRotationMatrix2D(face.mean(axis=0), degrees, rng.uniform(0.8, 1.3))
        picture = cv2.warpAffine(photo, affine, (450, 330), borderMode=cv2.BORDER_REPLICATE)
        points = apply(affine, face) + rng.normal(0, 0.5, (68, 2))
        if index % 2:
            picture, points = picture[:, ::-1], (points * (-1, 1) + (449, 0))[MIRROR]
        cv2.imwrite(str(root / f"image_{index:04}.png"), picture)
        write_pts(root / f"image_{index:04}.pts", points)
    found = scan(root.parents[2]).samples
    assert len(found) == len(TURNS)
    return found


@pytest.fixture(scope="module")
def figures_of(samples, released):
    """align -> the figures of the common set."""

    def figures(align):
        measured = measure(samples, detected_box(released.detector.detect), align, strict=True)
        common = results(samples, measured, SETTINGS)["subsets"]["common"]
        assert (common["images"], common["missed_detections"]) == (len(TURNS), 0)
        return common

    return figures


def mirrored(align, swap):
    """`align` on the picture flipped left to right, its points flipped back."""

    def flipped(image, boxes):
        last = image.shape[1] - 1
        points = align(
            np.ascontiguousarray(image[:, ::-1]), boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (last, 0, last, 0)
        )
        points = points * (-1, 1) + (last, 0)
        return points[:, MIRROR] if swap else points

    return flipped


def test_the_right_way(figures_of, released, averaging):
    right = figures_of(released.landmarks_in)
    assert right["nme_inter_pupil"] < 6
    assert right["failure_rate_10"] == 0
    assert figures_of(mirrored(released.landmarks_in, swap=True))["nme_inter_pupil"] < 6
    assert figures_of(averaging.landmarks_in)["nme_inter_pupil"] < 6


def test_shuffled_landmarks(figures_of, released):
    shuffle = np.random.default_rng(0).permutation(68)
    wrong = figures_of(lambda image, boxes: released.landmarks_in(image, boxes)[:, shuffle])
    assert wrong["nme_inter_pupil"] > 60
    assert wrong["failure_rate_10"] == 1


def test_a_flip_without_the_index_swap(figures_of, released):
    wrong = figures_of(mirrored(released.landmarks_in, swap=False))
    assert wrong["nme_inter_pupil"] > 60
    assert wrong["failure_rate_10"] == 1


def test_flip_averaging_without_the_index_swap(figures_of, averaging, monkeypatch):
    monkeypatch.setattr(
        landmark_network, "mirror_points", lambda points, width: points * (-1, 1) + (width - 1, 0)
    )
    wrong = figures_of(averaging.landmarks_in)
    assert wrong["nme_inter_pupil"] > 30
    assert wrong["failure_rate_10"] == 1


def test_a_constant_mean_shape(figures_of, samples, released):
    """The same face for everybody, where the detector says that one is."""
    inside = []
    for sample in samples:
        low, high = landmark_box(sample.points).reshape(2, 2)
        inside.append((sample.points - low) / (high - low))
    mean = np.mean(inside, axis=0)

    def constant(image, boxes):
        # MTCNN's boxes begin above the brows
        corner, size = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        return corner + size * (mean * (1, 0.75) + (0, 0.25))

    right, wrong = figures_of(released.landmarks_in), figures_of(constant)
    assert wrong["nme_inter_pupil"] > 15
    assert wrong["nme_inter_pupil"] > 2 * right["nme_inter_pupil"]
    assert wrong["failure_rate_08"] > 0.8
