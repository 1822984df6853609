"""Fit the map from mediapipe's face mesh to the 68 landmarks; measure the members of `facealign annotate`.

On 300-W's training faces without its validation and held-out parts. The strength of the ridge regression is
chosen by cross-validation on these faces; faces whose mesh is that of another face, or whose error is above
15 % of the inter-pupil distance, are left out. Then each member is measured on the validation part.
"""

import argparse
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facealign.annotation.face_mesh import SCALES, FaceMesh
from facealign.annotation.mesh_map import MESH_MAP, MeshMap, cross_validated, fit_maps, percent_apart
from facealign.arrays import FloatArray
from facealign.console import run
from facealign.datasets.detected_boxes import boxes_for, read_boxes
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.datasets.split import split
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import landmark_box, overlap
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.io.outputs import check_outputs

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5
SAME_FACE = 0.3
"""Overlap of the mesh's box and the landmarks' from which the mesh is of the annotated face."""
OUTLIER = 15.0
"""Cross-validated error of a face that is not fitted to, % of the inter-pupil distance."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="ROOT", help="the folder that holds 300w/"
    )
    parser.add_argument("--boxes", type=Path, default=Path("data/boxes.json"), metavar="FILE")
    parser.add_argument("--mesh", type=Path, default=Path(".venv-mesh/bin/python"), metavar="PYTHON")
    parser.add_argument("--output", type=Path, default=MESH_MAP, metavar="FILE", help=f"default: {MESH_MAP}")
    parser.add_argument(
        "--scale",
        type=float,
        default=SCALES[0],
        metavar="S",
        help="side of the crop over the box's longer side",
    )
    arguments = parser.parse_args()
    check_outputs([arguments.output])
    training, validation = split(faces_in(arguments.data).samples, 0.1, 0)
    training = [sample for sample in training if sample.is_300w]
    _, boxes = read_boxes(arguments.boxes)
    with FaceMesh(arguments.mesh) as mesh:
        known, known_mesh = with_meshes(training, mesh, arguments)
        new, new_mesh = with_meshes(validation, mesh, arguments)
    print(
        f"own face found: {len(known)} of {len(training)} training, {len(new)} of {len(validation)} new faces"
    )
    fitted = fit(known, known_mesh)
    fitted.write(arguments.output)
    print(f"{arguments.output}: written")

    aligner = FaceAligner.open(engine="onnx", detector=False, cascade=True, flip=True)
    places = [face.box for face in boxes_for(new, boxes, str(arguments.boxes))]
    cascade = np.stack(
        [
            aligner.landmarks_in(read_image(sample.path, orient=False), box[None])[0]
            for sample, box in zip(tqdm(new, unit="face", desc="cascade"), places, strict=True)
        ]
    )
    mapped = np.stack([fitted.landmarks(points) for points in new_mesh])
    truth = np.stack([sample.points for sample in new])
    for name, points in (("cascade", cascade), ("mesh", mapped), ("mean", (cascade + mapped) / 2)):
        errors = percent_apart(points, truth)
        print(f"{name}: NME {errors.mean():.2f} %, median {np.median(errors):.2f} % of {len(new)} new faces")


def with_meshes(
    samples: Sequence[Sample], mesh: FaceMesh, arguments: argparse.Namespace
) -> tuple[list[Sample], FloatArray]:
    """The samples whose mesh is that of their face, and these meshes (n, 478, 2)."""
    found: list[Sample] = []
    meshes = []
    _, boxes = read_boxes(arguments.boxes)
    for sample, face in zip(
        tqdm(samples, unit="face", desc="mesh"), boxes_for(samples, boxes, str(arguments.boxes)), strict=True
    ):
        points = mesh.mesh(read_image(sample.path, orient=False), face.box, scale=arguments.scale)
        if points is not None and overlap(landmark_box(points), landmark_box(sample.points)) > SAME_FACE:
            found.append(sample)
            meshes.append(points)
    if not found:
        raise FaceAlignError(f"{arguments.data}: the face mesh finds no face of 300-W")
    return found, np.stack(meshes)


def fit(samples: Sequence[Sample], meshes: FloatArray) -> MeshMap:
    """The map of the strength with the least cross-validated error."""
    landmarks = np.stack([sample.points for sample in samples])
    folds = np.array([zlib.crc32(sample.group.encode()) % FOLDS for sample in samples])
    fits = cross_validated(meshes, landmarks, folds, STRENGTHS).min(axis=0) < OUTLIER
    errors = cross_validated(meshes[fits], landmarks[fits], folds[fits], STRENGTHS).mean(axis=1)
    for strength, error in zip(STRENGTHS, errors, strict=True):
        print(f"strength {strength:g}: NME {error:.3f} %, cross-validated on {fits.sum()} faces")
    chosen = STRENGTHS[int(errors.argmin())]
    print(f"strength {chosen:g} is chosen")
    return fit_maps(meshes[fits], landmarks[fits], [chosen])[0]


if __name__ == "__main__":
    run(main)
