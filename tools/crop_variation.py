"""Measure how the crops of a second cascade stage by predicted landmarks differ from those by annotated ones.

On the validation part, whose faces are new to the first stage, and on some faces it was trained on. The
samples of `facealign make-lmdb --on-the-fly --after` should vary as on the new faces.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facealign.arrays import FloatArray
from facealign.commands.make_lmdb_faces import jobs_of
from facealign.console import run
from facealign.crops.aligned import MARGIN, aligned_spec
from facealign.datasets.crop_variation import crop_moves
from facealign.datasets.scan import faces_in
from facealign.datasets.split import split
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.lmdb.jobs import Job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="300w/, menpo/, any folder")
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="of the first stage, .onnx or .caffemodel",
    )
    parser.add_argument(
        "--boxes", default="data/boxes.json", metavar="FILE|landmarks", help="default: data/boxes.json"
    )
    parser.add_argument(
        "--margin", type=float, default=MARGIN, metavar="SHARE", help=f"of the crop (default: {MARGIN})"
    )
    parser.add_argument(
        "--every", type=int, default=4, metavar="N", help="use one in N of the faces trained on (default: 4)"
    )
    arguments = parser.parse_args()
    if arguments.every < 1:
        parser.error("--every: expected 1 or more")
    if not 0 <= arguments.margin < 0.5:
        parser.error("--margin: expected 0 or more and less than 0.5")
    samples = faces_in(arguments.data).samples
    training, validation = split(samples, 0.1, 0)
    folders = {sample.subset for sample in validation}
    known = [sample for sample in training if sample.subset in folders][:: arguments.every]
    aligner = FaceAligner.open(arguments.weights, detector=False)
    spec = aligned_spec(aligner.spec, np.stack([sample.points for sample in training]), arguments.margin)
    _, known_jobs, new_jobs = jobs_of(arguments.boxes, known, validation)

    def predicted(job: Job) -> FloatArray:
        image = read_image(job.sample.path, orient=False)
        landmarks: FloatArray = aligner.landmarks_in(image, job.box[None])[0]
        return landmarks

    for name, jobs in (("new", new_jobs), ("trained on", known_jobs)):
        if not jobs:
            continue
        landmarks = np.stack([predicted(job) for job in tqdm(jobs, unit="face")])
        moves = crop_moves(landmarks, np.stack([job.sample.points for job in jobs]), spec)
        right, down, size, turn = np.quantile(abs(moves - (0, 0, 1, 0)), 0.95, axis=0)
        print(
            f"{len(jobs)} faces {name}: 19 in 20 moved by up to {right:.3f} of the side sideways, "
            f"{down:.3f} up or down, {size:.3f} of their size, {turn:.1f} degrees"
        )


if __name__ == "__main__":
    run(main)
