"""Network inputs cut from a real photo: the face of scikit-image's astronaut, in boxes that vary."""

import numpy as np
from skimage.data import astronaut

from facealign.geometry.affine import warp
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import network_input, second_transforms
from facealign.inference.looks import transforms_by_box

PHOTO = np.ascontiguousarray(astronaut()[:, :, ::-1])


def astronaut_crops(spec, n, seed=0):
    """Inputs (n, 3, h, w) of a landmark network, of boxes as a detector might give them."""
    boxes = np.array([179, 63, 265, 173]) + np.random.default_rng(seed).normal(0, 6, (n, 4))
    if spec.is_second_stage:
        first = FaceAligner.open(engine="onnx", detector=False).landmarks_in(PHOTO, boxes)
        affines = second_transforms(first, spec)
    else:
        affines = transforms_by_box(boxes, np.zeros(n), spec)
    return np.stack([network_input(warp(PHOTO, affine, spec.size), spec) for affine in affines])
