"""Boxes of annotated faces: found in photos, kept in a file, and refused when they are of something else."""

import dataclasses
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from facealign.datasets.detected_boxes import (
    FaceBox,
    best_match,
    boxes_for,
    checksum_of,
    described,
    find_box,
    find_boxes,
    read_boxes,
    unreadable,
    write_boxes,
)
from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks, landmark_box, overlap
from tests.upright_face import upright_face

PHOTO = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
FACE = upright_face((153, 128), 82)
"""About where her face is in it."""


def put(folder, name, picture=PHOTO, points=FACE):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), picture)
    write_pts(folder / f"{name}.pts", points)


@pytest.fixture(scope="module")
def detector():
    return MtcnnDetector.open("onnx")


@pytest.fixture
def photos(tmp_path):
    """Her photo; the same in the mirror; one without a face; and one where somebody else is found."""
    folder = tmp_path / "set"
    put(folder, "a")
    put(folder, "b", PHOTO[:, ::-1], upright_face((299 - 153, 128), 82))
    put(folder, "c", np.full_like(PHOTO, 127))
    put(folder, "d", np.hstack([PHOTO, np.zeros_like(PHOTO)]), upright_face((453, 128), 82))
    return folder


def test_the_box_of_a_face(photos, detector):
    sample = scan(photos).samples[0]
    found = find_box(sample, detector)
    (detection,) = detector.detect(PHOTO)
    np.testing.assert_array_equal(found.box, detection.box)
    assert (found.source, found.score) == ("mtcnn", detection.score)
    assert found.overlap == pytest.approx(overlap(detection.box, landmark_box(FACE)), abs=1e-6)
    assert found.overlap > 0.5
    assert found.stamp == checksum_of(sample)


@pytest.mark.parametrize("name", ["c", "d"], ids=["nobody_is_found", "somebody_else_is_found"])
def test_a_missed_face_gets_the_box_of_its_landmarks_marked_as_such(name, photos, detector):
    sample = next(sample for sample in scan(photos).samples if sample.path.stem == name)
    found = find_box(sample, detector)
    np.testing.assert_array_equal(found.box, box_from_landmarks(sample.points))
    assert (found.source, found.score, found.overlap) == ("landmarks", None, 0.0)
    assert found.stamp == checksum_of(sample)


def test_the_photo_is_read_without_its_orientation(tmp_path, detector):
    """As it was annotated: here EXIF data say that a viewer should turn her upside down."""
    put(tmp_path, "a")
    jpeg = cv2.imencode(".jpg", PHOTO)[1].tobytes()
    tiff = b"MM\0*" + (8).to_bytes(4, "big") + bytes.fromhex("0001 0112 0003 00000001 0003 0000") + bytes(4)
    exif = b"Exif\0\0" + tiff
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    )
    turned = cv2.imread(str(tmp_path / "a.jpg"))
    assert np.abs(turned[::-1, ::-1].astype(int) - PHOTO).mean() < 8
    (sample,) = scan(tmp_path).samples
    assert find_box(sample, detector).source == "mtcnn"


def test_the_match_is_the_greatest_overlap_above_three_tenths():
    """The landmarks' box is 100 x 100, from (50, 50)."""
    points = np.vstack([[[50.0, 50], [150, 150]], np.random.default_rng(0).uniform(50, 150, (66, 2))])
    whole = [50.0, 50, 150, 150]
    half = [50.0, 50, 100, 150]  # overlap 0.5
    third = [50.0, 50, 83, 150]  # 0.33
    little = [50.0, 50, 79, 150]  # 0.29
    far = [300.0, 50, 400, 150]
    for boxes, expected in (
        ([far, half, whole, third], 2),
        ([third, far, half], 2),
        ([far, third], 1),
        ([little, far], None),
        ([], None),
    ):
        assert best_match(np.array(boxes, float).reshape(-1, 4), points) == expected


def matched_by_definition(boxes, tight):
    """In fractions: no rounding where an overlap is three tenths, or where two are the same."""

    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    best, most = None, Fraction(3, 10)
    for index, box in enumerate(boxes):
        common = area([*map(max, box[:2], tight[:2]), *map(min, box[2:], tight[2:])])
        share = Fraction(common, area(box) + area(tight) - common)
        if share > most:
            best, most = index, share
    return best


whole_boxes = st.builds(
    lambda x, y, width, height: (x, y, x + width, y + height),
    *[st.integers(0, 6)] * 2,
    *[st.integers(1, 10)] * 2,
)


