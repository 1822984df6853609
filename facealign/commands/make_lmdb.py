"""Write the LMDBs for training from annotated photos and their boxes (facealign detect-faces).

Every training face gives COPIES samples, augmented by flip, shift, scale, rotation and noise, all shuffled
once; or, with --on-the-fly, one context crop, which Caffe augments for each sample. Every validation face
gives one sample without augmentation; 300-W's validation part is fixed. With --after the samples are for a
second cascade stage: cut by the landmarks that the first stage predicts on augmented crops; or, with
--on-the-fly, by the annotated landmarks, and the augmentation stands for the first stage's errors. The same
seed gives the same bytes, whatever the number of workers.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from facealign.commands import add_data, add_strict, add_workers, name_options, program, scheduler_of
from facealign.commands.make_lmdb_faces import choose_faces, jobs_of
from facealign.commands.make_lmdb_parts import DataSet, check_replaceable, check_space, write_data_set
from facealign.commands.messages import json_files
from facealign.crops.aligned import MARGIN, aligned_spec
from facealign.crops.augmentation import Augmentation
from facealign.engines.opening import files_of
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.io.outputs import check_outputs
from facealign.lmdb.distillation import Teacher, TeacherPoints
from facealign.lmdb.jobs import SampleSettings
from facealign.lmdb.meta import META, default_directory
from facealign.lmdb.sample_writer import open_first
from facealign.networks.registry import BUILDERS, spec_of

EXAMPLES = (
    "make-lmdb --data data",
    "make-lmdb --data data --on-the-fly --shift 0.04 --scale 0.95 1.08 --rotate -15 15",
    "make-lmdb --data data --boxes landmarks --network vgg_shadow --copies 10",
    "make-lmdb --data s3://bucket/photos --on-the-fly --scheduler tcp://host:8786",
)
"""Command lines that its help shows."""

COPIES = 30
"""Default number of samples per face."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the numbers of samples, and of faces used and left out,")
    _add_inputs(parser.add_argument_group("input"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for the LMDBs (default: data/lmdb, lmdb_70x60, lmdb_on_the_fly, lmdb_cascade...)",
    )
    _add_samples(output)
    _add_faces(parser.add_argument_group("faces"))
    _add_augmentation(parser.add_argument_group("augmentation"))
    _add_cascade(parser.add_argument_group("second cascade stage"))
    _add_distillation(parser.add_argument_group("distillation"))
    add_workers(parser, scheduler=True)
    return parser


def _add_inputs(group: Any) -> None:
    add_data(group, several=True)
    group.add_argument(
        "--boxes",
        default="data/boxes.json",
        metavar="FILE|landmarks",
        help="boxes of facealign detect-faces, or derived from the annotation",
    )
    add_strict(group)


def _add_samples(group: Any) -> None:
    group.add_argument(
        "--network", choices=BUILDERS, default="mobilenet_v2", help="whose input size the samples have"
    )
    group.add_argument("--copies", type=int, metavar="N", help=f"samples per face (default: {COPIES})")
    group.add_argument(
        "--on-the-fly",
        action="store_true",
        help="one context crop per face, augmented on the fly in training (facealign train --on-the-fly)",
    )
    group.add_argument(
        "--copies-of",
        nargs="+",
        default=[],
        metavar="FOLDER=N",
        help="samples per face of one folder, such as youtube_faces=10, to weight the data sets",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the augmentation and the order")


def _add_faces(group: Any) -> None:
    group.add_argument(
        "--validation",
        type=float,
        default=0.1,
        metavar="FRACTION",
        help="fraction of the faces for validation where 300-W's fixed validation part is missing; 0: no "
        "validation part",
    )
    group.add_argument(
        "--min-eye-distance",
        type=float,
        default=0.2,
        metavar="FRACTION",
        help="smallest eye distance of a training face, as a fraction of the longer side of the landmarks' "
        "box: of faces turned further away half of the landmarks are guessed, and stage 2's loss divides by "
        "that distance",
    )
    group.add_argument(
        "--keep-copies",
        action="store_true",
        help="do not look for photos that are copies of test or validation photos under other names",
    )


def _add_augmentation(group: Any) -> None:
    plain = Augmentation()
    group.add_argument(
        "--flip", type=float, default=plain.flip, metavar="PROBABILITY", help="of a mirror image"
    )
    group.add_argument(
        "--shift", type=float, default=plain.shift, metavar="FRACTION", help="of the crop's side"
    )
    group.add_argument(
        "--scale",
        type=float,
        nargs=2,
        default=plain.scale_range,
        metavar=("LOW", "HIGH"),
        help="of the crop's side",
    )
    group.add_argument(
        "--rotate", type=float, nargs=2, default=plain.rotate_range, metavar=("LOW", "HIGH"), help="degrees"
    )
    group.add_argument(
        "--noise", type=float, nargs=2, default=plain.noise_std, metavar=("LOW", "HIGH"), help="grey levels"
    )


def _add_cascade(group: Any) -> None:
    group.add_argument(
        "--after",
        type=Path,
        metavar="FILE",
        help="samples for it, by the landmarks of the first stage with these weights (.onnx or .caffemodel)",
    )
    group.add_argument(
        "--margin",
        type=float,
        metavar="FRACTION",
        help=f"with --after: margin around the mean shape, as a fraction of the crop's side "
        f"(default: {MARGIN})",
    )


def _add_distillation(group: Any) -> None:
    group.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="train on landmarks between the annotated ones and the predictions of this network, or "
        "of the cascade with these weights of its first and second stage (.onnx or .caffemodel)",
    )
    group.add_argument(
        "--teacher-points",
        type=Path,
        metavar="DIR",
        help="take the predicted landmarks in this folder (facealign annotate), laid out as the data; "
        "faces that it lacks keep their annotation",
    )
    group.add_argument(
        "--distillation-weight",
        type=float,
        metavar="WEIGHT",
        help="with --teacher or --teacher-points: from the annotated landmarks (0) to the predicted ones (1) "
        "(default: 0.5)",
    )


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if arguments.on_the_fly and (arguments.copies is not None or arguments.copies_of):
        parser.error("--on-the-fly: makes no copies; weight the folders by `facealign train --weigh`")
    if arguments.after is None and arguments.margin is not None:
        parser.error("--margin: only with --after")
    arguments.margin = MARGIN if arguments.margin is None else arguments.margin
    if not 0 <= arguments.margin < 0.5:
        parser.error("--margin: expected 0 or more and less than 0.5")
    if len(arguments.teacher) > 2:
        parser.error("--teacher: expected one network, or the two of a cascade")
    if arguments.teacher and arguments.teacher_points is not None:
        parser.error("--teacher, --teacher-points: one of them only")
    if arguments.distillation_weight is None:
        arguments.distillation_weight = 0.5
    elif not arguments.teacher and arguments.teacher_points is None:
        parser.error("--distillation-weight: only with --teacher or --teacher-points")
    if not 0 <= arguments.distillation_weight <= 1:
        parser.error("--distillation-weight: expected 0 to 1")
    arguments.copies = COPIES if arguments.copies is None else arguments.copies
    for name, low in (("copies", 1), ("seed", 0)):
        if getattr(arguments, name) < low:
            parser.error(f"--{name}: expected {low} or more")
    if not 0 <= arguments.min_eye_distance < 1:
        parser.error("--min-eye-distance: expected 0 or more and less than 1")
    if not 0 <= arguments.validation < 1:
        parser.error("--validation: expected 0 or more and less than 1")
    copies_of = {}
    for text in arguments.copies_of:
        folder, _, number = text.rpartition("=")
        if not folder or not number.isdecimal() or int(number) < 1:
            parser.error(f"--copies-of {text}: expected FOLDER=N with N 1 or more")
        copies_of[folder] = int(number)
    arguments.copies_of = copies_of
    try:
        arguments.augmentation = Augmentation(
            flip=arguments.flip,
            shift=arguments.shift,
            scale_range=tuple(arguments.scale),
            rotate_range=tuple(arguments.rotate),
            noise_std=tuple(arguments.noise),
        )
    except ValueError as error:
        names = {"scale_range": "scale", "rotate_range": "rotate", "noise_std": "noise"}
        parser.error(name_options(error, names))
    return arguments


def main() -> None:
    arguments = arguments_of()
    spec, first = spec_of(arguments.network), None
    if arguments.output is None:
        arguments.output = default_directory(spec.size, arguments.on_the_fly, arguments.after is not None)
    networks = [file for weights in (arguments.after, *arguments.teacher) for file in files_of(weights)]
    points = [path for path in [arguments.teacher_points] if path is not None]
    check_outputs(
        [arguments.output / META, *json_files()],
        [arguments.output],
        [*arguments.data, Path(arguments.boxes), *networks, *points],
    )
    check_replaceable(arguments.output)
    if arguments.after is not None or arguments.teacher:
        single_threaded_blas()
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # Caffe's own threads: the workers use all cores
    if arguments.after is not None:
        _, first = open_first(arguments.after)
    teacher = teacher_of(arguments)
    scheduler = scheduler_of(arguments, [*arguments.data, arguments.after, *arguments.teacher])
    where = scheduler or arguments.workers
    faces = choose_faces(arguments, where)
    unknown = set(arguments.copies_of) - faces.folders
    if unknown:
        roots = ", ".join(map(str, arguments.data))
        raise FaceAlignError(f"{roots}: no folder {', '.join(sorted(unknown))} for --copies-of in it")
    boxes, training, validation = jobs_of(arguments.boxes, faces.training, faces.validation, where)
    if first is not None:
        shapes = np.stack([sample.points for sample in faces.training])
        spec = aligned_spec(spec, shapes, arguments.margin, first.spec.name)
    settings = SampleSettings(spec, arguments.augmentation, arguments.seed, first)
    data = DataSet(faces, boxes, training, validation, settings, teacher, scheduler)
    check_space(arguments, data)
    write_data_set(arguments, data)


def teacher_of(arguments: argparse.Namespace) -> Teacher | TeacherPoints | None:
    """The teacher, its networks opened. Raises FaceAlignError when they cannot be, or a folder is none."""
    if arguments.teacher:
        second = arguments.teacher[1] if len(arguments.teacher) > 1 else None
        teacher = Teacher(arguments.teacher[0], second, arguments.distillation_weight)
        teacher.open()
        return teacher
    if arguments.teacher_points is not None:
        points = TeacherPoints(arguments.teacher_points, arguments.distillation_weight)
        points.check()
        return points
    return None
