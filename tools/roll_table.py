"""Measure faces at any roll: photos of 300-W's validation part are turned; what is found, and how well.

Then how well confidence tells right from wrong landmarks, on the same faces with parts covered too.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from facealign.arrays import FloatArray, Image
from facealign.console import run
from facealign.datasets.scan import faces_in
from facealign.datasets.validation_300w import in_validation
from facealign.errors import FaceAlignError
from facealign.evaluation.metrics import NORMALISERS, nme
from facealign.geometry.affine import apply
from facealign.geometry.boxes import landmark_box, overlap
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.io.markdown import table

ANGLES = (0, 15, 30, 45, 60, 90, 180)
LONGEST = 900
"""Photos are reduced to this longer side, pixels."""
FOUND = 0.3
"""Overlap of a face's box with that of the landmarks from which it is found."""
RIGHT = 0.08
"""Error, as a fraction of the inter-ocular distance, below which landmarks are right."""


def turned(image: Image, points: FloatArray, degrees: float) -> tuple[Image, FloatArray]:
    """An image (h, w, 3) and points (n, 2) turned clockwise, on black, at most LONGEST before."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    affine = np.array(cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, scale), dtype=np.float64)
    cosine, sine = np.abs(affine[0, :2])
    size = np.array([height * sine + width * cosine, height * cosine + width * sine]).astype(int)
    affine[:, 2] += size / 2 - (width / 2, height / 2)
    return np.asarray(cv2.warpAffine(image, affine, size.tolist()), dtype=np.uint8), apply(affine, points)


def covered(image: Image, points: FloatArray, rng: np.random.Generator) -> Image:
    """A copy with a square of one colour over a part of the face: 30 to 70 % of its side."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) * rng.uniform(0.15, 0.35)
    centre = rng.uniform(low, high)
    (left, top), (right, bottom) = (np.clip(centre + side, 0, None).astype(int) for side in (-half, half))
    copy = image.copy()
    copy[top:bottom, left:right] = rng.integers(0, 256, 3)
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="holds 300w/")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth photo (default: 1)")
    parser.add_argument("--turns", choices=("auto", "always", "never"), default="auto")
    arguments = parser.parse_args()
    samples = [sample for sample in faces_in(arguments.data).samples if in_validation(sample)][
        :: arguments.every
    ]
    if not samples:
        raise FaceAlignError(f"{arguments.data}: no photo of 300-W's validation part in it")
    aligner, rng = FaceAligner.open(cascade=True), np.random.default_rng(0)
    rows: list[list[str]] = []
    judged: list[tuple[float, float]] = []
    for degrees in ANGLES:
        errors: list[float] = []
        seconds = 0.0
        for sample in tqdm(samples, desc=f"{degrees} degrees", unit="photo"):
            image, truth = turned(read_image(sample.path, orient=False), sample.points, degrees)
            for cover in (False, True):
                began = time.perf_counter()
                faces = aligner.detect_and_align(
                    covered(image, truth, rng) if cover else image, arguments.turns
                )
                seconds += 0 if cover else time.perf_counter() - began
                overlaps = [float(overlap(face.box, landmark_box(truth))) for face in faces]
                if max(overlaps, default=0.0) < FOUND:
                    continue
                best = faces[int(np.argmax(overlaps))]
                error = {name: nme(best.landmarks[None], truth[None], name)[0] for name in NORMALISERS}
                judged.append((best.confidence, float(error["inter_ocular"])))
                if not cover:
                    errors.append(100 * float(error["inter_pupil"]))
        rows.append(
            [
                str(degrees),
                str(len(samples) - len(errors)),
                f"{np.mean(errors):.2f}" if errors else "-",
                f"{np.median(errors):.2f}" if errors else "-",
                f"{1000 * seconds / len(samples):.0f} ms",
            ]
        )
    print(table(["Roll", f"Missed of {len(samples)}", "Mean, % inter-pupil", "Median", "An image"], rows))
    print(table(["Confidence", "Faces", "Right"], by_confidence(np.array(judged))))
    print(table(["Most confident", "Wrong", "Mean, % inter-ocular"], risk_and_coverage(np.array(judged))))


def by_confidence(judged: FloatArray) -> list[list[str]]:
    """Of faces (n, 2), confidence and error, how many are right in each range of confidence."""
    rows = []
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        errors = judged[(judged[:, 0] >= low) & ((judged[:, 0] < high) | (high == 1.0)), 1]
        right = f"{100 * np.mean(errors < RIGHT):.1f} %" if len(errors) else "-"
        rows.append([f"{low:g} to {high:g}", str(len(errors)), right])
    return rows


def risk_and_coverage(judged: FloatArray) -> list[list[str]]:
    """The share of wrong landmarks and the mean error of the most confident part of faces (n, 2)."""
    errors = judged[np.argsort(-judged[:, 0], kind="stable"), 1]
    rows = []
    for part in (0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
        kept = errors[: max(1, round(part * len(errors)))]
        rows.append(
            [f"{100 * part:g} %", f"{100 * np.mean(kept >= RIGHT):.1f} %", f"{100 * kept.mean():.2f}"]
        )
    return rows


if __name__ == "__main__":
    run(main)
