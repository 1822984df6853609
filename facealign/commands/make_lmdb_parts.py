"""Writing the LMDBs of `facealign make-lmdb`, and saying what was written."""

import argparse
import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.commands.make_lmdb_faces import ChosenFaces
from facealign.commands.messages import number_of, problem, progress, result, write_json
from facealign.concurrency.cluster import Scheduler
from facealign.concurrency.pools import Where
from facealign.datasets.sample import Sample
from facealign.datasets.validation_300w import FACES
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.lmdb.context_crop_writer import face_record_bytes as face_bytes
from facealign.lmdb.context_crop_writer import write_faces
from facealign.lmdb.distillation import Teacher, TeacherPoints, distilled, distilled_from_points
from facealign.lmdb.jobs import (
    Job,
    PartRequest,
    SampleSettings,
    Wrap,
    Written,
    described_settings,
    fingerprint,
)
from facealign.lmdb.meta import META, write_meta
from facealign.lmdb.pairs import pairs_bytes
from facealign.lmdb.sample_writer import cut_bytes, write_training_part, write_validation_part

LEFT_OUT = {
    "test_faces_left_out": ("face", "of 300-W's test sets left out"),
    "held_out_faces_left_out": ("face", "of 300-W's held-out part left out"),
    "copies_left_out_by_name": ("copy", "of test or validation photos, by their names, left out"),
    "copies_left_out_by_content": ("copy", "of test or validation photos, by what they look like, left out"),
    "turned_away_left_out": ("face", "turned away left out (--min-eye-distance)"),
    "profiles_left_out": ("profile face", "with 39 points left out"),
    "annotations_skipped": ("annotation", "that cannot be used skipped"),
}
"""Number of `ChosenFaces.left_out` -> what it counts."""


@dataclass(frozen=True)
class DataSet:
    """What is to be written: both parts, and how.

    boxes: description of the boxes' source; teacher: a network, or a folder of landmarks, that moves the
    training faces' landmarks; scheduler: whose workers read and cut the photos, if any.
    """

    faces: ChosenFaces
    boxes: dict[str, Any]
    training: list[Job]
    validation: list[Job]
    settings: SampleSettings
    teacher: Teacher | TeacherPoints | None
    scheduler: Scheduler | None


def check_replaceable(output: Path) -> None:
    """Raise FaceAlignError when `output` exists and is not a folder of LMDBs, which may be replaced."""
    ours = not output.exists() or (
        output.is_dir() and ((output / META).exists() or not any(output.iterdir()))
    )
    if not ours:
        raise FaceAlignError(f"{output}: exists and holds no LMDBs; remove it, or give another --output")


def check_space(arguments: argparse.Namespace, data: DataSet) -> None:
    """Raise FaceAlignError when the disk of the output has less free than the data set needs."""
    copies = [arguments.copies_of.get(job.sample.subset, arguments.copies) for job in data.training]
    samples = (0 if arguments.on_the_fly else sum(copies)) + len(data.validation)
    size_of = face_bytes if arguments.on_the_fly else cut_bytes
    cuts = sum(size_of(job, data.settings) for job in data.training)
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    needed, free = (
        pairs_bytes(samples, *data.settings.spec.size) + cuts,
        shutil.disk_usage(output.parent).free,
    )
    if free < needed:
        raise FaceAlignError(f"{output}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")


def write_data_set(arguments: argparse.Namespace, data: DataSet) -> None:
    """Write both parts and meta.json, and say what was written."""

    def skip(error: FaceAlignError) -> None:
        if arguments.strict:
            raise error
        problem("skipped", str(error))

    def wrap(items: Iterator[Any], total: int, what: str) -> Iterable[Any]:
        unit = "faces" if what in ("cut", "distilled") or arguments.on_the_fly else "samples"
        return bars.enter_context(progress(items, total=total, what=what, unit=unit))

    # Bars are closed before an error is printed, which would otherwise appear in the middle of one.
    with ExitStack() as bars, replacing(arguments.output) as partial:
        partial.mkdir()
        where = data.scheduler or arguments.workers
        jobs, distillation, without_teacher = _distilled(data, where, wrap, skip)
        request = PartRequest(
            partial, "train", jobs, data.settings, arguments.workers, wrap, skip, data.scheduler
        )
        if arguments.on_the_fly:
            parts = {"train": write_faces(request)}
        else:
            parts = {"train": write_training_part(request, arguments.copies, arguments.copies_of)}
        if data.validation:
            request = dataclasses.replace(request, part="val", jobs=data.validation)
            parts["val"] = write_validation_part(request)
        write_meta(partial, {**_description(arguments, data, parts, where), **distillation})
    _say(arguments, data, parts, without_teacher)


