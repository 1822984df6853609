"""Looks of a landmark network at faces: upright, by their boxes, and again by their own landmarks."""

import numpy as np

from facealign.arrays import FloatArray, Image
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_transform
from facealign.geometry.affine import apply, compose, invert, warp
from facealign.geometry.boxes import box_from_landmarks
from facealign.geometry.roll import landmark_roll, roll_difference, turn_about
from facealign.inference.confidence import disagreement
from facealign.inference.landmark_network import LandmarkNetwork

LEANS = 20.0
"""Degrees of roll from which a crop is turned upright: the network was trained on less."""
APART = 20.0
"""Degrees between the roll of a crop and that of the landmarks predicted on it from which it is cut anew."""
ROUNDS = 2
"""Times that a crop is cut anew, at most."""
TILT = 15.0
"""Degrees, to either side, by which crops are turned to see whether the landmarks turn along."""


def transforms_by_box(boxes: FloatArray, rolls: FloatArray, spec: ModelSpec) -> FloatArray:
    """Affines (n, 2, 3) from an image to crops of boxes (n, 4), turned about their centres by rolls (n,)."""
    affines = crop_transform(boxes, spec.size, spec.box_scale, spec.box_shift)
    for index in np.flatnonzero(rolls):
        centre = (boxes[index, :2] + boxes[index, 2:]) / 2
        affines[index] = compose(affines[index], turn_about(centre, -rolls[index]))
    return affines


def transforms_by_landmarks(points: FloatArray, spec: ModelSpec) -> FloatArray:
    """Affines (n, 2, 3) from an image to upright crops of faces with landmarks (n, 68, 2).

    The crop is of the box that the landmarks imply in the place of a detector's, once the face is upright.
    """
    affines = []
    for face, roll in zip(points, landmark_roll(points), strict=True):
        upright = turn_about(face.mean(axis=0), -float(roll))
        box = box_from_landmarks(apply(upright, face))
        affines.append(compose(crop_transform(box, spec.size, spec.box_scale, spec.box_shift), upright))
    return np.stack(affines)


def tilted(affines: FloatArray, spec: ModelSpec, degrees: float) -> FloatArray:
    """Affines (n, 2, 3) to crops that are turned clockwise by so many degrees about their centres."""
    centre = (np.array([spec.input_width, spec.input_height]) - 1) / 2
    return compose(turn_about(centre, degrees), affines)


def look(network: LandmarkNetwork, image: Image, affines: FloatArray) -> FloatArray:
    """Landmarks (n, 68, 2) in the image that a network predicts on its crops by affines (n, 2, 3)."""
    points = network.points(network([warp(image, affine, network.size) for affine in affines]))
    return np.stack([apply(invert(affine), face) for affine, face in zip(affines, points, strict=True)])


def upright_landmarks(
    network: LandmarkNetwork, image: Image, boxes: FloatArray, rolls: FloatArray
) -> FloatArray:
    """Landmarks (n, 68, 2) of the faces in boxes (n, 4), which lean by about rolls (n,) degrees.

    Rolls are in degrees. A crop is turned where a face leans by `LEANS` or more. Where the roll of the
    landmarks predicted on it differs from its own by `APART` or more, it is cut anew by these landmarks.
    """
    rolls = np.where(np.abs(rolls) >= LEANS, rolls, 0.0)
    landmarks = look(network, image, transforms_by_box(boxes, rolls, network.spec))
    for _ in range(ROUNDS):
        predicted = landmark_roll(landmarks)
        anew = np.flatnonzero(np.abs(roll_difference(predicted, rolls)) >= APART)
        if len(anew) == 0:
            break
        landmarks[anew] = look(network, image, transforms_by_landmarks(landmarks[anew], network.spec))
        rolls[anew] = predicted[anew]
    return landmarks


def disagreements(network: LandmarkNetwork, image: Image, landmarks: FloatArray) -> FloatArray:
    """Mean disagreement (n,) of landmarks (n, 68, 2) and those predicted on crops by them that are tilted."""
    affines = transforms_by_landmarks(landmarks, network.spec)
    sides = np.concatenate([tilted(affines, network.spec, degrees) for degrees in (-TILT, TILT)])
    again = look(network, image, sides)
    mean: FloatArray = disagreement(np.concatenate([landmarks, landmarks]), again).reshape(2, -1).mean(axis=0)
    return mean
