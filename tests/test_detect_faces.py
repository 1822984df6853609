"""tools/detect_faces.py as it is run: what it finds, what it keeps, and how it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.face_boxes import read_boxes
from facealign.markup import write_pts
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[1]
PHOTO = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
FACE = upright_face((153, 128), 82)
"""About where her face is in it."""


def command(*arguments):
    return [sys.executable, str(ROOT / "tools" / "detect_faces.py"), *map(str, arguments)]


def detect(*arguments):
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)


def put(folder, name, picture=PHOTO, points=FACE):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), picture)
    write_pts(folder / f"{name}.pts", points)


def scaled(factor):
    picture = cv2.resize(PHOTO, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return picture, (FACE + 0.5) * factor - 0.5


def make_tree(root):
    put(root / "300w" / "afw", "134212_1")
    put(root / "300w" / "ibug", "image_003_1", *scaled(0.8))
    put(root / "300w" / "ibug", "image_004_1", np.full_like(PHOTO, 120))
    put(root / "mine", "a", *scaled(1.3))
    put(root / "mine", "b", *scaled(0.6))
    write_pts(root / "mine" / "profile.pts", FACE[:39])
    return root


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A tree, the file made of it by one process, and what the program said."""
    root = make_tree(tmp_path_factory.mktemp("data"))
    path = tmp_path_factory.mktemp("output") / "boxes.json"
    result = detect("--data", root, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    return root, path, result


@pytest.fixture
def tree(first, tmp_path):
    """A copy to change."""
    shutil.copytree(first[0], tmp_path / "data")
    shutil.copy(first[1], tmp_path / "boxes.json")
    return tmp_path / "data"


def test_what_it_finds(first):
    _, path, result = first
    _, faces = read_boxes(path)
    assert list(faces) == [
        "300w/afw/134212_1.png",
        "300w/ibug/image_003_1.png",
        "300w/ibug/image_004_1.png",
        "mine/a.png",
        "mine/b.png",
    ]
    assert [face.source for face in faces.values()] == ["mtcnn", "mtcnn", "landmarks", "mtcnn", "mtcnn"]
    plain = faces["300w/afw/134212_1.png"]
    assert plain.score > 0.99
    assert np.abs(plain.box - (110, 65, 197, 177)).max() < 10
    for name, factor in (("300w/ibug/image_003_1.png", 0.8), ("mine/a.png", 1.3), ("mine/b.png", 0.6)):
        expected = (plain.box + 0.5) * factor - 0.5
        assert np.abs(faces[name].box - expected).max() < 0.07 * factor * 87
    assert [entry.name for entry in path.parent.iterdir()] == ["boxes.json"]
    assert result.stderr.count("missed: ") == 1
    assert "image_004_1.png" in result.stderr


def test_what_it_says(first):
    _, path, result = first
    lines = result.stdout.splitlines()
    assert lines[0] == f"{path}: 5 faces, 1 profiles left out, 0 skipped"
    rows = {
        cells[0]: cells[1:]
        for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:])
    }
    assert {name: cells[:2] for name, cells in rows.items()} == {
        "300-W, all": ["3", "66.67"],
        "afw": ["1", "100.00"],
        "ibug": ["2", "50.00"],
        "mine": ["2", "100.00"],
    }
    # How the boxes lie, against the boxes themselves.
    _, faces = read_boxes(path)
    low, high = FACE.min(0), FACE.max(0)
    box = faces["300w/afw/134212_1.png"].box
    centre = ((box[:2] + box[2:]) / 2 - (low + high) / 2) / (high - low)
    size = (box[2:] - box[:2]) / (high - low)
    np.testing.assert_allclose([float(word) for word in rows["afw"][3].split()], centre, atol=0.002)
    np.testing.assert_allclose([float(word) for word in rows["afw"][4].split()], size, atol=0.002)


