"""Results in each format, read back by other code."""

import csv
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage.data import astronaut

from facealign.datasets.scan import scan
from facealign.geometry.head_pose import Pose
from facealign.inference.face_aligner import Face
from facealign.io.images import read_image
from facealign.results.formats import write_csv, write_json, write_jsonl, write_pts_beside
from facealign.results.record import faces_of, frame_record, image_record, tracks_of
from tests.upright_face import upright_face

POSE = Pose(1.23456, -2.0, 3.0)


def face(x=100.0, confidence=0.9, score=0.98765432, pose=POSE):
    box = np.array([x - 50, 20.0, x + 50, 120.00049])
    return Face(box, score, upright_face((x, 80), 90), pose, confidence)


IMAGES = [
    image_record('a/ä,"1".jpg', (640, 480), [face(), face(300.0, 0.2, None, None)]),
    image_record("b.png", (10, 20), []),
    image_record("\udcff.png", (640, 480), [face(200.0)]),
]
FRAMES = [
    frame_record("v.mp4", (640, 480), 0, 0.0, [], []),
    frame_record("v.mp4", (640, 480), 1, 1 / 30, [2, 5], [face(), face(300.0)]),
]


@pytest.mark.parametrize("records", [IMAGES, FRAMES, IMAGES[:1], []])
def test_json_is_as_python_writes_it_whole(records, tmp_path):
    write_json(tmp_path / "a.json", iter(records))
    text = json.dumps({"images": records}, indent=1)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text + "\n"


@pytest.mark.parametrize("records", [IMAGES, FRAMES, []])
def test_json_lines_have_an_entry_each(records, tmp_path):
    write_jsonl(tmp_path / "a.jsonl", iter(records))
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == records


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="surrogateescape"))))


def test_csv_has_a_line_for_each_landmark(tmp_path):
    write_csv(tmp_path / "a.csv", iter(IMAGES))
    found = rows(tmp_path / "a.csv")
    assert len(found) == 3 * 68
    assert [*found[0]][:2] == ["file", "face"]
    for start, record, number in ((0, 0, 0), (68, 0, 1), (136, 2, 0)):
        own = IMAGES[record]["faces"][number]
        part = found[start : start + 68]
        assert {row["file"] for row in part} == {IMAGES[record]["file"]}
        assert {int(row["face"]) for row in part} == {number}
        assert [int(row["landmark"]) for row in part] == list(range(68))
        assert [[float(row["x"]), float(row["y"])] for row in part] == own["landmarks"]
        assert [float(part[0][name]) for name in ("x1", "y1", "x2", "y2")] == own["box"]
        assert part[0]["score"] == ("" if own["score"] is None else str(own["score"]))
        assert part[0]["yaw"] == ("" if own["pose"] is None else str(own["pose"]["yaw"]))


def test_csv_of_a_video_names_frame_and_track(tmp_path):
    write_csv(tmp_path / "a.csv", iter(FRAMES))
    found = rows(tmp_path / "a.csv")
    assert {(row["frame"], row["time"], row["track"]) for row in found} == {
        ("1", "0.0333", "2"),
        ("1", "0.0333", "5"),
    }
    write_csv(tmp_path / "none.csv", iter([]))
    assert rows(tmp_path / "none.csv") == []


def test_csv_is_read_by_pandas_in_one_line(tmp_path):
    pandas = pytest.importorskip("pandas")
    write_csv(tmp_path / "a.csv", iter(FRAMES))
    table = pandas.read_csv(tmp_path / "a.csv")
    points = table.pivot(index=["frame", "track"], columns="landmark", values=["x", "y"])
    assert points.shape == (2, 136)
    assert points.loc[(1, 2), ("x", 0)] == FRAMES[1]["faces"][0]["landmarks"][0][0]


def test_the_faces_of_an_entry_are_those_that_made_it():
    for one, back in zip((face(), face(300.0)), faces_of(FRAMES[1]), strict=True):
        assert np.abs(back.landmarks - one.landmarks).max() <= 0.0005001
        assert np.abs(back.box - one.box).max() <= 0.0005001
        assert back.pose.yaw == pytest.approx(one.pose.yaw, abs=5e-4)
        assert (back.confidence, back.doubtful) == (0.9, False)
    assert tracks_of(FRAMES[1]) == [2, 5]
    assert tracks_of(IMAGES[0]) == [None, None]
    assert faces_of(IMAGES[0])[1].pose is None


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "in" / "photo.jpg"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.ascontiguousarray(astronaut()[:, :, ::-1]))
    return path


def test_pts_beside_links_are_a_data_set(photo, tmp_path):
    """As make-lmdb scans it, in which each face has its image."""
    faces = [face(), face(300.0), face(200.0, confidence=0.1)]
    assert write_pts_beside(tmp_path / "pts", "x/photo.jpg", read_image(photo), faces, photo) == 2
    found = scan(tmp_path / "pts", strict=True)
    assert [sample.path.name for sample in found.samples] == ["photo.jpg", "photo_face2.jpg"]
    for sample, one in zip(found.samples, faces, strict=False):
        np.testing.assert_allclose(sample.points, one.landmarks, atol=1e-6)
        assert sample.path.resolve() == photo
    assert write_pts_beside(tmp_path / "pts", "x/photo.jpg", read_image(photo), faces[:1], photo) == 1
    assert len(scan(tmp_path / "pts", strict=True).samples) == 1


def test_a_photo_that_a_viewer_turns_is_written_upright(photo, tmp_path):
    """Annotations are of the pixels as stored: with a link, they would lie elsewhere."""
    turned = PillowImage.open(photo)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    turned.save(photo, exif=exif)
    image = read_image(photo)
    write_pts_beside(tmp_path / "pts", "photo.jpg", image, [face()], photo)
    (sample,) = scan(tmp_path / "pts", strict=True).samples
    assert sample.path.name == "photo.png"
    np.testing.assert_array_equal(read_image(sample.path, orient=False), image)


def test_a_frame_is_written_beside_its_points(photo, tmp_path):
    image = read_image(photo)
    write_pts_beside(tmp_path / "pts", "clip_000007.jpg", image, [face()])
    (sample,) = scan(tmp_path / "pts", strict=True).samples
    assert sample.path == tmp_path / "pts" / "clip_000007.jpg"
    assert np.abs(read_image(sample.path).astype(int) - image).mean() < 3
    assert write_pts_beside(tmp_path / "none", "clip_000008.jpg", image, []) == 0
    assert not (tmp_path / "none").exists()
