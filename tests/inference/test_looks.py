"""Faces that lean: the released network on a photo turned by known angles, against itself on the photo."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply
from facealign.geometry.boxes import box_from_landmarks
from facealign.geometry.roll import roll_difference
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.looks import transforms_by_box, transforms_by_landmarks
from tests.upright_face import upright_face

PHOTO = np.ascontiguousarray(astronaut()[:330, :450, ::-1])
ANGLES = (-150, -90, -60, -35, 15, 30, 45, 75, 120, 180)


@pytest.fixture(scope="module")
def aligner():
    return FaceAligner.open(engine="onnx", cascade=True)


@pytest.fixture(scope="module")
def upright(aligner):
    (face,) = aligner.detect_and_align(PHOTO)
    return face


def turned(degrees):
    """The photo turned clockwise by `degrees`, and the affine that did it."""
    affine = cv2.getRotationMatrix2D((225.0, 165.0), -degrees, 1.0)
    affine[:, 2] += (75, 135)
    return cv2.warpAffine(PHOTO, affine, (600, 600), borderMode=cv2.BORDER_REPLICATE), affine


def error(face, truth):
    """Mean distance in % of the distance between the outer corners of the eyes."""
    return 100 * np.linalg.norm(face.landmarks - truth, axis=1).mean() / np.linalg.norm(truth[36] - truth[45])


@pytest.mark.parametrize("degrees", ANGLES)
def test_a_face_is_found_and_aligned_at_any_roll(aligner, upright, degrees):
    image, affine = turned(degrees)
    face = aligner.detect_and_align(image)[0]
    assert error(face, apply(affine, upright.landmarks)) < 4
    assert not face.doubtful
    assert abs(roll_difference(np.array(face.pose.roll), np.array(upright.pose.roll + degrees))) < 5


@pytest.mark.parametrize("degrees", [30, 60, 90, 180, -90])
def test_a_given_box_is_enough_at_any_roll(aligner, upright, degrees):
    """No points of a detector tell the roll."""
    image, affine = turned(degrees)
    centre = apply(affine, (upright.box[:2] + upright.box[2:]) / 2)
    half = (upright.box[2:] - upright.box[:2]).max() / 2
    (face,) = aligner.align(image, [[*(centre - half), *(centre + half)]])
    assert error(face, apply(affine, upright.landmarks)) < 6
    assert not face.doubtful


def test_never_looks_at_the_image_as_it_is_only(aligner):
    upside_down = np.ascontiguousarray(PHOTO[::-1, ::-1])
    assert all(face.doubtful for face in aligner.detect_and_align(upside_down, turns="never"))
    assert not aligner.detect_and_align(upside_down, turns="auto")[0].doubtful
    with pytest.raises(ValueError, match="expected one of"):
        aligner.detect_and_align(PHOTO, turns="sometimes")


def test_always_finds_upright_faces_once(aligner, upright):
    (face,) = aligner.detect_and_align(PHOTO, turns="always")
    np.testing.assert_allclose(face.landmarks, upright.landmarks, atol=3)


def test_landmarks_of_no_face_are_doubtful(aligner):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    faces = aligner.align(noise, [[50, 50, 150, 150], [100, 20, 280, 220]])
    faces += aligner.align(PHOTO, [[5, 200, 90, 320], [350, 10, 440, 100]])
    assert sum(face.doubtful for face in faces) >= 3


@pytest.mark.parametrize(
    "box", [[460, 10, 500, 60], [10, -90, 60, -1], [-200, -200, -100, -100], [10, 331, 50, 400]]
)
def test_a_box_off_the_image_is_refused(aligner, box):
    with pytest.raises(FaceAlignError, match="off the image, which has 450x330 pixels"):
        aligner.align(PHOTO, [box])
    with pytest.raises(FaceAlignError, match="off the image"):
        aligner.landmarks_in(PHOTO, np.array([box], dtype=float))


def test_a_crop_by_a_box_is_turned_about_the_box_s_centre(aligner):
    boxes = np.array([[10.0, 20, 110, 140], [10.0, 20, 110, 140]])
    plain, leaning = transforms_by_box(boxes, np.array([0.0, 90.0]), aligner.spec)
    centre = np.array([60.0, 80.0])
    np.testing.assert_allclose(apply(leaning, centre), apply(plain, centre), atol=1e-9)
    # What is 10 pixels below the centre of a face that leans by a quarter clockwise is on its left.
    np.testing.assert_allclose(
        apply(leaning, centre + np.array([-10, 0])), apply(plain, centre + np.array([0, 10])), atol=1e-9
    )


def test_a_crop_by_landmarks_is_that_of_their_box_for_an_upright_face_and_turns_with_them(aligner):
    face = upright_face((200.0, 150.0), 120.0)
    box = box_from_landmarks(face)[None]
    (upright,) = transforms_by_landmarks(face[None], aligner.spec)
    np.testing.assert_allclose(upright, transforms_by_box(box, np.zeros(1), aligner.spec)[0], atol=1e-9)
    turn = cv2.getRotationMatrix2D((10.0, 20.0), 77, 0.4)
    (leaning,) = transforms_by_landmarks(apply(turn, face)[None], aligner.spec)
    np.testing.assert_allclose(apply(leaning, apply(turn, face)), apply(upright, face), atol=1e-6)