@settings(deadline=None, max_examples=300)
@given(boxes=st.lists(whole_boxes, max_size=6), tight=whole_boxes, seed=st.integers(0, 99))
@example(boxes=[(0, 0, 3, 10)], tight=(0, 0, 10, 10), seed=0)  # three tenths are not over three tenths
def test_the_match_against_its_definition(boxes, tight, seed):
    inside = np.random.default_rng(seed).uniform(tight[:2], tight[2:], (66, 2))
    points = np.vstack([tight[:2], inside, tight[2:]])
    assert best_match(np.array(boxes, float).reshape(-1, 4), points) == matched_by_definition(boxes, tight)


def test_boxes_come_in_order_with_errors_in_their_place(photos):
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:5000])
    samples = scan(photos).samples
    by_workers = [list(find_boxes(samples, MtcnnSettings(), "onnx", workers)) for workers in (1, 2)]
    for results in by_workers:
        assert [getattr(one, "source", None) for one in results] == ["mtcnn", None, "landmarks", "landmarks"]
        assert isinstance(results[1], FaceAlignError)
        assert str(photos / "b.png") in str(results[1])
    for one, two in zip(*by_workers, strict=True):
        assert str(one) == str(two)


def test_what_stands_for_a_photo_that_cannot_be_read(photos):
    sample = scan(photos).samples[1]
    face = unreadable(sample)
    np.testing.assert_array_equal(face.box, box_from_landmarks(sample.points))
    assert (face.source, face.score, face.overlap) == ("unreadable", None, 0.0)
    assert boxes_for([sample], {sample.relative: face}, "x") == [face]


def test_settings_reach_the_workers(photos):
    samples = scan(photos).samples[:1]
    for workers in (1, 2):
        (found,) = find_boxes(samples, MtcnnSettings(thresholds=(0.6, 0.7, 1.0)), "onnx", workers)
        assert found.source == "landmarks"


def test_the_file_says_what_boxes_depend_on():
    plain = described(MtcnnSettings())
    assert json.loads(json.dumps(plain)) == plain
    assert {"detector", "min_face", "factor", "thresholds", "match_overlap", "weights"} <= set(plain)
    assert described(MtcnnSettings(min_face=41)) != plain
    assert described(MtcnnSettings(thresholds=(0.6, 0.7, 0.8))) != plain
    assert described(MtcnnSettings(unsure=1.0)) != plain


sides = st.floats(1, 5000)
places = st.floats(-2000, 20000)
shares = st.floats(0, 1)
face_boxes = st.builds(
    lambda x, y, width, height, source, score, share, stamp: FaceBox(
        np.array([x, y, x + width, y + height]), source, score, share, stamp
    ),
    places,
    places,
    sides,
    sides,
    st.sampled_from(["mtcnn", "landmarks", "unreadable"]),
    st.none() | shares,
    shares,
    st.text(max_size=20),
)


@settings(deadline=None, max_examples=50)
@given(faces=st.dictionaries(st.text(max_size=30), face_boxes, max_size=5))
def test_the_file_gives_back_what_was_written(tmp_path_factory, faces):
    """Boxes to a thousandth of a pixel; and, written again, the same bytes."""
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    write_boxes(path, described(MtcnnSettings()), faces)
    first = path.read_bytes()
    plain, back = read_boxes(path)
    assert plain == described(MtcnnSettings())
    assert set(back) == set(faces)
    for name, face in faces.items():
        np.testing.assert_allclose(back[name].box, face.box, atol=0.0005 + 1e-9)
        assert back[name].box.dtype == np.float64
        for field in ("source", "score", "overlap", "stamp"):
            assert getattr(back[name], field) == getattr(face, field)
    write_boxes(path, plain, dict(reversed(back.items())))
    assert path.read_bytes() == first
    assert len(first.splitlines()) == max(1, len(faces)) + 3  # a line a face: it can be compared
    assert [entry.name for entry in path.parent.iterdir()] == ["boxes.json"]


BOX = FaceBox(np.array([1.0, 2, 30, 40]), "mtcnn", 0.9, 0.6, "100-0badcafe")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "boxes.json"
    write_boxes(path, described(MtcnnSettings()), {"set/a.png": BOX, "set/b.png": BOX})
    return path


def changed(**values):
    def change(data):
        data["faces"]["set/b.png"] |= values

    return change


