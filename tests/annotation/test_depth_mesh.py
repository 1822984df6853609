"""The face mesh with its depth, and a real photo turned by it."""

import numpy as np
import pytest
from skimage.data import astronaut

from facealign.annotation.depth_mesh import DepthMesh
from facealign.annotation.face_mesh import SCALES, FaceMesh
from facealign.annotation.mesh_map import percent_apart, read_mesh_map
from facealign.annotation.turned_faces import TurnedFace, TurnSettings, turned_face
from facealign.annotation.turned_mesh import CORNERS, head_yaw
from facealign.inference.face_aligner import FaceAligner
from tests.annotation.test_face_mesh import BOX, REAL, needs_mesh

PHOTO = np.ascontiguousarray(astronaut()[:, :, ::-1])
pytestmark = needs_mesh


@pytest.fixture(scope="module")
def predictor():
    mesh = DepthMesh(REAL)
    yield mesh
    mesh.close()


@pytest.fixture(scope="module")
def aligner():
    return FaceAligner.open(engine="onnx", cascade=True, flip=True)


def test_the_nose_is_in_front_and_the_depth_does_not_depend_on_the_crop(predictor):
    mesh = predictor.mesh(PHOTO, BOX)
    assert mesh[:CORNERS, 2].argmin() in (1, 4)  # the tip of the nose
    with FaceMesh(REAL, read_mesh_map()) as faces:
        meshes = [faces.mesh_in_depth(PHOTO, BOX, scale=scale) for scale in SCALES]
    depths = [np.ptp(points[:CORNERS, 2]) for points in meshes]
    assert depths[0] == pytest.approx(depths[1], rel=0.15)


def test_what_made_the_meshes_is_described(predictor):
    described = predictor.describe()
    assert described["mediapipe"] == "0.10.14"
    assert [file["weights"] for file in described["files"]][-1] == "face_mesh_68.npz"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_cascade_sees_the_landmarks_of_a_turned_photo_where_they_are_written(predictor, aligner, seed):
    points = aligner.align(PHOTO, [BOX])[0].landmarks
    mesh = predictor.mesh(PHOTO, BOX)
    settings = TurnSettings(yaw=(25.0, 25.0))
    face = turned_face(PHOTO, points, mesh, predictor, settings, np.random.default_rng(seed))
    assert isinstance(face, TurnedFace)
    assert abs(face.yaw) == pytest.approx(25, abs=0.1)
    found = max(aligner.detect_and_align(face.image), key=lambda one: one.score)
    assert percent_apart(found.landmarks, face.points) < 8
    assert found.pose.yaw * face.yaw > 0
    assert abs(found.pose.yaw - head_yaw(mesh)) > 10