def _distilled(
    data: DataSet, where: Where, wrap: Wrap, skip: Callable[[FaceAlignError], None]
) -> tuple[Sequence[Job], dict[str, Any], int]:
    """The training jobs, moved by the teacher; its description; number of faces it has no landmarks of."""
    jobs = data.training
    if isinstance(data.teacher, Teacher):
        moved = list(wrap(distilled(jobs, data.teacher, where), len(jobs), "distilled"))
        return moved, {"teacher": data.teacher.describe()}, 0
    if isinstance(data.teacher, TeacherPoints):
        moved = list(distilled_from_points(jobs, data.teacher, skip))
        kept = sum(job is before for job, before in zip(moved, jobs, strict=True))
        if kept == len(jobs):
            _check_left_out(data.teacher, jobs[0].sample)
        return moved, {"teacher": data.teacher.describe(len(jobs) - kept, kept)}, kept
    return jobs, {}, 0


def _check_left_out(points: TeacherPoints, face: Sample) -> None:
    """Say that a teacher's folder has the landmarks of no face, as all were left out.

    Raises FaceAlignError when it has some, of others than the faces of this data; face: one of these.
    """
    if any(points.folder.rglob("*.pts")):
        raise FaceAlignError(f"{points.folder}: has the landmarks of no face, such as {points.path_of(face)}")
    problem("warning", f"{points.folder}: holds no landmarks: all were left out")


def _description(
    arguments: argparse.Namespace, data: DataSet, parts: Mapping[str, Written], where: Where
) -> dict[str, Any]:
    """What meta.json holds, but for the teacher."""
    skipped = {name for part in parts.values() for name in part.skipped}
    validation = [job for job in data.validation if job.sample.relative not in skipped]
    used = [job for job in (*data.training, *data.validation) if job.sample.relative not in skipped]
    return {
        **described_settings(data.settings),
        "fresh": arguments.on_the_fly,
        "copies": 1 if arguments.on_the_fly else arguments.copies,
        "copies_of": arguments.copies_of,
        "validation_faces": [job.sample.relative for job in validation],
        "validation_share": arguments.validation,
        "validation_is_fixed": data.faces.validation_is_fixed,
        "boxes": data.boxes,
        "boxes_from_landmarks": sum(job.source != "mtcnn" for job in used),
        "source_sha256": fingerprint(used, where),
        **data.faces.left_out,
        "copies_left_out_by_content": data.faces.copies,
        "min_eye_distance": arguments.min_eye_distance,
        "parts": {name: dataclasses.asdict(part) for name, part in parts.items()},
    }


def _say(
    arguments: argparse.Namespace, data: DataSet, parts: Mapping[str, Written], without_teacher: int
) -> None:
    """Say how many faces were left out, and how many samples there are; also as JSON where that is wanted."""
    output = arguments.output
    for name, (noun, reason) in LEFT_OUT.items():
        if data.faces.left_out[name]:
            result(f"{output}: {number_of(data.faces.left_out[name], noun)} {reason}")
    if without_teacher:
        faces = number_of(without_teacher, "face")
        result(f"{output}: {faces} without landmarks in {arguments.teacher_points}, trained on as annotated")
    for name, part in parts.items():
        kind = "context crop" if name == "train" and arguments.on_the_fly else "sample"
        faces = number_of(sum(part.faces.values()), "face")
        result(f"{output}: {name}: {number_of(part.samples, kind)} of {faces}")
    if data.validation and data.faces.validation_is_fixed and parts["val"].samples < FACES:
        problem("warning", f"{output}: val: not the whole validation part of 300-W, which has {FACES} faces")
    numbers = {
        name: {"samples": part.samples, "faces": sum(part.faces.values()), "skipped": len(part.skipped)}
        for name, part in parts.items()
    }
    write_json(
        {
            "output": str(output),
            "parts": numbers,
            **data.faces.left_out,
            "without_teacher": without_teacher,
        }
    )
