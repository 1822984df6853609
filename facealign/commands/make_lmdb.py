"""Write the LMDBs for training from annotated photos and their boxes (facealign detect-faces).

Every training face gives COPIES samples, augmented by flip, shift, scale, rotation and noise, all shuffled
once; or, with --on-the-fly, one context crop, which Caffe augments for each sample. Every validation face
gives one sample without augmentation; 300-W's validation part is fixed. With --after the samples are for a
second cascade stage: cut by the landmarks that the first stage predicts on augmented crops; or, with
--on-the-fly, by the annotated landmarks, and the augmentation stands for the first stage's errors. The same
seed gives the same bytes, whatever the number of workers.
"""

import argparse
import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from facealign.commands import add_data, add_strict, add_workers, name_options, program, scheduler_of
from facealign.commands.messages import json_files, number_of, problem, progress, result, write_json
from facealign.concurrency.pools import Where
from facealign.crops.aligned import MARGIN, aligned_spec
from facealign.crops.augmentation import Augmentation
from facealign.datasets.detected_boxes import boxes_for, read_boxes
from facealign.datasets.duplicates import find_copies
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.datasets.split import split
from facealign.datasets.validation_300w import FACES, in_held_out, in_validation
from facealign.engines.pycaffe import single_threaded_blas
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks
from facealign.geometry.landmarks import eye_distance
from facealign.io.atomic import replacing
from facealign.io.outputs import check_outputs
from facealign.lmdb.context_crop_writer import face_record_bytes as face_bytes
from facealign.lmdb.context_crop_writer import write_faces
from facealign.lmdb.distillation import Teacher, TeacherPoints, distilled, distilled_from_points
from facealign.lmdb.jobs import Job, PartRequest, SampleSettings, described_settings, fingerprint
from facealign.lmdb.meta import META, default_directory, write_meta
from facealign.lmdb.pairs import pairs_bytes
from facealign.lmdb.sample_writer import cut_bytes, open_first, write_training_part, write_validation_part
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
    for name, low in (("workers", 1), ("copies", 1), ("seed", 0)):
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
    size = spec.size
    output = arguments.output or default_directory(size, arguments.on_the_fly, arguments.after is not None)
    check_outputs(json_files(), [output])
    check_replaceable(output)
    teacher = None
    if arguments.teacher:
        second = arguments.teacher[1] if len(arguments.teacher) > 1 else None
        teacher = Teacher(arguments.teacher[0], second, arguments.distillation_weight)
    points = None
    if arguments.teacher_points is not None:
        points = TeacherPoints(arguments.teacher_points, arguments.distillation_weight)
        points.check()
    if arguments.after is not None or teacher is not None:
        single_threaded_blas()
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # Caffe's own threads: the workers use all cores
    if arguments.after is not None:
        _, first = open_first(arguments.after)
    if teacher is not None:
        teacher.open()
    scheduler = scheduler_of(arguments, [*arguments.data, arguments.after, *arguments.teacher])
    where = scheduler or arguments.workers
    found = faces_in(*arguments.data, strict=arguments.strict, where=where)
    roots = ", ".join(map(str, arguments.data))
    for _, reason in found.skipped:
        problem("skipped", reason)
    training, validation = split(found.samples, arguments.validation, arguments.seed)
    tests = [sample for sample in found.samples if sample.is_test]
    held_out = sum(in_held_out(sample) and not sample.is_test for sample in found.samples)
    by_name = len(found.samples) - len(tests) - held_out - len(training) - len(validation)
    same = set() if arguments.keep_copies else copies_in(training, validation, found.samples, where)
    training = [sample for sample in training if sample.relative not in same]
    facing = [sample for sample in training if eye_distance(sample.points) >= arguments.min_eye_distance]
    if not facing:
        raise FaceAlignError(f"{roots}: all faces are turned away; lower --min-eye-distance")
    box_settings, train_jobs, val_jobs = jobs_of(arguments.boxes, facing, validation, where)
    if first is not None:
        shapes = np.stack([sample.points for sample in facing])
        spec = aligned_spec(spec, shapes, arguments.margin, first.spec.name)
    settings = SampleSettings(spec, arguments.augmentation, arguments.seed, first)
    unknown = set(arguments.copies_of) - {sample.subset for sample in found.samples}
    if unknown:
        raise FaceAlignError(f"{roots}: no folder {', '.join(sorted(unknown))} for --copies-of in it")
    copies = [arguments.copies_of.get(job.sample.subset, arguments.copies) for job in train_jobs]
    fixed = any(map(in_validation, validation))
    samples = (0 if arguments.on_the_fly else sum(copies)) + len(val_jobs)
    cuts = sum((face_bytes if arguments.on_the_fly else cut_bytes)(job, settings) for job in train_jobs)
    output.parent.mkdir(parents=True, exist_ok=True)
    needed, free = pairs_bytes(samples, *size) + cuts, shutil.disk_usage(output.parent).free
    if free < needed:
        raise FaceAlignError(f"{output}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")

    def skip(error: FaceAlignError) -> None:
        if arguments.strict:
            raise error
        problem("skipped", str(error))

    def wrap(items: Iterator[Any], total: int, what: str) -> Iterable[Any]:
        return bars.enter_context(
            progress(
                items,
                total=total,
                what=what,
                unit="face" if what in ("cut", "distilled") or arguments.on_the_fly else "sample",
            )
        )

    # Bars are closed before an error is printed, which would otherwise appear in the middle of one.
    with ExitStack() as bars, replacing(output) as partial:
        partial.mkdir()
        to_cut, kept, distillation = train_jobs, 0, {}
        if teacher is not None:
            moved = distilled(train_jobs, teacher, where)
            to_cut = list(wrap(moved, len(train_jobs), "distilled"))
            distillation = {"teacher": teacher.describe()}
        elif points is not None:
            to_cut = list(distilled_from_points(train_jobs, points, skip))
            kept = sum(job is before for job, before in zip(to_cut, train_jobs, strict=True))
            if kept == len(to_cut):
                check_left_out(points, facing[0])
            distillation = {"teacher": points.describe(len(to_cut) - kept, kept)}
        request = PartRequest(partial, "train", to_cut, settings, arguments.workers, wrap, skip, scheduler)
        if arguments.on_the_fly:
            train = write_faces(request)
        else:
            train = write_training_part(request, arguments.copies, arguments.copies_of)
        parts = {"train": train}
        if val_jobs:
            parts["val"] = write_validation_part(dataclasses.replace(request, part="val", jobs=val_jobs))
        skipped = {name for part in parts.values() for name in part.skipped}
        used = [job for job in (*train_jobs, *val_jobs) if job.sample.relative not in skipped]
        write_meta(
            partial,
            {
                **described_settings(settings),
                **distillation,
                "fresh": arguments.on_the_fly,
                "copies": 1 if arguments.on_the_fly else arguments.copies,
                "copies_of": arguments.copies_of,
                "validation_faces": [
                    job.sample.relative for job in val_jobs if job.sample.relative not in skipped
                ],
                "validation_share": arguments.validation,
                "validation_is_fixed": fixed,
                "boxes": box_settings,
                "boxes_from_landmarks": sum(job.source != "mtcnn" for job in used),
                "source_sha256": fingerprint(used, where),
                "test_faces_left_out": len(tests),
                "held_out_faces_left_out": held_out,
                "copies_left_out_by_name": by_name,
                "copies_left_out_by_content": sorted(same),
                "profiles_left_out": found.profiles,
                "min_eye_distance": arguments.min_eye_distance,
                "turned_away_left_out": len(training) - len(facing),
                "annotations_skipped": len(found.skipped),
                "parts": {name: dataclasses.asdict(part) for name, part in parts.items()},
            },
        )
    counts = {
        "test_faces_left_out": (len(tests), "face", "of 300-W's test sets left out"),
        "held_out_faces_left_out": (held_out, "face", "of 300-W's held-out part left out"),
        "copies_left_out_by_name": (
            by_name,
            "copy",
            "of test or validation photos, by their names, left out",
        ),
        "copies_left_out_by_content": (
            len(same),
            "copy",
            "of test or validation photos, by what they look like, left out",
        ),
        "turned_away_left_out": (
            len(training) - len(facing),
            "face",
            "turned away left out (--min-eye-distance)",
        ),
        "profiles_left_out": (found.profiles, "profile face", "with 39 points left out"),
        "annotations_skipped": (len(found.skipped), "annotation", "that cannot be used skipped"),
        "without_teacher": (
            kept,
            "face",
            f"without landmarks in {arguments.teacher_points}, trained on as annotated",
        ),
    }
    for count, noun, reason in counts.values():
        if count:
            result(f"{output}: {number_of(count, noun)} {reason}")
    for name, part in parts.items():
        kind = "context crop" if name == "train" and arguments.on_the_fly else "sample"
        faces = number_of(sum(part.faces.values()), "face")
        result(f"{output}: {name}: {number_of(part.samples, kind)} of {faces}")
    if val_jobs and fixed and parts["val"].samples < FACES:
        problem("warning", f"{output}: val: not the whole validation part of 300-W, which has {FACES} faces")
    write_json(
        {
            "output": str(output),
            "parts": {
                name: {
                    "samples": part.samples,
                    "faces": sum(part.faces.values()),
                    "skipped": len(part.skipped),
                }
                for name, part in parts.items()
            },
            **{name: count for name, (count, _, _) in counts.items()},
        }
    )


