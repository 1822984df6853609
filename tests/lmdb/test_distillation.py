"""Landmarks between the annotated ones and what networks tell, against the aligner on the same photos."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.lmdb import distillation
from facealign.lmdb.distillation import Teacher, TeacherPoints, distilled, distilled_from_points
from facealign.lmdb.jobs import Job
from tests.dotted_photos import write_photo

MODELS = Path(__file__).parents[2] / "models"
FIRST, SECOND = MODELS / "mobilenet_v2_stage3.onnx", MODELS / "mobilenet_v2_cascade.onnx"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for index in range(5):
        write_photo(root / "faces", f"face{index}", np.random.default_rng(index), index)
    return [Job(sample, box_from_landmarks(sample.points), "landmarks") for sample in scan(root).samples]


@pytest.mark.parametrize("second", [None, SECOND])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_landmarks_move_by_the_share_towards_what_the_networks_tell(jobs, second, share):
    aligner = FaceAligner.open(FIRST, "onnx", detector=False, flip=True, cascade=second)
    for before, after in zip(jobs, distilled(jobs, Teacher(FIRST, second, share), 1), strict=True):
        (told,) = aligner.landmarks_in(read_image(before.sample.path, orient=False), before.box[None])
        wanted = (1 - share) * before.sample.points + share * told
        np.testing.assert_allclose(after.sample.points, wanted, atol=1e-9)
        assert np.abs(told - before.sample.points).max() > 1
        assert replace(after, sample=replace(after.sample, points=before.sample.points)) == before


def test_the_number_of_workers_does_not_matter(jobs):
    one, two = ([job.sample.points for job in distilled(jobs, Teacher(FIRST, SECOND), n)] for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_opencv_has_one_thread_while_a_network_predicts_and_as_many_as_before_then(jobs, monkeypatch):
    """Sums in several threads depend on how many there are: landmarks would, on the number of workers."""
    threads = []

    class Recorded(FaceAligner):
        def landmarks_in(self, image, boxes):
            threads.append(cv2.getNumThreads())
            return super().landmarks_in(image, boxes)

    monkeypatch.setattr(distillation, "FaceAligner", Recorded)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        moved = [job.sample.points for job in distilled(jobs, Teacher(FIRST, SECOND), 1)]
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
    assert threads == [1] * len(jobs)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        moved, [job.sample.points for job in distilled(jobs, Teacher(FIRST, SECOND), 2)]
    )


def test_a_face_whose_photo_cannot_be_read_stays_for_who_cuts_it(jobs, tmp_path):
    gone = replace(jobs[0], sample=replace(jobs[0].sample, path=tmp_path / "gone.jpg"))
    kept, moved = distilled([gone, jobs[1]], Teacher(FIRST), 1)
    assert kept is gone
    assert not np.array_equal(moved.sample.points, jobs[1].sample.points)


@pytest.mark.parametrize("weights", [Path("nothing.onnx"), SECOND])
def test_what_is_no_first_network_is_refused(weights):
    with pytest.raises(FaceAlignError, match=weights.name):
        Teacher(weights).open()


def test_landmarks_move_towards_the_points_of_a_folder_and_the_others_stay(jobs, tmp_path):
    """The folder has the first two faces, and a file for the third that is broken."""
    teacher = TeacherPoints(tmp_path / "points", 0.25)
    predicted = np.random.default_rng(3).uniform(0, 100, (2, 68, 2))
    for job, points in zip(jobs[:2], predicted, strict=True):
        place = tmp_path / "points" / f"{job.sample.relative.rpartition('.')[0]}.pts"
        write_pts(place, points)
    (place.parent / "face2.pts").write_text("version: 1\n")
    skipped = []
    moved = list(distilled_from_points(jobs, teacher, skipped.append))
    for before, after, points in zip(jobs, moved, predicted, strict=False):
        wanted = 0.75 * before.sample.points + 0.25 * points
        np.testing.assert_allclose(after.sample.points, wanted, atol=1e-6)
        assert replace(after, sample=replace(after.sample, points=before.sample.points)) == before
    assert all(after is before for before, after in zip(jobs[2:], moved[2:], strict=True))
    assert [str(place.parent / "face2.pts") in str(error) for error in skipped] == [True]


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (None, "no such folder"),
        ("{", "not a JSON file"),
        ('{"settings": {"members": [{"name": "one"}]}}', r"members\[0\]\.files is missing"),
    ],
)
def test_a_folder_of_points_that_is_none_is_refused(tmp_path, described, said):
    folder = tmp_path / "points"
    if described is not None:
        folder.mkdir()
        (folder / "annotations.json").write_text(described)
    with pytest.raises(FaceAlignError, match=said) as caught:
        TeacherPoints(folder).check()
    assert str(folder) in str(caught.value)