def test_a_second_run_computes_nothing_and_leaves_the_file(tree):
    """No photo is even opened: they are garbage of the same size."""
    path = tree.parent / "boxes.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    for photo in tree.rglob("*.png"):
        photo.write_bytes(b"?" * photo.stat().st_size)
    result = detect("--data", tree, "--output", path, "--workers", 1, "--strict")
    assert result.returncode == 0, result.stderr
    assert "has 5 of 5 faces" in result.stderr
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_the_number_of_workers_does_not_change_a_byte(first, tmp_path):
    root, path, result = first
    again = detect("--data", root, "--output", tmp_path / "boxes.json", "--workers", 2)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "boxes.json").read_bytes() == path.read_bytes()
    assert again.stdout.splitlines()[1:] == result.stdout.splitlines()[1:]


def test_caffe_finds_the_same(first, tmp_path):
    root, path, _ = first
    result = detect("--data", root, "--output", tmp_path / "boxes.json", "--workers", 1, "--engine", "caffe")
    assert result.returncode == 0, result.stderr
    faces, others = read_boxes(path)[1], read_boxes(tmp_path / "boxes.json")[1]
    for name in faces:
        np.testing.assert_allclose(faces[name].box, others[name].box, atol=0.002)


def test_only_what_changed_is_found_again(tree, first):
    """A new annotation, and a new photo: the file is then as if made at once."""
    path = tree.parent / "boxes.json"
    write_pts(tree / "mine" / "a.pts", scaled(1.3)[1] + 1)
    put(tree / "mine", "c", PHOTO[:, ::-1], upright_face((299 - 153, 128), 82))
    result = detect("--data", tree, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert "has 4 of 6 faces" in result.stderr
    fresh = tree.parent / "fresh.json"
    assert detect("--data", tree, "--output", fresh, "--workers", 1).returncode == 0
    assert path.read_bytes() == fresh.read_bytes()
    old, new = read_boxes(first[1])[1], read_boxes(path)[1]
    assert [name for name in new if name not in old or old[name].stamp != new[name].stamp] == [
        "mine/a.png",
        "mine/c.png",
    ]


def test_other_settings_start_anew(tree):
    path = tree.parent / "boxes.json"
    before = path.read_bytes()
    result = detect("--data", tree, "--output", path, "--workers", 1, "--min-face", 80)
    assert result.returncode == 0, result.stderr
    assert f"{path}: made with other settings; starting anew" in result.stderr
    written, faces = read_boxes(path)
    assert written["min_face"] == 80
    assert len(faces) == 5
    assert path.read_bytes() != before
    assert detect("--data", tree, "--output", path, "--workers", 1).returncode == 0
    assert path.read_bytes() == before


def test_bad_files_are_skipped_counted_and_named_or_fatal(tree):
    photo = tree / "mine" / "a.png"
    photo.write_bytes(photo.read_bytes()[:5000])
    (tree / "mine" / "b.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    path = tree.parent / "new.json"
    result = detect("--data", tree, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{path}: 3 faces, 1 profiles left out, 2 skipped\n")
    for file in (photo, tree / "mine" / "b.pts"):
        assert result.stderr.count(f"skipped: {file}: ") == 1
    sources = {name: face.source for name, face in read_boxes(path)[1].items()}
    assert list(sources)[3:] == ["mine/a.png"]
    assert sources["mine/a.png"] == "unreadable"

    # Known as such, it is neither opened again nor passed over in silence.
    before = path.read_bytes()
    again = detect("--data", tree, "--output", path, "--workers", 1)
    assert again.stderr.count(f"skipped: {photo}: ") == 1
    assert again.stdout == result.stdout
    assert path.read_bytes() == before

    strict = detect("--data", tree, "--output", path, "--workers", 1, "--strict")
    assert strict.returncode == 1
    assert f"error: {tree / 'mine' / 'b.pts'}: " in strict.stderr
    (tree / "mine" / "b.pts").unlink()
    (tree / "mine" / "b.png").unlink()
    # Whether it is known already or not.
    for _ in range(2):
        strict = detect("--data", tree, "--output", path, "--workers", 2, "--strict")
        assert strict.returncode == 1
        (line,) = (line for line in strict.stderr.splitlines() if "error: " in line)
        assert line.startswith(f"error: {photo}: ")
        assert "Traceback" not in strict.stderr
        path.unlink(missing_ok=True)
    # What comes before the bad photo need not be found again.
    assert detect("--data", tree, "--output", path, "--workers", 2, "--strict").returncode == 1
    assert len(read_boxes(path)[1]) == 3


def test_a_photo_that_was_mended_is_looked_at_again(tree):
    path = tree.parent / "new.json"
    photo = tree / "mine" / "a.png"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:5000])
    assert detect("--data", tree / "mine", "--output", path, "--workers", 1).returncode == 0
    photo.write_bytes(whole)
    assert detect("--data", tree / "mine", "--output", path, "--workers", 1, "--strict").returncode == 0
    assert [face.source for face in read_boxes(path)[1].values()] == ["mtcnn", "mtcnn"]


def test_boxes_of_other_data_stay(tree):
    """A part of the tree at a time, the names being the same: the file is as of the whole."""
    whole, path = tree.parent / "boxes.json", tree.parent / "parts.json"
    for part in ("mine", "300w/ibug", "300w"):
        assert detect("--data", tree / part, "--output", path, "--workers", 1).returncode == 0
    assert path.read_bytes() == whole.read_bytes()


def test_an_interrupted_run_goes_on(tmp_path):
    """Interrupted when the first photo, which has no face, is reported; in the end every face has its box."""
    root, path = tmp_path / "data", tmp_path / "boxes.json"
    put(root / "set", "0", np.full_like(PHOTO, 120))
    put(root / "set", "1")
    for number in range(2, 60):
        for suffix in ("png", "pts"):
            os.link(root / "set" / f"1.{suffix}", root / "set" / f"{number}.{suffix}")
    tool = subprocess.Popen(
        command("--data", root, "--output", path, "--workers", 1), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while "missed" not in tool.stderr.readline():
        assert tool.poll() is None
    tool.send_signal(signal.SIGINT)
    assert tool.stderr.read().splitlines()[-1] == "interrupted"
    assert tool.wait() == 130
    assert 1 <= len(read_boxes(path)[1]) < 60
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["boxes.json", "data"]
    result = detect("--data", root, "--output", path)
    assert result.returncode == 0, result.stderr
    faces = read_boxes(path)[1]
    assert len(faces) == 60
    assert len({tuple(face.box) for face in faces.values()}) == 2
    assert len({face.stamp for face in faces.values()}) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--data", "x", "--workers", "0"],
        ["--data", "x", "--min-face", "11"],
        ["--data", "x", "--min-face", "inf"],
        ["--data", "x", "--engine", "torch"],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_wrong_usage_is_2(arguments):
    result = detect(*arguments)
    assert result.returncode == 2
    assert "usage: detect_faces.py" in result.stderr


def failure(*arguments):
    result = detect(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_data_without_faces_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "boxes.json"
    assert "empty: no picture with 68 points" in failure("--data", tmp_path / "empty", "--output", output)
    assert "absent: no such folder" in failure("--data", tmp_path / "absent", "--output", output)
    assert not output.exists()


def test_a_damaged_file_of_boxes_is_named_and_left(tree):
    path = tree.parent / "boxes.json"
    damaged = path.read_bytes()[:-50]
    path.write_bytes(damaged)
    assert f"error: {path}: " in failure("--data", tree, "--output", path)
    assert path.read_bytes() == damaged


def test_the_file_of_boxes_is_json(first):
    data = json.loads(first[1].read_text())
    assert set(data) == {"settings", "faces"}
    assert data["settings"]["min_face"] == 40