def check_left_out(points: TeacherPoints, face: Sample) -> None:
    """Say that a teacher's folder has the landmarks of no face, as all were left out.

    Raises FaceAlignError when it has some, of others than the faces of this data; face: one of these.
    """
    if any(points.folder.rglob("*.pts")):
        raise FaceAlignError(f"{points.folder}: has the landmarks of no face, such as {points.path_of(face)}")
    problem("warning", f"{points.folder}: holds no landmarks: all were left out")


def copies_in(
    training: Sequence[Sample], validation: Sequence[Sample], samples: Sequence[Sample], where: Where
) -> set[str]:
    """Names of training faces that look like those of test or validation photos; each is reported."""
    usable, validates = ({sample.relative for sample in part} for part in (training, validation))
    apart = [
        sample
        for sample in samples
        if sample.relative not in usable
        and (sample.is_test or in_validation(sample) or in_held_out(sample) or sample.relative in validates)
    ]
    found = find_copies(training, apart, where)
    if found and len(found) == len(training):
        problem(
            "warning",
            f"all {len(training)} faces to train on look like test or validation photos: "
            f"{found[0].sample.path} like {found[0].original.path}; kept, as there is no other face",
        )
        return set()
    for copy in found:
        problem("left out", f"{copy.sample.path}: a copy of {copy.original.path}")
    return {copy.sample.relative for copy in found}


def check_replaceable(output: Path) -> None:
    """Raise FaceAlignError when `output` exists and is not a folder of LMDBs, which may be replaced."""
    ours = not output.exists() or (
        output.is_dir() and ((output / META).exists() or not any(output.iterdir()))
    )
    if not ours:
        raise FaceAlignError(f"{output}: exists and holds no LMDBs; remove it, or give another --output")


def jobs_of(
    boxes: str, training: list[Sample], validation: list[Sample], where: Where = 1
) -> tuple[dict[str, Any], list[Job], list[Job]]:
    """Description of the boxes' source, and the jobs of both parts."""
    if boxes == "landmarks":
        by_landmarks = [
            [Job(sample, box_from_landmarks(sample.points), "landmarks") for sample in part]
            for part in (training, validation)
        ]
        return {"detector": "landmarks"}, by_landmarks[0], by_landmarks[1]
    settings, faces = read_boxes(Path(boxes))
    parts = [
        [
            Job(sample, face.box, face.source)
            for sample, face in zip(part, boxes_for(part, faces, boxes, where), strict=True)
        ]
        for part in (training, validation)
    ]
    return settings, parts[0], parts[1]
