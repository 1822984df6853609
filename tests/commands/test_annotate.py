"""facealign annotate as it is run: what it writes, what it keeps, and how it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.commands import annotate
from facealign.datasets.detected_boxes import FaceBox, checksum_of, write_boxes
from facealign.datasets.pts import read_pts, write_pts
from facealign.datasets.scan import scan
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from tests.annotation.stand_in import write_stand_in
from tests.forked import facealign
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
PHOTO = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
FACE = upright_face((153, 128), 82)
PLAIN = ("--no-mesh", "--workers", "1")


def command(*arguments):
    return [sys.executable, "-m", "facealign", "annotate", *map(str, arguments)]


def run(*arguments):
    return facealign("annotate", *arguments)


def failure(*arguments, code=1):
    """The one line that a failed program ends with."""
    result = run(*arguments)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error: ") == 1
    return result.stderr.splitlines()[-1]


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def entries_of(output):
    return json.loads((output / "annotations.json").read_text())["photos"]


def make_photos(root):
    """One face, two, none, and a file that is no photo."""
    (root / "inner").mkdir(parents=True)
    cv2.imwrite(str(root / "one.png"), PHOTO)
    cv2.imwrite(str(root / "inner" / "two.png"), np.hstack([PHOTO, PHOTO[:, ::-1]]))
    cv2.imwrite(str(root / "inner" / "none.png"), np.full_like(PHOTO, 120))
    (root / "inner" / "bad.jpg").write_bytes(b"no photo")
    (root / "notes.txt").write_text("nothing")
    return root


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Photos, the folder made of them by one process, and what the program said."""
    root = make_photos(tmp_path_factory.mktemp("data") / "photos")
    output = tmp_path_factory.mktemp("output") / "made"
    result = run("--photos", root, "--output", output, "--json", output.parent / "numbers.json", *PLAIN)
    assert result.returncode == 0, result.stderr
    return root, output, result


@pytest.fixture
def made(first, tmp_path):
    """A copy to change: the photos and the output."""
    shutil.copytree(first[0], tmp_path / "photos")
    shutil.copytree(first[1], tmp_path / "made")
    return tmp_path / "photos", tmp_path / "made"


def test_what_it_writes(first):
    root, output, result = first
    assert list(files_of(output)) == ["annotations.json", "inner/two_1.pts", "inner/two_2.pts", "one.pts"]
    aligner = FaceAligner.open(engine="onnx", cascade=True, flip=True)
    for name, files in (("one.png", ["one"]), ("inner/two.png", ["inner/two_1", "inner/two_2"])):
        faces = aligner.detect_and_align(read_image(root / name))
        for file, face in zip(files, faces, strict=True):
            np.testing.assert_allclose(read_pts(output / f"{file}.pts"), face.landmarks, atol=1e-5)
    entries = entries_of(output)
    assert list(entries) == ["inner/bad.jpg", "inner/none.png", "inner/two.png", "one.png"]
    assert [len(entry["faces"]) for entry in entries.values()] == [0, 0, 2, 1]
    assert 0 < entries["one.png"]["faces"][0]["disagreement"] < 10
    assert str(root / "inner" / "bad.jpg") in entries["inner/bad.jpg"]["error"]
    assert result.stdout.splitlines()[0] == f"{output}: 3 faces of 4 photos; 1 without a face, 1 skipped"
    assert result.stderr.count(f"skipped: {root / 'inner' / 'bad.jpg'}: ") == 1
    faces = [face for entry in entries.values() for face in entry["faces"]]
    assert json.loads((output.parent / "numbers.json").read_text()) == {
        "output": str(output),
        "photos": 4,
        "faces": 3,
        "photos_without_faces": 1,
        "skipped": 1,
        "left_out": {},
        "median_disagreement_percent": sorted(face["disagreement"] for face in faces)[1],
        "photos_gone": 0,
        "members": ["the released cascade, each stage averaged with the mirrored crop"],
    }
    last = result.stdout.splitlines()[-1]
    assert last == f"{output}: by the released cascade, each stage averaged with the mirrored crop"


def test_two_workers_write_the_same_bytes(first, tmp_path):
    root, output, _ = first
    result = run("--photos", root, "--output", tmp_path / "made", "--no-mesh", "--workers", 2)
    assert result.returncode == 0, result.stderr
    assert files_of(tmp_path / "made") == files_of(output)