def without(key):
    return lambda data: data["faces"]["set/b.png"].pop(key)


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(without(field.name), id=f"no_{field.name}") for field in dataclasses.fields(FaceBox)),
        pytest.param(changed(box=[1, 2, 3]), id="box_of_three"),
        pytest.param(changed(box="1 2 3 4"), id="box_of_words"),
        pytest.param(changed(box=None), id="box_of_nothing"),
        pytest.param(changed(box=[1, 2, 1, 40]), id="box_without_area"),
        pytest.param(changed(box=[1, 2, 30, 2]), id="box_without_height"),
        pytest.param(changed(box=[30, 2, 1, 40]), id="box_inside_out"),
        pytest.param(changed(box=[1, 2, 30, float("nan")]), id="box_not_finite"),
        pytest.param(changed(box=[1, 2, 30, 10**400]), id="box_too_large"),
        pytest.param(changed(source="dlib"), id="unknown_source"),
        pytest.param(changed(source=None), id="source_of_nothing"),
        pytest.param(changed(score="high"), id="score_of_words"),
        pytest.param(changed(score=float("nan")), id="score_not_a_number"),
        pytest.param(changed(overlap=None), id="overlap_of_nothing"),
        pytest.param(changed(overlap=7), id="overlap_over_1"),
        pytest.param(changed(stamp=5), id="stamp_of_numbers"),
        pytest.param(changed(extra=1), id="unknown_field"),
        pytest.param(lambda data: data["faces"].update(x=[1, 2, 3, 4]), id="face_of_a_list"),
        pytest.param(lambda data: data.pop("faces"), id="no_faces"),
        pytest.param(lambda data: data.pop("settings"), id="no_settings"),
        pytest.param(lambda data: data.update(faces=[1]), id="list_of_faces"),
        pytest.param(lambda data: data.update(settings=7), id="settings_of_numbers"),
    ],
)
def test_a_file_with_a_damaged_part_is_named(damage, path):
    data = json.loads(path.read_text())
    damage(data)
    path.write_text(json.dumps(data))
    with pytest.raises(FaceAlignError, match=r"make it with") as caught:
        read_boxes(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"7", b'"boxes"', b"{}", b"null", b"\xff\xfe", b"1 2 3 4\n", b"[" * 10**5],
    ids=lambda content: repr(content[:8]),
)
def test_a_file_of_something_else_is_named(content, path):
    path.write_bytes(content)
    with pytest.raises(FaceAlignError, match="make it with") as caught:
        read_boxes(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_cut_anywhere_is_named(path):
    whole = path.read_bytes()
    for size in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(
            FaceAlignError, match=r"boxes\.json: not a (JSON file|file of boxes) .*make it with"
        ):
            read_boxes(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FaceAlignError, match=r"absent\.json: no such file; .*detect-faces"):
        read_boxes(tmp_path / "absent.json")
    with pytest.raises(FaceAlignError, match=f"/{tmp_path.name}: a folder, not a file; make it with"):
        read_boxes(tmp_path)


def test_without_a_choice_boxes_are_found_in_opencv_by_this_process(photos, monkeypatch, detector):
    """They are then the same with Caffe and without."""
    opened = []

    def open_(engine, settings):
        opened.append((engine, settings))
        return detector

    monkeypatch.setattr(MtcnnDetector, "open", open_)
    samples = scan(photos).samples[:1]
    for arguments in ((), ("auto",), ("caffe",)):
        (found,) = find_boxes(samples, MtcnnSettings(), *arguments)
        assert found.source == "mtcnn"
    assert opened == [(engine, MtcnnSettings()) for engine in ("onnx", "onnx", "caffe")]


def listed(folder):
    samples = scan(folder).samples
    return {sample.relative: dataclasses.replace(BOX, stamp=checksum_of(sample)) for sample in samples}


def test_boxes_for_samples(photos):
    samples, faces = scan(photos).samples, listed(photos)
    assert boxes_for(samples[::-1], faces, "x") == list(faces.values())[::-1]
    assert boxes_for([], {}, "x") == []


def another_picture(folder):
    cv2.imwrite(str(folder / "b.png"), PHOTO[10:, :])


def another_annotation(folder):
    write_pts(folder / "b.pts", FACE + 0.001)


@pytest.mark.parametrize("change", [another_picture, another_annotation])
def test_a_box_of_another_picture_or_annotation_is_refused(change, photos):
    faces = listed(photos)
    change(photos)
    samples = scan(photos).samples
    with pytest.raises(FaceAlignError, match=r"b\.png: .*another.*my\.json.*detect-faces"):
        boxes_for(samples, faces, "my.json")
    assert len(boxes_for([sample for sample in samples if sample.path.stem != "b"], faces, "my.json")) == 3


def test_a_sample_without_a_box_is_named(photos):
    faces = listed(photos)
    del faces["set/c.png"]
    with pytest.raises(FaceAlignError, match=r"c\.png: no box in my\.json"):
        boxes_for(scan(photos).samples, faces, "my.json")


def test_a_stamp_is_the_same_each_time_and_wherever_the_data_lie(photos, tmp_path):
    stamps = [checksum_of(sample) for sample in scan(photos).samples]
    assert len(set(stamps)) == 4
    photos.rename(tmp_path / "moved")
    assert [checksum_of(sample) for sample in scan(tmp_path / "moved").samples] == stamps
