"""Evaluation on a made-up tree in the layout of 300-W, with aligners whose errors are known beforehand."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facealign.datasets.detected_boxes import FaceBox, checksum_of
from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from facealign.evaluation.figures import breakdown, figures, results
from facealign.evaluation.measure import (
    box_of_annotation,
    detected_box,
    limit_per_folder,
    listed_box,
    measure,
)
from facealign.evaluation.results_file import read_results, write_results
from tests.upright_face import upright_face

FOLDERS = {"helen/testset": 3, "lfpw/testset": 2, "ibug": 4, "afw": 1}
SETTINGS = {"method": "oracle", "input": "64x64", "boxes": "landmarks"}


def make_face(rng):
    """68 points, roughly a face, 0-based, in a 200x240 image; no two faces alike."""
    angle = np.linspace(np.pi, 0, 17)
    contour = np.column_stack([np.cos(angle) * 50, np.sin(angle) * 60])
    rest = rng.uniform((-35, -35), (35, 45), (51, 2))
    eyes = np.array([[-22, -15]] * 6 + [[22, -15]] * 6) + rng.uniform(-6, 6, (12, 2))
    points = np.vstack([contour, rest])
    points[36:48] = eyes
    turn = np.deg2rad(rng.uniform(-30, 30))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ rotation.T * rng.uniform(0.7, 1.1) + (120, 100) + rng.uniform(-15, 15, 2)


def write_face(folder, name, points, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}{suffix}"), np.full((200, 240, 3), 90, np.uint8))
    lines = "\n".join(f"{x + 1:.6f} {y + 1:.6f}" for x, y in points)
    (folder / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(3)
    for folder, count in FOLDERS.items():
        for index in range(count):
            write_face(tmp_path / "300w" / folder, f"image_{index}", make_face(rng))
    return tmp_path


class Oracle:
    """Answers with the annotation, changed by `change`. Misses the faces whose path is in `missed`."""

    def __init__(self, change=lambda points: points, missed=()):
        self.change = change
        self.missed = set(missed)

    def find(self, sample, image):
        self.points = sample.points
        return None if sample.relative in self.missed else box_of_annotation(sample, image)

    def align(self, image, boxes):
        assert boxes.shape == (1, 4)
        return self.change(self.points.copy())[None]


def evaluate(root, oracle):
    samples = scan(root).samples
    return results(samples, measure(samples, oracle.find, oracle.align), SETTINGS)


def eye_distances(points):
    """Inter-pupil and inter-ocular distance by their definitions."""
    left = sum(points[index] for index in range(36, 42)) / 6
    right = sum(points[index] for index in range(42, 48)) / 6
    return np.hypot(*(left - right)), np.hypot(*(points[36] - points[45]))


def test_the_truth_has_no_error(root):
    for subset in evaluate(root, Oracle())["subsets"].values():
        assert subset["nme_inter_pupil"] == pytest.approx(0, abs=1e-9)
        assert subset["failure_rate_08"] == subset["failure_rate_10"] == 0
        assert subset["auc_08"] == pytest.approx(1, abs=1e-3)


def test_a_known_offset_gives_the_nme_by_hand(root):
    data = evaluate(root, Oracle(lambda points: points + np.array([3.0, 4.0])))
    for name, folders in {
        "common": ["helen/testset", "lfpw/testset"],
        "challenging": ["ibug"],
        "full": ["helen/testset", "lfpw/testset", "ibug"],
        "afw": ["afw"],
        "helen/testset": ["helen/testset"],
    }.items():
        faces = [sample.points for sample in scan(root).samples if sample.subset in folders]
        distances = np.array([eye_distances(points) for points in faces])
        subset = data["subsets"][name]
        assert subset["images"] == len(faces) == sum(FOLDERS[folder] for folder in folders)
        assert subset["nme_inter_pupil"] == pytest.approx(100 * np.mean(5 / distances[:, 0]))
        assert subset["nme_inter_ocular"] == pytest.approx(100 * np.mean(5 / distances[:, 1]))
        for suffix, threshold in (("08", 0.08), ("10", 0.10)):
            errors = 5 / distances[:, 1]
            assert subset[f"failure_rate_{suffix}"] == pytest.approx(np.mean(errors > threshold))
            # The area under the share of errors below x, from 0 to the threshold.
            area = np.mean(np.clip(1 - errors / threshold, 0, 1))
            assert subset[f"auc_{suffix}"] == pytest.approx(area, abs=2e-3)
            errors = 5 / distances[:, 0]
            assert subset[f"failure_rate_{suffix}_inter_pupil"] == pytest.approx(np.mean(errors > threshold))


def test_shuffled_landmarks_and_a_constant_shape_are_bad(root):
    shuffle = np.random.default_rng(0).permutation(68)
    constant = make_face(np.random.default_rng(99))
    for change in (lambda points: points[shuffle], lambda points: constant):
        full = evaluate(root, Oracle(change))["subsets"]["full"]
        assert full["nme_inter_pupil"] > 20
        assert full["failure_rate_10"] > 0.8
        assert full["auc_08"] < 0.1


def test_mirrored_points_without_the_index_swap_are_bad(root):
    full = evaluate(root, Oracle(lambda points: points[::-1]))["subsets"]["full"]
    assert full["failure_rate_10"] == 1


def test_missed_faces_are_counted_as_failures_and_left_out_of_the_nme(root):
    missed = ["300w/ibug/image_0.png", "300w/ibug/image_3.png", "300w/helen/testset/image_1.png"]
    known = {sample.relative for sample in scan(root).samples}
    missed = [path for path in known if path in missed or f"300w/{path}" in missed]
    assert len(missed) == 3
    data = evaluate(root, Oracle(missed=missed))
    challenging, full = data["subsets"]["challenging"], data["subsets"]["full"]
    assert (challenging["images"], challenging["missed_detections"]) == (4, 2)
    assert challenging["failure_rate_08"] == 0.5
    assert challenging["auc_10"] == pytest.approx(0.5, abs=1e-3)
    assert challenging["nme_inter_pupil"] == pytest.approx(0, abs=1e-9)
    assert full["failure_rate_10"] == pytest.approx(3 / 9)
    assert [path for path, error in data["errors"].items() if error is None] == sorted(missed)
    assert "missed" in data["missed_detection_rule"]


def test_all_faces_missed_leaves_no_nme():
    assert figures([None, None]) == {
        "images": 2,
        "missed_detections": 2,
        "nme_inter_pupil": None,
        "nme_inter_ocular": None,
        "nme_inter_pupil_interval": None,
        "nme_inter_ocular_interval": None,
        **{f"failure_rate_{limit}{norm}": 1.0 for limit in ("08", "10") for norm in ("", "_inter_pupil")},
        **{f"auc_{limit}{norm}": 0.0 for limit in ("08", "10") for norm in ("", "_inter_pupil")},
    }


def test_no_face_is_refused():
    with pytest.raises(ValueError, match="no face"):
        figures([])


def test_what_is_absent_is_said(root):
    data = evaluate(root, Oracle())
    assert sorted(data["absent"]) == ["01_indoor", "02_outdoor", "helen/trainset", "lfpw/trainset"]
    assert list(data["subsets"])[:3] == ["common", "challenging", "full"]
    assert data["incomplete"]["common"] == {"images": 5, "in_release": 554}
    assert data["incomplete"]["full"] == {"images": 9, "in_release": 689}


def test_a_tree_with_training_folders_only_has_no_common_challenging_or_full(tmp_path):
    write_face(tmp_path / "lfpw" / "trainset", "one", make_face(np.random.default_rng(1)))
    data = evaluate(tmp_path, Oracle())
    assert list(data["subsets"]) == ["lfpw/trainset"]
    assert {"common", "challenging", "full", "ibug", "afw"} <= set(data["absent"])


def test_a_bad_image_is_reported_and_skipped_unless_strict(root):
    (root / "300w" / "ibug" / "image_2.png").write_bytes(b"not a picture")
    samples = scan(root).samples
    oracle = Oracle()
    heard = []
    measured = measure(samples, oracle.find, oracle.align, on_skip=lambda file, reason: heard.append(file))
    data = results(samples, measured, SETTINGS)
    assert data["subsets"]["challenging"]["images"] == 3
    assert len(heard) == 1
    assert heard[0].endswith("ibug/image_2.png")
    assert data["skipped"][0]["file"] == heard[0]
    with pytest.raises(FaceAlignError, match=r"image_2\.png"):
        measure(samples, oracle.find, oracle.align, strict=True)


def test_limit_is_per_folder(root):
    kept = limit_per_folder(scan(root).samples, 2)
    assert sorted(sample.subset for sample in kept) == sorted(
        ["helen/testset"] * 2 + ["lfpw/testset"] * 2 + ["ibug"] * 2 + ["afw"]
    )


def test_a_detector_that_finds_somebody_else_has_missed_the_face(root):
    sample = scan(root).samples[0]

    class Found:
        box = np.array([0.0, 0.0, 20.0, 20.0])

    assert detected_box(lambda image: [Found()])(sample, np.zeros((200, 240, 3), np.uint8)) is None


def test_of_several_detections_the_annotated_face_s_is_taken(root):
    sample = scan(root).samples[0]
    low, high = sample.points.min(0), sample.points.max(0)
    near = np.concatenate([low - 3, high + 3])

    class Found:
        def __init__(self, box):
            self.box = np.array(box, dtype=float)

    everybody = [Found((0, 0, 20, 20)), Found(near + 9), Found(near), Found(near - 12)]
    image = np.zeros((200, 240, 3), np.uint8)
    np.testing.assert_array_equal(detected_box(lambda image: everybody)(sample, image), near)
    assert detected_box(lambda image: [])(sample, image) is None


def test_listed_boxes(root):
    first, second, third, fourth = scan(root).samples[:4]
    box = np.array([1.0, 2.0, 30.0, 40.0])
    faces = {
        first.relative: FaceBox(box, "mtcnn", 0.99, 0.7, checksum_of(first)),
        second.relative: FaceBox(box, "landmarks", None, 0.0, checksum_of(second)),
        fourth.relative: FaceBox(box, "unreadable", None, 0.0, checksum_of(fourth)),
    }
    find = listed_box(faces, "faces.json")
    image = np.zeros((200, 240, 3), np.uint8)
    np.testing.assert_array_equal(find(first, image), box)
    assert find(second, image) is None
    assert find(fourth, image) is None
    with pytest.raises(FaceAlignError, match=r"faces\.json"):
        find(third, image)


def test_the_box_of_another_picture_is_refused(root):
    sample = scan(root).samples[0]
    faces = {
        sample.relative: FaceBox(np.array([1.0, 2.0, 30.0, 40.0]), "mtcnn", 0.99, 0.7, checksum_of(sample))
    }
    with sample.path.open("ab") as picture:
        picture.write(b"more")
    with pytest.raises(FaceAlignError, match=sample.path.name):
        listed_box(faces, "faces.json")(sample, np.zeros((200, 240, 3), np.uint8))


def test_the_faces_that_validate_are_a_subset_of_their_own(root):
    samples = scan(root).samples
    validation = {sample.relative for sample in samples[:3]}  # afw and two of HELEN's test set
    oracle = Oracle(lambda points: points + np.array([3.0, 4.0]))
    data = results(samples, measure(samples, oracle.find, oracle.align), SETTINGS, validation)
    assert next(iter(data["subsets"])) == "validation"
    assert data["members"]["validation"] == [sample.relative for sample in samples[:3]]
    assert data["subsets"]["common"]["images"] == 3
    assert "afw" not in data["subsets"]
    assert data["absent"] == []
    faces = [eye_distances(sample.points)[0] for sample in samples[:3]]
    assert data["subsets"]["validation"]["nme_inter_pupil"] == pytest.approx(
        100 * np.mean(5 / np.array(faces))
    )
    by_set = {row["name"]: row["images"] for row in data["breakdown"] if row["by"] == "data set"}
    assert by_set == {"afw": 1, "helen/testset": 2}


@pytest.mark.parametrize(
    ("whole", "said"), [(None, None), (3, None), (300, {"images": 3, "in_release": 300})]
)
def test_a_part_of_the_validation_part_is_not_taken_for_it(root, whole, said):
    samples = scan(root).samples
    validation = {sample.relative for sample in samples[:3]}
    oracle = Oracle(lambda points: points)
    measured = measure(samples, oracle.find, oracle.align)
    data = results(samples, measured, SETTINGS, validation, whole)
    assert data["incomplete"].get("validation") == said
    assert "validation" not in data["absent"]


def test_errors_are_told_apart_by_group_and_pose(root):
    def only_the_nose(points):
        points[27:36] += np.array([3.0, 4.0])
        return points

    samples = scan(root).samples
    oracle = Oracle(only_the_nose, missed=[samples[0].relative])
    data = evaluate(root, oracle)
    rows = {(row["by"], row["name"]): row for row in data["breakdown"]}
    distances = np.array([eye_distances(sample.points) for sample in samples[1:]])
    for group in ("contour", "brows", "nose", "eyes", "mouth"):
        row = rows["landmarks", group]
        assert (row["images"], row["missed_detections"]) == (10, 1)
        for index, name in enumerate(("inter_pupil", "inter_ocular")):
            expected = 100 * np.mean(5 / distances[:, index]) if group == "nose" else 0
            assert row[f"nme_{name}"] == pytest.approx(expected, abs=1e-9)
            low, high = row[f"nme_{name}_interval"]
            assert low - 1e-9 <= expected <= high + 1e-9
    for by, faces in (("yaw", 10), ("pitch", 10), ("box overlap", 9), ("face size", 10)):
        assert sum(row["images"] for (kind, _), row in rows.items() if kind == by) == faces


def test_faces_are_told_apart_by_their_box_and_size(root):
    points = 120 + 60 * upright_face()
    tight = np.concatenate([points.min(axis=0), points.max(axis=0)])
    cut = tight - np.array([0, 0, 0, 0.42 * (tight[3] - tight[1])])  # the rest has 0.58 of its area
    samples = [dataclasses.replace(sample, points=points) for sample in scan(root).samples[:2]]
    samples[1] = dataclasses.replace(samples[1], points=3 * points)
    boxes = {samples[0].relative: tight, samples[1].relative: 3 * cut}
    measured = measure(
        samples, lambda sample, image: boxes[sample.relative], lambda image, boxes: points[None]
    )
    rows = {(row["by"], row["name"]): row["images"] for row in breakdown(samples, measured)}
    assert {name: rows[by, name] for by, name in rows if by == "box overlap"} == {
        "0.5 to 0.6": 1,
        "0.7 or more": 1,
    }
    assert {name: rows[by, name] for by, name in rows if by == "face size"} == {
        "less than 75 pixels": 1,
        "150 to 300 pixels": 1,
    }


def test_what_was_compared_is_kept_for_every_face(root):
    missed = scan(root).samples[0]
    data = evaluate(root, Oracle(lambda points: points + np.array([3.0, 4.0]), missed=[missed.relative]))
    assert list(data["faces"]) == list(data["errors"])
    assert data["faces"][missed.relative]["predicted"] is data["faces"][missed.relative]["box"] is None
    for sample in scan(root).samples[1:]:
        face = data["faces"][sample.relative]
        np.testing.assert_allclose(face["truth"], sample.points, atol=0.0051)
        np.testing.assert_allclose(face["predicted"], sample.points + np.array([3.0, 4.0]), atol=0.0051)
        np.testing.assert_allclose(face["box"], box_of_annotation(sample, None), atol=0.0051)


@pytest.mark.parametrize(
    ("yaw", "pitch", "kinds"),
    [
        (0, 0, ("frontal", "level")),
        (-9, 0, ("frontal", "level")),
        (22, 0, ("half", "level")),
        (-22, 18, ("half", "up")),
        (40, 0, ("strong", "level")),
        (0, -20, ("frontal", "down")),
    ],
)
def test_a_head_turned_by_known_angles_is_told_by_its_pose(root, yaw, pitch, kinds):
    sample = scan(root).samples[0]
    points = turned_head(yaw, pitch)
    sample = dataclasses.replace(sample, points=points)
    oracle = Oracle()
    rows = breakdown([sample], measure([sample], oracle.find, oracle.align))
    assert tuple(row["name"] for row in rows if row["by"] in ("yaw", "pitch")) == kinds


def turned_head(yaw, pitch):
    """The demo's head where its crop's camera expects it, its other points between the six."""
    six = np.array(
        [
            (0, 0, 0),
            (0, -330, -65),
            (-225, 170, -135),
            (225, 170, -135),
            (-150, -150, -125),
            (150, -150, -125),
        ]
    )
    turn = Rotation.from_rotvec([-np.deg2rad(pitch), 0, 0]) * Rotation.from_rotvec([0, np.deg2rad(yaw), 0])
    x, y, z = turn.apply(six).T
    depth = 680 - z
    seen = np.column_stack([100 + 160 * x / depth, 100 - 160 * y / depth])
    points = np.tile(seen.mean(axis=0), (68, 1))
    points[[30, 8, 36, 45, 48, 54]] = seen
    points[37:42], points[42:45], points[46:48] = seen[2], seen[3], seen[3]
    return points


def test_results_survive_the_file(root, tmp_path):
    data = evaluate(root, Oracle(lambda points: points + 2))
    path = tmp_path / "deep" / "out.json"
    write_results(path, data)
    assert read_results(path) == json.loads(json.dumps(data))
    assert [entry.name for entry in path.parent.iterdir()] == ["out.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"subsets": 3}', "\x00"])
def test_a_file_that_is_no_evaluation_is_named(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(FaceAlignError, match=r"bad\.json"):
        read_results(path)
    with pytest.raises(FaceAlignError, match="evaluate"):
        read_results(Path(tmp_path / "missing.json"))


def test_of_a_folder_that_is_not_of_300w_nothing_of_300w_is_called_absent(tmp_path):
    for index in range(2):
        write_face(tmp_path / "mine", f"photo{index}", make_face(np.random.default_rng(index)))
    data = evaluate(tmp_path, Oracle())
    assert list(data["subsets"]) == ["mine"]
    assert data["absent"] == []
