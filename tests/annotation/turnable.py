"""Photos of faces that can be turned, and a program that answers about them as the face mesh's process."""

import sys
from pathlib import Path

import cv2
import numpy as np

from facealign.datasets.pts import write_pts
from tests.annotation.made_up_mesh_program import FRONTAL, LANDMARKS, NOSE

ROOT = Path(__file__).resolve().parents[2]


def write_turnable(path, red=True):
    """Write a photo of a face with its annotation. red: its nose is, by which the program knows a face."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.stem.encode())
    photo = np.random.default_rng(seed).integers(60, 200, (200, 200, 1), dtype=np.uint8).repeat(3, axis=2)
    photo = cv2.GaussianBlur(photo, (0, 0), 3)
    if red:
        cv2.circle(photo, FRONTAL[NOSE, :2].round().astype(int).tolist(), 4, (0, 0, 255), -1)
    cv2.imwrite(str(path), photo)
    write_pts(path.with_suffix(".pts"), LANDMARKS)


def write_mesh_program(path):
    """Write the program, for `turn-faces --mesh`."""
    module = "tests.annotation.made_up_mesh_program"
    path.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {module}\n")
    path.chmod(0o755)
    return path
