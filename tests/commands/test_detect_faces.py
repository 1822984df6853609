"""facealign detect-faces as it is run: what it finds, what it keeps, and how it goes on."""

import dataclasses
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

from facealign.commands import detect_faces
from facealign.datasets.detected_boxes import BoxesSoFar, described, read_boxes
from facealign.datasets.pts import write_pts
from facealign.detection.mtcnn import MtcnnSettings
from tests.forked import facealign
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
PHOTO = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
FACE = upright_face((153, 128), 82)
"""About where her face is in it."""


def command(*arguments):
    return [sys.executable, str(ROOT / "tools" / "detect_faces.py"), *map(str, arguments)]


def detect(*arguments):
    return facealign("detect-faces", *arguments)


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
    numbers = tmp_path_factory.mktemp("numbers") / "numbers.json"
    result = detect("--data", root, "--output", path, "--workers", 1, "--json", numbers)
    assert result.returncode == 0, result.stderr
    result.numbers = json.loads(numbers.read_text())
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
    assert lines[0] == f"{path}: 5 faces, 1 profile left out, 0 skipped"
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
    counts = {"output": str(path), "faces": 5, "profiles_left_out": 1, "skipped": 0}
    assert {key: value for key, value in result.numbers.items() if key != "folders"} == counts
    assert [[row["folder"], str(row["faces"])] for row in result.numbers["folders"]] == [
        [name, cells[0]] for name, cells in rows.items()
    ]
    # How the boxes lie, against the boxes themselves.
    _, faces = read_boxes(path)
    low, high = FACE.min(0), FACE.max(0)
    box = faces["300w/afw/134212_1.png"].box
    centre = ((box[:2] + box[2:]) / 2 - (low + high) / 2) / (high - low)
    size = (box[2:] - box[:2]) / (high - low)
    np.testing.assert_allclose([float(word) for word in rows["afw"][3].split()], centre, atol=0.002)
    np.testing.assert_allclose([float(word) for word in rows["afw"][4].split()], size, atol=0.002)
    (afw,) = (row for row in result.numbers["folders"] if row["folder"] == "afw")
    np.testing.assert_allclose([*afw["centre_off"], *afw["size_ratio"]], [*centre, *size], atol=1e-4)