def test_a_second_run_computes_nothing_and_changes_nothing(made):
    root, output = made
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    result = run("--photos", root, "--output", output, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert "has 4 of 4 photos already" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_only_what_changed_is_annotated_again_and_what_is_no_more_is_removed(made):
    """A photo of two faces now shows one, a lost .pts is made again, and a new photo comes."""
    root, output = made
    cv2.imwrite(str(root / "inner" / "two.png"), PHOTO[:, ::-1])
    cv2.imwrite(str(root / "new.png"), PHOTO)
    lost = (output / "one.pts").read_bytes()
    (output / "one.pts").unlink()
    result = run("--photos", root, "--output", output, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert "has 2 of 5 photos already" in result.stderr
    assert list(files_of(output)) == ["annotations.json", "inner/two.pts", "new.pts", "one.pts"]
    assert (output / "one.pts").read_bytes() == (output / "new.pts").read_bytes() == lost


def test_landmarks_of_a_photo_that_is_gone_are_kept_and_named(made):
    root, output = made
    (root / "inner" / "two.png").unlink()
    before = files_of(output)
    result = run("--photos", root, "--output", output, "--quiet", "--json", "-", *PLAIN)
    assert result.returncode == 0
    assert files_of(output) == before
    numbers = json.loads(result.stdout)
    assert (numbers["photos"], numbers["faces"], numbers["photos_gone"]) == (3, 1, 1)
    warning = f"warning: {output}: keeps what was made of 1 photo no longer in {root}, such as inner/two.png"
    skipped = [line for line in result.stderr.splitlines() if not line.startswith("skipped: ")]
    assert skipped == [warning]


def test_killed_or_interrupted_it_goes_on_to_the_same_end(first, tmp_path):
    """Once by SIGKILL and once by Ctrl-C, each as soon as a first photo is done."""
    root, output, _ = first
    made = tmp_path / "made"
    for number in (signal.SIGKILL, signal.SIGINT):
        running = subprocess.Popen(
            command("--photos", root, "--output", made, *PLAIN), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        found = made / "annotations.json.found"
        before = found.read_text().count("\n") if found.exists() else 1  # the settings
        while running.poll() is None and not (found.exists() and found.read_text().count("\n") > before):
            time.sleep(0.005)
        running.send_signal(number)
        _, errors = running.communicate()
        if number == signal.SIGINT:
            assert f"stopped: {made}: the same command goes on where it was\ninterrupted\n" in errors
        if number == signal.SIGKILL:
            assert not (made / "annotations.json").exists()
            line = lmdb_failure(root, made, tmp_path / "lmdb")
            assert f"{made}: not finished" in line
    result = run("--photos", root, "--output", made, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert files_of(made) == files_of(output)


def test_a_first_line_cut_short_by_a_full_disk_is_no_other_setting(first, tmp_path):
    root, output, _ = first
    made = tmp_path / "made"
    made.mkdir()
    (made / "annotations.json.found").write_text('{"members": [')
    result = run("--photos", root, "--output", made, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert files_of(made) == files_of(output)
    (made / "annotations.json").unlink()
    (made / "annotations.json.found").write_text('{"members": []}\n')
    assert "begun with other settings" in failure("--photos", root, "--output", made, *PLAIN)


def lmdb_failure(root, points, output):
    arguments = ("--data", root, "--boxes", "landmarks", "--teacher-points", points, "--output", output)
    done = subprocess.run(
        [sys.executable, "-m", "facealign", "make-lmdb", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_other_settings_and_folders_of_something_else_are_refused(made, tmp_path):
    root, output = made
    before = files_of(output)
    assert "made with other settings" in failure(
        "--photos", root, "--output", output, *PLAIN, "--max-disagreement", "9"
    )
    assert files_of(output) == before
    annotated = tmp_path / "mine"
    annotated.mkdir()
    write_pts(annotated / "one.pts", FACE)
    kept = files_of(annotated)
    assert "holds no annotations.json" in failure("--photos", root, "--output", annotated, *PLAIN)
    assert "holds no annotations.json" in failure("--photos", root, "--output", root, *PLAIN)
    assert files_of(annotated) == kept


def test_with_its_photos_the_output_can_be_trained_on(first, tmp_path):
    output = tmp_path / "made"
    assert run("--photos", first[0], "--output", output, *PLAIN, "--with-photos").returncode == 0
    samples = scan(output).samples
    assert [sample.relative.rpartition("/")[2] for sample in samples] == ["two_1.png", "two_2.png", "one.png"]
    assert (output / "one.png").read_bytes() == (first[0] / "one.png").read_bytes()
    for sample in samples:
        original = read_pts(first[1] / sample.path.relative_to(output).with_suffix(".pts"))
        np.testing.assert_array_equal(sample.points, original)


def test_photos_whose_faces_would_have_one_name_are_named(tmp_path):
    root, output = tmp_path / "photos", tmp_path / "made"
    root.mkdir()
    cv2.imwrite(str(root / "two.png"), np.hstack([PHOTO, PHOTO[:, ::-1]]))
    for name in ("two_2.png", "same.png", "same.jpg"):
        cv2.imwrite(str(root / name), PHOTO)
    result = run("--photos", root, "--output", output, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert list(files_of(output)) == ["annotations.json", "two_2.pts"]
    for name in ("two.png", "same.png", "same.jpg"):
        assert result.stderr.count(f"skipped: {root / name}: ") == 1
    assert "same.jpg" in failure("--photos", root, "--output", tmp_path / "other", *PLAIN, "--strict")


def test_the_face_of_a_given_box_is_the_one_that_is_annotated_under_the_sample_s_name(tmp_path):
    """Of two faces the right one; the names are those that make-lmdb looks for."""
    folder = tmp_path / "data" / "afw"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "two.png"), np.hstack([PHOTO, PHOTO[:, ::-1]]))
    write_pts(folder / "two.pts", upright_face((300 + 299 - 153, 128), 82))
    (sample,) = scan(tmp_path / "data").samples
    box = np.array([404.0, 63, 490, 173])
    face = FaceBox(box, "mtcnn", 0.99, 0.5, checksum_of(sample))
    write_boxes(tmp_path / "boxes.json", {"detector": "by hand"}, {sample.relative: face})
    given = ("--photos", tmp_path / "data", "--boxes", tmp_path / "boxes.json")
    result = run(*given, "--output", tmp_path / "made", *PLAIN)
    assert result.returncode == 0, result.stderr
    points = read_pts((tmp_path / "made" / sample.relative).with_suffix(".pts"))
    assert np.abs(points.mean(axis=0) - sample.points.mean(axis=0)).max() < 10
    write_pts(folder / "two.pts", sample.points + 1)
    line = failure(*given, "--output", tmp_path / "other", *PLAIN)
    assert "the box of another image or annotation" in line
    assert not (tmp_path / "other" / "annotations.json").exists()


def test_faces_on_which_the_members_disagree_are_left_out_listed_and_counted(first, tmp_path):
    """The mesh that stands in has the same points whatever it is shown."""
    mesh = np.random.default_rng(0).uniform(100, 150, (478, 3))
    python = write_stand_in(tmp_path / "python", mesh)
    output = tmp_path / "made"
    result = run("--photos", first[0], "--output", output, "--mesh", python, "--workers", 2)
    assert result.returncode == 0, result.stderr
    assert list(files_of(output)) == ["annotations.json"]
    assert f"{output}: 3 faces left out: members disagree" in result.stdout
    assert result.stderr.count("left out: ") == 3
    faces = [face for entry in entries_of(output).values() for face in entry["faces"]]
    assert [face["left_out"] for face in faces] == ["members disagree"] * 3
    assert all(face["disagreement"] > 10 for face in faces)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mesh_that_fails_ends_the_program_in_a_line(first, tmp_path, workers):
    python = write_stand_in(tmp_path / "python", body="os.kill(os.getpid(), 9)")
    line = failure(
        "--photos", first[0], "--output", tmp_path / "made", "--mesh", python, "--workers", workers
    )
    assert line.startswith(f"error: {python}: the face mesh ended with code -9")
    assert "no mediapipe" in failure(
        "--photos", first[0], "--output", tmp_path / "other", "--mesh", sys.executable
    )


def test_strict_stops_at_a_bad_photo_known_or_not(made, tmp_path):
    root, output = made
    for folder in (output, tmp_path / "fresh"):
        line = failure("--photos", root, "--output", folder, *PLAIN, "--strict")
        assert line.startswith(f"error: {root / 'inner' / 'bad.jpg'}: ")


@pytest.mark.parametrize("option", [[], ["--no-mesh"]])
def test_a_face_mesh_that_is_not_there_is_said_to_be_missing_unless_none_is_wanted(option, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no photo")
    arguments = ("--photos", "photos", "--output", "made", "--workers", 1, *option)
    done = facealign("annotate", *arguments, cwd=tmp_path)
    said = (
        "warning: .venv-mesh/bin/python: not there (`make mesh` makes it): the cascade alone annotates"
        in done.stderr
    )
    assert said == (not option)


def test_no_photo_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no image in it" in failure("--photos", tmp_path / "empty", "--output", tmp_path / "made", *PLAIN)
    assert "no such folder" in failure("--photos", tmp_path / "gone", "--output", tmp_path / "made", *PLAIN)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"?")
    line = failure("--photos", tmp_path / "bad", "--output", tmp_path / "made", *PLAIN)
    assert "none of 1 photo could be used" in line
    assert os.listdir(tmp_path / "made") == ["annotations.json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workers", "0"],
        ["--max-disagreement", "0"],
        ["--max-disagreement", "nan"],
        ["--min-face", "5"],
        ["--turns", "often"],
        ["--mesh", "python", "--no-mesh"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        annotate.arguments_of(["--photos", "here", "--output", "there", *arguments])
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err
