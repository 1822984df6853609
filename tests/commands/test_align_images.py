"""`facealign align` on images: formats, choices of faces, and runs that were stopped."""

import csv
import json

import cv2
import numpy as np
import pytest

from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from tests.commands.aligning import contents, images_of, run_align  # noqa: F401
from tests.random_weights import write_model
from tests.video.moving_face import photo

ENGINE = ("--engine", "onnx")


@pytest.fixture
def photos(tmp_path):
    """Three photos of one face, the third in a folder of its own; b.png has a smaller second one."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    small = photo()[:300, 70:370]
    both = np.full((300, 450, 3), 128, np.uint8)
    both[:, :300] = small
    both[:150, 300:] = cv2.resize(small, (150, 150), interpolation=cv2.INTER_AREA)
    for name, image in (("a.png", small), ("b.png", both), ("more/a.png", small[:, ::-1])):
        cv2.imwrite(str(folder / name), image)
    return folder


def test_each_format_has_the_same_landmarks(photos, tmp_path, run_align):  # noqa: F811
    options = (photos, *ENGINE, "--no-pictures", "--output")
    run_align(*options, tmp_path / "json")
    assert list(contents(tmp_path / "json")) == ["landmarks.json"]
    entries = images_of(tmp_path / "json")
    faces = [(entry["file"], number, face) for entry in entries for number, face in enumerate(entry["faces"])]
    assert [number for _, number, _ in faces] == [0, 0, 1, 0]

    run_align(*options, tmp_path / "jsonl", "--format", "jsonl")
    assert list(contents(tmp_path / "jsonl")) == ["landmarks.jsonl"]
    lines = (tmp_path / "jsonl" / "landmarks.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == entries

    run_align(*options, tmp_path / "csv", "--format", "csv")
    with (tmp_path / "csv" / "landmarks.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows]).reshape(-1, 68, 2)
    np.testing.assert_array_equal(points, [face["landmarks"] for *_, face in faces])

    run_align(*options, tmp_path / "pts", "--format", "pts")
    assert [path.name for path in (tmp_path / "pts").iterdir()] == ["pts"]
    samples = {
        sample.path.relative_to(tmp_path / "pts" / "pts").as_posix(): sample
        for sample in scan(tmp_path / "pts").samples
    }
    assert sorted(samples) == ["a.png", "b.png", "b_face2.png", "more/a.png"]
    for name, (file, _, face) in zip(("a.png", "b.png", "b_face2.png", "more/a.png"), faces, strict=True):
        np.testing.assert_allclose(samples[name].points, face["landmarks"], atol=1e-3)
        assert samples[name].path.resolve().as_posix() == file


def test_finished_lines_stay_when_another_format_is_asked_for(photos, tmp_path, run_align):  # noqa: F811
    out = tmp_path / "out"
    options = (photos, *ENGINE, "--no-pictures", "--output", out)
    run_align(*options, "--format", "jsonl")
    lines = (out / "landmarks.jsonl").read_bytes()
    (photos / "b.png").rename(tmp_path / "b.png")
    (photos / "b.png").write_bytes(b"no image")
    with pytest.raises(FaceAlignError):
        run_align(*options, "--format", "csv", "--strict")
    assert sorted(contents(out)) == ["landmarks.growing.jsonl", "landmarks.jsonl"]
    (tmp_path / "b.png").replace(photos / "b.png")
    assert "landmarks.growing.jsonl: has 1 image already" in run_align(*options, "--format", "csv").err
    assert sorted(contents(out)) == ["landmarks.csv", "landmarks.jsonl"]
    run_align(*options)
    assert sorted(contents(out)) == ["landmarks.csv", "landmarks.json", "landmarks.jsonl"]
    assert (out / "landmarks.jsonl").read_bytes() == lines


def test_a_video_given_as_an_image_is_said_to_have_an_option(photos, tmp_path, run_align):  # noqa: F811
    clip = photos / "talk.MP4"
    clip.write_bytes(b"\x00\x00\x00\x18ftypisom and frames")
    with pytest.raises(
        FaceAlignError, match=r"talk\.MP4: not an image that can be read; --video takes a video$"
    ):
        run_align(clip, *ENGINE, "--output", tmp_path / "out")
    with pytest.raises(FaceAlignError, match=r"gone\.mp4: no such file; expected an image$"):
        run_align(photos / "gone.mp4", *ENGINE, "--output", tmp_path / "out")
    errors = run_align(photos, *ENGINE, "--no-pictures", "--output", tmp_path / "out").err
    assert f"passed over: {clip}: not a format that is read; --video takes a video\n" in errors


def test_json_has_the_numbers_alone_on_standard_output(photos, tmp_path, run_align):  # noqa: F811
    (photos / "c.png").write_bytes(b"not an image")
    out = tmp_path / "out"
    said, errors = run_align(photos, *ENGINE, "--no-pictures", "--output", out, "--json", "-", "--quiet")
    faces = [face for entry in images_of(out) for face in entry["faces"]]
    assert json.loads(said) == {
        "output": str(out / "landmarks.json"),
        "images": len(images_of(out)),
        "faces": len(faces),
        "doubtful": sum(face["doubtful"] for face in faces),
        "skipped": 1,
    }
    assert errors.startswith(f"skipped: {photos / 'c.png'}: ")
    assert errors.count("\n") == 1


def test_a_montage_shows_all_images(photos, tmp_path, run_align):  # noqa: F811
    run_align(photos, *ENGINE, "--montage", "--output", tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        "a.png",
        "b.png",
        "landmarks.json",
        "montage/sheet_1.jpg",
        "more/a.png",
    ]
    sheet = cv2.imread(str(tmp_path / "out" / "montage" / "sheet_1.jpg"))
    assert sheet.shape[0] > 2 * 220 < sheet.shape[1]


def test_faces_are_chosen_by_number_size_and_score(photos, tmp_path, run_align):  # noqa: F811
    options = (photos / "b.png", *ENGINE, "--no-pictures", "--output", tmp_path / "out")
    run_align(*options)
    large, small = sorted(images_of(tmp_path / "out")[0]["faces"], key=lambda face: face["box"][0])
    width = {name: face["box"][2] - face["box"][0] for name, face in (("large", large), ("small", small))}
    assert width["large"] > 1.8 * width["small"]
    for extra in (("--max-faces", 1), ("--min-face", 90)):
        run_align(*options, *extra)
        (face,) = images_of(tmp_path / "out")[0]["faces"]
        assert np.abs(np.array(face["landmarks"]) - large["landmarks"]).mean() < 3
    lower = min(large["score"], small["score"])
    run_align(*options, "--min-score", lower + 1e-4)
    assert all(face["score"] > lower for face in images_of(tmp_path / "out")[0]["faces"])


def test_a_stopped_run_goes_on_and_ends_as_an_undisturbed_one(photos, tmp_path, run_align):  # noqa: F811
    """Stopped by an image that cannot be read."""
    options = (photos, *ENGINE, "--montage", "--output", tmp_path / "out")
    whole = (photos / "b.png").read_bytes()
    run_align(*options)
    undisturbed = contents(tmp_path / "out")
    (photos / "b.png").write_bytes(b"no image")
    with pytest.raises(FaceAlignError, match=r"b\.png"):
        run_align(*options, "--strict")
    assert len((tmp_path / "out" / "landmarks.jsonl").read_text().splitlines()) == 1
    (photos / "b.png").write_bytes(whole)
    changed = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    errors = run_align(*options).err
    assert "landmarks.jsonl: has 1 image already" in errors
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == changed
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("change", ["options", "weights", "image", "picture"])
def test_what_has_changed_since_is_done_again(change, photos, tmp_path, run_align):  # noqa: F811
    out = tmp_path / "out"
    model = write_model(tmp_path / "weights").with_suffix(".onnx")
    (photos / "more" / "a.png").write_bytes(b"no image")
    options = [photos, *ENGINE, "--turns", "never", "--weights", model, "--output", out]
    with pytest.raises(FaceAlignError):
        run_align(*options, "--strict")
    assert len((out / "landmarks.jsonl").read_text().splitlines()) == 2
    if change == "options":
        options.append("--flip")
    elif change == "weights":
        options[options.index(model)] = write_model(tmp_path / "others", seed=5).with_suffix(".onnx")
    elif change == "image":
        cv2.imwrite(str(photos / "a.png"), photo()[:280, 70:370])
    else:
        (out / "a.png").unlink()
    errors = run_align(*options).err
    known = 0 if change in ("options", "weights") else 1
    assert ("has 1 image already" in errors) == bool(known)
    assert "already" in errors or not known
    run_align(*options[:-1], tmp_path / "again") if change != "options" else run_align(
        *options[:-2], tmp_path / "again", "--flip"
    )
    assert contents(out) == contents(tmp_path / "again")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no images given"),
        (["a.png", "--video", "b.mp4"], "not both"),
        (["--video", "0", "--montage"], "camera"),
        (["a.png", "--boxes", "c", "--min-face", "50"], "--min-face"),
        (["--video", "a.mp4", "--boxes", "c"], "--video"),
        (["a.png", "--max-faces", "0"], "--max-faces"),
        (["a.png", "--min-face", "3"], "--min-face is 3.0, expected 12"),
        (["a.png", "--min-score", "2"], "--min-score is 2.0, expected a number from 0 to 1"),
        (["--video", "a.mp4", "--min-cutoff", "0"], "--min-cutoff is 0.0, expected a frequency"),
        (["--video", "a.mp4", "--beta", "-1"], "beta"),
        (["--video", "a.mp4", "--detect-every", "0"], "--detect-every"),
    ],
)
def test_options_that_cannot_be_are_wrong_usage(arguments, reason, run_align, capfd):  # noqa: F811
    with pytest.raises(SystemExit) as caught:
        run_align(*arguments)
    assert caught.value.code == 2
    assert reason in capfd.readouterr().err.splitlines()[-1]


def test_show_without_a_display_is_a_warning(photos, tmp_path, run_align, monkeypatch):  # noqa: F811
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    errors = run_align(photos / "a.png", *ENGINE, "--show", "--output", tmp_path / "out").err
    assert "warning: --show: no display" in errors
    assert sorted(contents(tmp_path / "out")) == ["a.png", "landmarks.json"]