def test_a_second_run_computes_nothing_and_leaves_the_file(tree):
    path = tree.parent / "boxes.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    result = detect("--data", tree, "--output", path, "--workers", 1, "--strict")
    assert result.returncode == 0, result.stderr
    assert "has 5 of 5 faces" in result.stderr
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_photo_replaced_by_one_of_the_same_size_is_looked_at_again(tree):
    path = tree.parent / "replaced.json"
    path.write_bytes((tree.parent / "boxes.json").read_bytes())
    photo = next(tree.rglob("*.png"))
    photo.write_bytes(b"?" * photo.stat().st_size)
    result = detect("--data", tree, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert "has 4 of 5 faces" in result.stderr
    assert f"skipped: {photo}: " in result.stderr


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
    before = read_boxes(path)[1]
    result = detect("--data", tree, "--output", path, "--workers", 1, "--min-face", 60)
    assert result.returncode == 0, result.stderr
    assert f"{path}: made with other settings; starting again" in result.stderr
    written, faces = read_boxes(path)
    assert written["min_face"] == 60
    assert len(faces) == 5
    # Found anew: a box of the first run would have stayed the same to the last digit.
    assert all(face.box.tolist() != before[name].box.tolist() for name, face in faces.items() if face.score)
    assert sum(face.score is not None for face in faces.values()) >= 2


@pytest.fixture(scope="module")
def first_spoiled(first, tmp_path_factory):
    """The tree with a photo cut short and a bad annotation, the file of it, and what the program said."""
    root = tmp_path_factory.mktemp("spoiled") / "data"
    shutil.copytree(first[0], root)
    photo = root / "mine" / "a.png"
    photo.write_bytes(photo.read_bytes()[:5000])
    (root / "mine" / "b.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    path = tmp_path_factory.mktemp("output") / "boxes.json"
    result = detect("--data", root, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    return root, path, result


@pytest.fixture
def spoiled(first_spoiled, tmp_path):
    """A copy of it to change: the tree and the file."""
    shutil.copytree(first_spoiled[0], tmp_path / "data")
    shutil.copy(first_spoiled[1], tmp_path / "boxes.json")
    return tmp_path / "data", tmp_path / "boxes.json"


def test_bad_files_are_skipped_counted_and_named(first_spoiled):
    root, path, result = first_spoiled
    assert result.stdout.startswith(f"{path}: 3 faces, 1 profile left out, 2 skipped\n")
    for file in (root / "mine" / "a.png", root / "mine" / "b.pts"):
        assert result.stderr.count(f"skipped: {file}: ") == 1
    sources = {name: face.source for name, face in read_boxes(path)[1].items()}
    assert list(sources)[3:] == ["mine/a.png"]
    assert sources["mine/a.png"] == "unreadable"


def test_an_image_that_is_no_file_is_skipped_and_named_and_found_when_it_is_there(first_spoiled, tmp_path):
    """A link to nowhere, a link to itself, a folder and a pipe, each with an annotation."""
    root, path = tmp_path / "data" / "mine", tmp_path / "boxes.json"
    root.mkdir(parents=True)
    shutil.copy(first_spoiled[0] / "300w" / "afw" / "134212_1.png", root / "whole.png")
    points = (first_spoiled[0] / "300w" / "afw" / "134212_1.pts").read_text()
    for name in ("whole", "gone", "loop", "folder", "pipe"):
        (root / f"{name}.pts").write_text(points)
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    result = detect("--data", root, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{path}: 1 face, 0 profiles left out, 4 skipped\n")
    for name in ("gone", "loop", "folder", "pipe"):
        assert result.stderr.count(f"skipped: {root / name}.png: ") == 1
    (root / "gone.png").unlink()
    shutil.copy(root / "whole.png", root / "gone.png")
    again = detect("--data", root, "--output", path, "--workers", 1)
    assert again.stdout.startswith(f"{path}: 2 faces, 0 profiles left out, 3 skipped\n")


def test_a_photo_known_as_unreadable_is_named_again(spoiled, first_spoiled):
    root, path = spoiled
    before = path.read_bytes()
    again = detect("--data", root, "--output", path, "--workers", 1)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count(f"skipped: {root / 'mine' / 'a.png'}: ") == 1
    assert again.stdout.splitlines()[1:] == first_spoiled[2].stdout.splitlines()[1:]
    assert path.read_bytes() == before


def test_strict_stops_at_a_bad_photo_known_or_not_and_keeps_what_it_found(spoiled):
    root, path = spoiled
    (root / "mine" / "b.pts").unlink()
    (root / "mine" / "b.png").unlink()
    known = detect("--data", root, "--output", path, "--workers", 1, "--strict")
    path.unlink()
    fresh = detect("--data", root, "--output", path, "--workers", 2, "--strict")
    for strict in (known, fresh):
        assert strict.returncode == 1
        (line,) = (line for line in strict.stderr.splitlines() if "error: " in line)
        assert line.startswith(f"error: {root / 'mine' / 'a.png'}: ")
        assert "Traceback" not in strict.stderr
    # What comes before the bad photo need not be found again.
    assert list(read_boxes(path)[1]) == [
        "300w/afw/134212_1.png",
        "300w/ibug/image_003_1.png",
        "300w/ibug/image_004_1.png",
    ]


def test_databases_can_be_made_although_a_photo_is_unreadable(first_spoiled, tmp_path):
    root, path, _ = first_spoiled
    output = tmp_path / "lmdb"
    result = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "facealign",
                "make-lmdb",
                "--data",
                root,
                "--boxes",
                path,
                "--output",
                output,
            ),
            *("--copies", "2", "--validation", "0", "--workers", "1", "--keep-copies"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(f"skipped: {root / 'mine' / 'a.png'}: ") == 1
    # Of AFW, ibug being a test set.
    assert result.stdout.splitlines()[-1] == f"{output}: train: 2 samples of 1 face"


def test_landmarks_without_extent_do_not_spoil_the_file(tmp_path):
    """Their box would have no area, and the file would be refused when it is read."""
    put(tmp_path / "set", "a")
    put(tmp_path / "set", "flat", points=np.full((68, 2), 50.0))
    path = tmp_path / "boxes.json"
    result = detect("--data", tmp_path / "set", "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{path}: 1 face, 0 profiles left out, 1 skipped\n")
    assert result.stderr.count(f"skipped: {tmp_path / 'set' / 'flat.pts'}: ") == 1
    assert list(read_boxes(path)[1]) == ["set/a.png"]


@pytest.mark.parametrize(
    ("points", "reason"), [(np.zeros((67, 2)), "67 points"), (np.full((68, 2), 9.0), "less than a pixel")]
)
def test_strict_stops_at_a_bad_annotation(points, reason, tmp_path):
    put(tmp_path / "set", "a", points=points)
    line = failure("--data", tmp_path / "set", "--output", tmp_path / "new.json", "--strict")
    assert reason in line
    assert not (tmp_path / "new.json").exists()


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
    for part in ("mine", "300w"):
        assert detect("--data", tree / part, "--output", path, "--workers", 1).returncode == 0
    assert path.read_bytes() == whole.read_bytes()


def test_a_killed_run_loses_no_box_and_ends_as_if_undisturbed(tree):
    """Killed in the middle of a line: what is before it is kept, and found as such at the next start."""
    whole, path = tree.parent / "boxes.json", tree.parent / "killed.json"
    code = (
        "import os, sys\n"
        "from facealign.commands import detect_faces\n"
        "from facealign.io.growing import GrowingFile\n"
        "add = GrowingFile.add\n"
        "def killed(self, line):\n"
        "    add(self, line[: 40 if 'mine/a' in line else None])\n"
        "    if 'mine/a' in line:\n"
        "        os.truncate(self.path, self.path.stat().st_size - 1)\n"
        "        os.kill(os.getpid(), 9)\n"
        "GrowingFile.add = killed\n"
        "detect_faces.main()\n"
    )
    arguments = ("--data", tree, "--output", path, "--workers", 1)
    killed = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    last = (tree.parent / "killed.json.found").read_text().splitlines()[-1]
    assert last.startswith('["mine/a.png", {"box": [')
    assert len(last) == 40
    result = detect(*arguments)
    assert result.returncode == 0, result.stderr
    assert f"{path}: has 3 of 5 faces already" in result.stderr
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(entry.name for entry in tree.parent.iterdir()) == ["boxes.json", "data", "killed.json"]


def test_what_a_killed_run_found_with_other_settings_is_not_used(tree):
    whole, path = tree.parent / "boxes.json", tree.parent / "killed.json"
    other = BoxesSoFar(path, described(MtcnnSettings(min_face=60)))
    for name, face in read_boxes(whole)[1].items():
        other.add(name, dataclasses.replace(face, box=face.box + 1))
    other.close()
    result = detect("--data", tree, "--output", path, "--workers", 1)
    assert "already" not in result.stderr
    assert path.read_bytes() == whole.read_bytes()
    assert not other.path.exists()


@pytest.mark.parametrize(
    ("number", "to_all", "workers"), [(signal.SIGINT, True, 2), (signal.SIGTERM, False, 1)]
)
def test_an_interrupted_run_goes_on(number, to_all, workers, tmp_path):
    """Interrupted when the first photo, which has no face, is reported. Ctrl-C reaches the workers too."""
    root, path = tmp_path / "data", tmp_path / "boxes.json"
    put(root / "set", "000", np.full_like(PHOTO, 120))
    put(root / "set", "001")
    for index in range(2, 120):
        for suffix in ("png", "pts"):
            os.link(root / "set" / f"001.{suffix}", root / "set" / f"{index:03}.{suffix}")
    tool = subprocess.Popen(
        command("--data", root, "--output", path, "--workers", workers),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for line in tool.stderr:
            if "missed" in line:
                break
        os.killpg(tool.pid, number) if to_all else tool.send_signal(number)
        _, messages = tool.communicate(timeout=30)
    finally:
        if tool.poll() is None:
            os.killpg(tool.pid, signal.SIGKILL)
    expected = (130, "interrupted") if number == signal.SIGINT else (143, "ended by a signal")
    assert (tool.returncode, messages.splitlines()[-1]) == expected
    kept = list(read_boxes(path)[1])
    assert 1 <= len(kept) < 120
    assert kept == [f"set/{index:03}.png" for index in range(len(kept))]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["boxes.json", "data"]

    few = min(len(kept) + 3, 120)  # enough to see that it goes on
    for index in range(few, 120):
        (root / "set" / f"{index:03}.pts").unlink()
        (root / "set" / f"{index:03}.png").unlink()
    result = detect("--data", root, "--output", path, "--workers", 1)
    assert result.returncode == 0, result.stderr
    assert f"has {len(kept)} of {few} faces" in result.stderr
    faces = list(read_boxes(path)[1].values())
    assert [face.source for face in faces] == ["landmarks"] + ["mtcnn"] * (few - 1)
    assert len({str(face) for face in faces[1:]}) == 1


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
def test_wrong_usage_is_refused(arguments, monkeypatch, capsys):
    """In this process: argparse ends it with 2 as it would the program."""
    monkeypatch.setattr(sys, "argv", ["detect_faces.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        detect_faces.main()
    assert caught.value.code == 2
    assert "usage: detect_faces.py" in capsys.readouterr().err


def test_wrong_usage_exits_with_2(tmp_path):
    result = detect("--data", tmp_path, "--output", tmp_path / "boxes.json", "--workers", 0)
    assert result.returncode == 2
    assert "--workers: expected 1 or more" in result.stderr
    assert list(tmp_path.iterdir()) == []


def failure(*arguments):
    result = detect(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_data_without_faces_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "boxes.json"
    assert "empty: no image with 68 points" in failure("--data", tmp_path / "empty", "--output", output)
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
