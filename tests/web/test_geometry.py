"""The page's geometry against the package's: boxes, rolls, similarity transforms, head pose."""

import numpy as np

from facealign.crops.model_spec import ModelSpec
from facealign.detection.mtcnn import suppress
from facealign.geometry.boxes import box_from_landmarks, square
from facealign.geometry.head_pose import LANDMARKS as POSE_LANDMARKS
from facealign.geometry.head_pose import MODEL_POINTS, head_pose
from facealign.geometry.landmarks import MIRROR
from facealign.geometry.roll import five_point_roll, landmark_roll, roll_difference
from facealign.geometry.similarity import fit_similarity
from facealign.inference.looks import transforms_by_box, transforms_by_landmarks
from tests.web.modules import SCRIPTS, calls

RNG = np.random.default_rng(1)


def faces(count):
    """Landmarks (n, 68, 2) of heads seen from many sides: their six points of the pose are the model's."""
    points = RNG.uniform(-250, 250, (count, 68, 3)) * [1, 1, 0.3]
    points[:, list(POSE_LANDMARKS)] = MODEL_POINTS
    landmarks = []
    for face in points:
        yaw, pitch, roll = np.radians(RNG.uniform([-50, -25, -40], [50, 25, 40]))
        about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
        about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
        about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
        seen = face @ (np.array(about_z) @ about_x @ about_y).T * [1, -1, -1] + [0, 0, 1800]
        landmarks.append(300 + 400 * seen[:, :2] / seen[:, 2:] + RNG.normal(0, 1, (68, 2)))
    return np.stack(landmarks)


FACES = faces(40)


def test_head_pose_is_that_of_opencv():
    own = calls("head_pose", "headPose", *([face.tolist()] for face in FACES))
    for one, face in zip(own, FACES, strict=True):
        pose = head_pose(face)
        np.testing.assert_allclose(
            [one["yaw"], one["pitch"], one["roll"]], [pose.yaw, pose.pitch, pose.roll], atol=0.01
        )


def test_landmarks_in_one_place_have_no_pose():
    assert calls("head_pose", "headPose", [[[5, 5]] * 68]) == [None]


def test_boxes():
    own = calls("boxes", "boxFromLandmarks", *([face.tolist()] for face in FACES))
    np.testing.assert_allclose(own, box_from_landmarks(FACES))
    box = [10.0, 20, 50, 45]
    (own,) = calls("boxes", "square", [box, 1.05, [0.02, 0.09]])
    np.testing.assert_allclose(own, square(np.array(box), 1.05, (0.02, 0.09)))


def test_suppression():
    corners = RNG.uniform(0, 60, (300, 2))
    boxes = np.hstack([corners, corners + RNG.uniform(10, 40, (300, 2))])
    scores = RNG.uniform(0, 1, 300).round(1)  # many are equal
    for limit, of_smaller in ((0.5, False), (0.7, True)):
        (own,) = calls("boxes", "suppress", [boxes.tolist(), scores.tolist(), limit, of_smaller])
        assert own == suppress(boxes, scores, limit, of_smaller).tolist()


def test_rolls():
    own = calls("landmarks", "landmarkRoll", *([face.tolist()] for face in FACES))
    np.testing.assert_allclose(own, landmark_roll(FACES))
    own = calls("landmarks", "fivePointRoll", *([face[:5].tolist()] for face in FACES))
    np.testing.assert_allclose(own, five_point_roll(FACES[:, :5]))
    pairs = RNG.uniform(-180, 180, (20, 2))
    own = calls("landmarks", "rollDifference", *pairs.tolist())
    np.testing.assert_allclose(own, roll_difference(*pairs.T))


def test_the_mirror_image_of_the_markup():
    text = (SCRIPTS / "landmarks.js").read_text()
    block = text[text.index("MIRROR = [") : text.index("];")]
    rows = [line.partition("[")[2].partition("]")[0] for line in block.splitlines() if "..." in line]
    assert [int(number) for row in rows for number in row.split(",")] == MIRROR.tolist()


def test_transforms_to_crops():
    spec = ModelSpec(input_height=48)
    fields = {"input_width": 64, "input_height": 48, "box_scale": spec.box_scale, "box_shift": spec.box_shift}
    boxes = box_from_landmarks(FACES)
    rolls = np.where(np.arange(len(FACES)) % 2, 35.0, 0.0)
    own = calls(
        "landmark_network",
        "transformByBox",
        *([*pair, fields] for pair in zip(boxes.tolist(), rolls, strict=True)),
    )
    np.testing.assert_allclose(np.reshape(own, (-1, 2, 3)), transforms_by_box(boxes, rolls, spec))
    own = calls("landmark_network", "transformByLandmarks", *([face.tolist(), fields] for face in FACES))
    np.testing.assert_allclose(np.reshape(own, (-1, 2, 3)), transforms_by_landmarks(FACES, spec))


def test_similarity_transforms():
    own = calls("affine", "fitSimilarity", *([face.tolist(), FACES[0].tolist()] for face in FACES))
    np.testing.assert_allclose(np.reshape(own, (-1, 2, 3)), fit_similarity(FACES, FACES[0]), atol=1e-9)
