"""Head pose from six landmarks, with the head model and camera of the reference demo.

The angles differ from those that the demo prints: its pitch is relative to an upside-down head, and it
multiplies two terms of the pitch that should be added.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from facealign.arrays import FloatArray
from facealign.geometry.boxes import box_from_landmarks, square

LANDMARKS = (30, 8, 36, 45, 48, 54)
"""Nose tip, chin, outer eye corners, mouth corners."""
MODEL_POINTS = np.array(
    [
        (0.0, 0.0, 0.0),
        (0.0, -330.0, -65.0),
        (-225.0, 170.0, -135.0),
        (225.0, 170.0, -135.0),
        (-150.0, -150.0, -125.0),
        (150.0, -150.0, -125.0),
    ]
)
"""The same points of a generic head: x right, y up, z towards the viewer."""
CROP_SIDE = 64.0
"""Side of the reference demo's crop, pixels."""


@dataclass(frozen=True)
class Pose:
    """Head pose in degrees.

    yaw: positive when the face turns to the image's right; pitch: positive when it looks up; roll: positive
    when the head leans clockwise on the screen.

    >>> Pose(yaw=0.0, pitch=-5.0, roll=10.0)
    Pose(yaw=0.0, pitch=-5.0, roll=10.0)
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(landmarks: FloatArray) -> Pose | None:
    """Head pose of a face in an image, or None when the landmarks allow no solution.

    landmarks: (68, 2), pixels of the image. The pose is `crop_pose` in a square crop of CROP_SIDE pixels
    around the box that the landmarks imply, so it depends neither on the detected box nor on the place and
    size of the face in the image.
    """
    if not np.isfinite(landmarks).all():
        return None
    shown = square(box_from_landmarks(landmarks))
    side = float(shown[2] - shown[0])
    if side <= 0:
        return None
    return crop_pose((landmarks - shown[:2]) * (CROP_SIDE / side), CROP_SIDE)


def crop_pose(points: FloatArray, size: float) -> Pose | None:
    """Head pose of a face in a square crop, or None when the landmarks allow no solution.

    points: (68, 2), pixels of the crop; size: side of the crop, pixels. Solves the perspective-n-point
    problem with focal length `size` and the crop's centre as principal point (reference demo: 64 and
    (32, 32)).

    >>> x, y, z = MODEL_POINTS.T * [[1], [-1], [-1]] + [[0], [0], [1500]]  # seen from the front
    >>> points = np.zeros((68, 2))
    >>> points[list(LANDMARKS)] = 32 + 64 * np.column_stack([x / z, y / z])
    >>> pose = crop_pose(points, 64.0)
    >>> max(abs(pose.yaw), abs(pose.pitch), abs(pose.roll)) < 0.01
    True
    """
    camera = np.array([[size, 0.0, size / 2], [0.0, size, size / 2], [0.0, 0.0, 1.0]])
    image_points = np.ascontiguousarray(np.asarray(points, dtype=np.float64)[list(LANDMARKS)])
    if not np.isfinite(image_points).all():
        return None
    try:
        solved, rotation, _ = cv2.solvePnP(
            MODEL_POINTS,
            image_points,
            camera,
            np.zeros(4),
            *_frontal(image_points, size),
            useExtrinsicGuess=True,
        )
    except cv2.error:
        return None
    if not solved or not np.isfinite(rotation).all():
        return None
    return _angles(np.asarray(cv2.Rodrigues(rotation)[0], dtype=np.float64))


def pose_axes(pose: Pose) -> FloatArray:
    """Where the head's axes point in the image, (3, 2): to the image's right, up, and to where it looks.

    Unit vectors seen from far away, in x right and y down: a frontal head looks along (0, 0).

    >>> pose_axes(Pose(yaw=90.0, pitch=0.0, roll=0.0)).round(3) + 0.0
    array([[ 0.,  0.],
           [ 0., -1.],
           [ 1.,  0.]])
    """
    yaw, pitch, roll = np.radians([pose.yaw, -pose.pitch, -pose.roll])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    seen: FloatArray = (about_z @ about_x @ about_y)[:2].T * (1.0, -1.0)
    return seen


def _frontal(image_points: FloatArray, size: float) -> tuple[FloatArray, FloatArray]:
    """Start for the solver: rotation and translation of a frontal head with the roll of the eye corners.

    Without it, the solver finds a head behind the camera for one face in eight of 300-W.
    """
    across = image_points[3] - image_points[2]
    lean = math.atan2(across[1], across[0])
    upright = np.diag([1.0, -1.0, -1.0])
    turn = np.array(
        [[math.cos(lean), -math.sin(lean), 0.0], [math.sin(lean), math.cos(lean), 0.0], [0.0, 0.0, 1.0]]
    )
    away = size * 450.0 / max(float(np.hypot(*across)), 1e-6)
    place = np.append((image_points[0] - size / 2) * (away / size), away)
    return np.asarray(cv2.Rodrigues(turn @ upright)[0], dtype=np.float64), place.reshape(3, 1)


def _angles(rotation: FloatArray) -> Pose:
    """Angles of a model-to-camera rotation (camera: x right, y down, z away from the viewer)."""
    # Columns are the head's axes in the camera; a frontal head has y and z reversed, so reverse them first.
    matrix = np.diag([1.0, -1.0, -1.0]) @ rotation
    # matrix = Rz(roll') Rx(pitch') Ry(yaw') in x right, y up, z towards the viewer
    yaw = math.atan2(-matrix[2, 0], matrix[2, 2])
    pitch = math.asin(max(-1.0, min(1.0, matrix[2, 1])))
    roll = math.atan2(-matrix[0, 1], matrix[1, 1])
    # The forward axis (z) points to the viewer: a positive rotation about y moves it to the image's right.
    return Pose(yaw=math.degrees(yaw), pitch=-math.degrees(pitch) + 0.0, roll=-math.degrees(roll) + 0.0)
