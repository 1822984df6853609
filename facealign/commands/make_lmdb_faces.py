"""Which faces `facealign make-lmdb` takes, to train and to validate on, and which it leaves out."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facealign.commands.messages import problem
from facealign.concurrency.pools import Where
from facealign.datasets.detected_boxes import boxes_for, read_boxes
from facealign.datasets.duplicates import find_copies
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.datasets.split import split
from facealign.datasets.validation_300w import in_held_out, in_validation
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks
from facealign.geometry.landmarks import eye_distance
from facealign.lmdb.jobs import Job


@dataclass(frozen=True)
class ChosenFaces:
    """The faces of both parts.

    folders: with faces, used or not; copies: names of training faces left out because they look like those of
    test or validation photos; left_out: their number, and those of others, by the names they have in
    meta.json.
    """

    training: list[Sample]
    validation: list[Sample]
    folders: set[str]
    copies: list[str]
    left_out: dict[str, int]

    @property
    def validation_is_fixed(self) -> bool:
        """Whether it is 300-W's validation part."""
        return any(map(in_validation, self.validation))


def choose_faces(arguments: argparse.Namespace, where: Where) -> ChosenFaces:
    """Find the annotated faces and choose; what cannot be used is reported.

    where: number of worker processes, or a scheduler. Raises FaceAlignError when none is left to train on.
    """
    found = faces_in(*arguments.data, strict=arguments.strict, where=where)
    for _, reason in found.skipped:
        problem("skipped", reason)
    training, validation = split(found.samples, arguments.validation, arguments.seed)
    tests = sum(sample.is_test for sample in found.samples)
    held_out = sum(in_held_out(sample) and not sample.is_test for sample in found.samples)
    by_name = len(found.samples) - tests - held_out - len(training) - len(validation)
    copies = set() if arguments.keep_copies else copies_in(training, validation, found.samples, where)
    training = [sample for sample in training if sample.relative not in copies]
    facing = [sample for sample in training if eye_distance(sample.points) >= arguments.min_eye_distance]
    if not facing:
        roots = ", ".join(map(str, arguments.data))
        raise FaceAlignError(f"{roots}: all faces are turned away; lower --min-eye-distance")
    left_out = {
        "test_faces_left_out": tests,
        "held_out_faces_left_out": held_out,
        "copies_left_out_by_name": by_name,
        "copies_left_out_by_content": len(copies),
        "turned_away_left_out": len(training) - len(facing),
        "profiles_left_out": found.profiles,
        "annotations_skipped": len(found.skipped),
    }
    folders = {sample.subset for sample in found.samples}
    return ChosenFaces(facing, validation, folders, sorted(copies), left_out)


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
