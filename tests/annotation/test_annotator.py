"""What the members make of a photo, against the aligners that they are."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.annotation.annotator import AnnotationSettings, Annotator, Photo, annotated
from facealign.annotation.face_mesh import FaceMesh
from facealign.annotation.mesh_map import read_mesh_map
from facealign.geometry.landmarks import inter_pupil
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.model_zoo import MODELS
from tests.annotation.stand_in import write_stand_in

BOX = np.array([109.0, 63, 195, 173])
PHOTO = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
CASCADE = {"engine": "onnx", "detector": False, "flip": True}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "a.png"
    cv2.imwrite(str(path), PHOTO)
    return path


@pytest.fixture(scope="module")
def predicted():
    """The landmarks in the box by both stages, and by the first."""
    both = FaceAligner.open(cascade=True, **CASCADE).landmarks_in(PHOTO, BOX[None])[0]
    return both, FaceAligner.open(**CASCADE).landmarks_in(PHOTO, BOX[None])[0]


def percent(one, other, by):
    return 100 * np.linalg.norm(one - other, axis=1).mean() / inter_pupil(by)


@pytest.fixture
def mesh_in_the_middle(tmp_path):
    """An interpreter whose mesh is that of the mean face, in the middle of the crop; these landmarks."""
    shape = read_mesh_map().shape
    python = write_stand_in(tmp_path / "python", np.column_stack([shape * 60 + 128, np.zeros(len(shape))]))
    with FaceMesh(python, read_mesh_map()) as mesh:
        return python, mesh.landmarks(PHOTO, BOX)


def test_the_cascade_alone_disagrees_as_its_stages_do(photo, predicted):
    (result,) = annotated([Photo(photo, "a.png", BOX)], AnnotationSettings(), 1)
    (face,) = result.faces
    both, first = predicted
    np.testing.assert_allclose(face.landmarks, both, atol=1e-6)
    np.testing.assert_allclose(face.disagreement, percent(first, both, both), rtol=1e-6)
    assert (face.left_out, result.error, face.score) == ("", "", None)
    assert face.confidence > 0.9


def test_another_cascade_is_used_and_named(photo):
    networks = MODELS / "mobilenet_v2_stage2.onnx", MODELS / "mobilenet_v2_cascade.onnx"
    annotator = Annotator(AnnotationSettings(cascade=networks))
    (face,) = annotator.annotate(Photo(photo, "a.png", BOX)).faces
    own = FaceAligner.open(networks[0], "onnx", detector=False, flip=True, cascade=networks[1])
    (expected,) = own.align(photo, BOX[None])
    np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=1e-6)
    (member,) = annotator.describe()["members"]
    assert [file["weights"] for file in member["files"]] == [path.name for path in networks]


def test_the_threshold_leaves_out_a_face(photo):
    settings = AnnotationSettings(max_disagreement=0.01)
    ((face,),) = ([*result.faces] for result in annotated([Photo(photo, "a.png", BOX)], settings, 1))
    assert face.left_out == "members disagree"


def test_landmarks_are_the_mean_of_the_members_and_the_nearest_crop_counts(
    photo, predicted, mesh_in_the_middle
):
    python, others = mesh_in_the_middle
    (result,) = annotated([Photo(photo, "a.png", BOX)], AnnotationSettings(python, 10.0), 1)
    (face,) = result.faces
    assert len(others) == 2
    means = [(predicted[0] + other) / 2 for other in others]
    apart = [percent(predicted[0], other, mean) for other, mean in zip(others, means, strict=True)]
    nearest = int(np.argmin(apart))
    assert min(apart) > 10
    np.testing.assert_allclose(face.landmarks, means[nearest], atol=1e-6)
    np.testing.assert_allclose(face.disagreement, apart[nearest], rtol=1e-6)
    assert face.left_out == "members disagree"
    (result,) = annotated([Photo(photo, "a.png", BOX)], AnnotationSettings(python, 1000.0), 1)
    np.testing.assert_allclose(result.faces[0].landmarks, means[0], atol=1e-6)
    assert result.faces[0].left_out == ""


def test_a_face_without_a_mesh_is_left_out(photo, tmp_path):
    settings = AnnotationSettings(write_stand_in(tmp_path / "python", None))
    (result,) = annotated([Photo(photo, "a.png", BOX)], settings, 1)
    (face,) = result.faces
    assert (face.left_out, face.disagreement) == ("no face mesh", np.inf)


def test_what_is_no_face_is_doubtful(tmp_path):
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    photo = Photo(path, "noise.png", np.array([50.0, 50, 150, 150]))
    (result,) = annotated([photo], AnnotationSettings(max_disagreement=1000.0), 1)
    assert [face.left_out for face in result.faces] == ["doubtful"]


def test_faces_are_looked_for_in_the_photo_as_it_is_stored(tmp_path):
    """Its EXIF data say that it is to be turned; .pts files refer to it unturned."""
    from PIL import Image as PillowImage

    exif = PillowImage.Exif()
    exif[0x0112] = 6
    side = PillowImage.fromarray(np.ascontiguousarray(np.rot90(PHOTO)[:, :, ::-1]))
    side.save(tmp_path / "a.jpg", quality=95, exif=exif)
    (result,) = annotated([Photo(tmp_path / "a.jpg", "a.jpg")], AnnotationSettings(), 1)
    (face,) = result.faces
    (upright,) = FaceAligner.open(engine="onnx", cascade=True, flip=True).detect_and_align(PHOTO)
    # Counter-clockwise: (x, y) of the upright photo is at (y, width - 1 - x).
    wanted = np.column_stack([upright.landmarks[:, 1], PHOTO.shape[1] - 1 - upright.landmarks[:, 0]])
    assert percent(face.landmarks, wanted, wanted) < 3
    assert face.score > 0.9


def test_the_members_are_described(mesh_in_the_middle):
    opened = Annotator(AnnotationSettings(mesh_in_the_middle[0]))
    try:
        cascade, mesh = opened.describe()["members"]
    finally:
        opened.close()
    assert [file["weights"] for file in cascade["files"]] == [
        "mobilenet_v2_stage3.onnx",
        "mobilenet_v2_cascade.onnx",
    ]
    assert mesh["files"][0] == {"weights": "mesh.tflite", "sha256": "12ab"}
    assert mesh["files"][1]["weights"] == "face_mesh_68.npz"
