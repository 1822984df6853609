"""Measure how MTCNN's box of a face varies when the photo is mirrored, a little smaller or a little larger.

Training crops should vary by that much, besides the variation of boxes between faces.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facealign.console import run
from facealign.datasets.box_variation import SIZES, box_moves
from facealign.datasets.scan import faces_in
from facealign.detection.mtcnn import MtcnnDetector
from facealign.errors import FaceAlignError
from facealign.io.images import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="300w/, menpo/, any folder")
    parser.add_argument("--every", type=int, default=8, metavar="N", help="use one photo in N (default: 8)")
    arguments = parser.parse_args()
    if arguments.every < 1:
        parser.error("--every: expected 1 or more")
    samples = faces_in(arguments.data).samples[:: arguments.every]
    detector = MtcnnDetector.open("onnx")
    found = [
        box_moves(detector.detect, read_image(sample.path, orient=False), sample.points)
        for sample in tqdm(samples, unit="photo")
    ]
    moves = np.concatenate(found)
    if len(moves) == 0:
        raise FaceAlignError(f"{arguments.data}: MTCNN finds none of the {len(samples)} faces")
    print(f"{len(samples)} photos, {len(moves)} boxes found again (mirrored, and at scales {SIZES})")
    for name, values in zip(("right", "down"), moves.T[:2], strict=True):
        print(
            f"moves {name}: standard deviation {values.std():.3f} of the side, "
            f"9 in 10 up to {np.quantile(abs(values), 0.9):.3f}"
        )
    low, high = np.quantile(moves[:, 2], (0.05, 0.95))
    print(f"side: standard deviation {np.log(moves[:, 2]).std():.3f}, 9 in 10 times {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    run(main)
