"""`facealign align --video` on videos whose motion is known."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign.commands import align_video
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply
from facealign.geometry.landmarks import inter_ocular
from facealign.inference.face_aligner import FaceAligner
from facealign.video.reading import Video
from tests.commands.aligning import contents, images_of, run_align  # noqa: F401
from tests.video.moving_face import frames, photo, slowly_to_the_right, turned, write_video

ROOT = Path(__file__).parents[2]
OPTIONS = ("--engine", "onnx", "--turns", "never")
LENGTH = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    return write_video(path, frames(slowly_to_the_right, LENGTH), rate=30.0)


def read(path):
    capture = cv2.VideoCapture(str(path))
    images = []
    while (found := capture.read())[0]:
        images.append(found[1])
    return images, capture.get(cv2.CAP_PROP_FPS)


def test_a_video_is_aligned_frame_by_frame(clip, tmp_path, run_align):  # noqa: F811
    out = tmp_path / "out"
    printed = run_align("--video", clip, *OPTIONS, "--output", out).out
    assert printed == f"{out / 'landmarks.json'}: {LENGTH} frames, {LENGTH} faces\n"
    assert sorted(contents(out)) == ["clip.mp4", "landmarks.json"]
    (truth,) = FaceAligner.open(engine="onnx").detect_and_align(photo())
    entries = images_of(out)
    assert [entry["frame"] for entry in entries] == list(range(LENGTH))
    for entry in entries:
        assert set(entry) == {"file", "frame", "time", "width", "height", "faces"}
        assert (entry["file"], entry["width"], entry["height"]) == (clip.as_posix(), 320, 240)
        assert entry["time"] == pytest.approx(entry["frame"] / 30, abs=2e-3)
        (face,) = entry["faces"]
        assert set(face) == {"track", "box", "score", "confidence", "doubtful", "landmarks", "pose"}
        assert face["track"] == 1
        there = apply(slowly_to_the_right(entry["frame"]).map, truth.landmarks)
        error = np.linalg.norm(face["landmarks"] - there, axis=-1).mean() / inter_ocular(there)
        assert error < 0.06

    before, rate = read(clip)
    after, own_rate = read(out / "clip.mp4")
    assert own_rate == pytest.approx(rate)
    assert len(after) == LENGTH
    for entry, image, drawn in zip(entries, before, after, strict=True):
        assert drawn.shape == image.shape
        x1, y1, x2, y2 = np.array(entry["faces"][0]["box"]).round().astype(int)
        difference = np.abs(drawn.astype(int) - image).max(axis=2)
        assert difference[y1:y2, x1:x2].max() > 80
        assert difference[:, x2 + 40 :].max(initial=0) < 60


def test_smoothing_is_of_the_landmarks_between_frames(clip, tmp_path, run_align):  # noqa: F811
    steps = []
    for name, options in (("smooth", ()), ("plain", ("--no-smoothing",))):
        run_align("--video", clip, *OPTIONS, *options, "--no-pictures", "--output", tmp_path / name)
        assert list(contents(tmp_path / name)) == ["landmarks.json"]
        points = np.array([entry["faces"][0]["landmarks"] for entry in images_of(tmp_path / name)])
        steps.append(np.linalg.norm(np.diff(points, 2, axis=0), axis=-1).mean())  # the motion is even
    assert steps[0] < 0.8 * steps[1]


@pytest.mark.parametrize("lines", [27, LENGTH - 3])
def test_killed_it_goes_on_and_ends_as_if_undisturbed(lines, clip, tmp_path, run_align):  # noqa: F811
    options = ("--video", clip, *OPTIONS, "--montage", "--output")
    run_align(*options, tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "facealign", "align", *options, out]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    growing = out / "landmarks.jsonl"
    while process.poll() is None and not (growing.is_file() and growing.read_bytes().count(b"\n") >= lines):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert json.loads(growing.read_text().splitlines()[0])["frame"] == 0
    assert not (out / "landmarks.json").exists()
    errors = run_align(*options, out).err
    assert f"{growing}: has 25 frames already" in errors
    assert contents(out) == contents(tmp_path / "whole")


def test_a_turned_video_stays_turned(clip, tmp_path, run_align):  # noqa: F811
    """As phones hold it: stored on its side, shown upright."""
    lying = write_video(
        tmp_path / "phone.mp4", [np.rot90(image).copy() for image in frames(slowly_to_the_right, 6)]
    )
    lying.write_bytes(turned(lying.read_bytes(), 90))
    run_align("--video", lying, *OPTIONS, "--output", tmp_path / "out")
    assert [len(entry["faces"]) for entry in images_of(tmp_path / "out")] == [1] * 6
    assert {(entry["width"], entry["height"]) for entry in images_of(tmp_path / "out")} == {(320, 240)}
    images, _ = read(tmp_path / "out" / "phone.mp4")
    assert images[0].shape == (240, 320, 3)


class Camera(Video):
    """A camera that shows a file at half its rate, in front of which somebody presses Ctrl-C.

    No camera is at hand: all but the device is as it is.
    """

    def __init__(self, source):
        super().__init__(source)
        self.is_camera, self.name, self.length = True, "camera 0", None

    def frames(self):
        for frame in super().frames():
            yield dataclasses.replace(frame, time=2 * frame.number / self.rate)
            if frame.number == 19:
                raise KeyboardInterrupt


def test_ctrl_c_ends_a_camera_s_recording(clip, tmp_path, run_align, monkeypatch):  # noqa: F811
    monkeypatch.setattr(align_video, "Video", Camera)
    out = tmp_path / "out"
    for _ in range(2):  # the second recording is a new one
        printed = run_align("--video", clip, *OPTIONS, "--output", out).out
        entries = images_of(out)
        assert printed.startswith(f"{out / 'landmarks.json'}: {len(entries)} frames")
        assert sorted(contents(out)) == ["camera_0.mp4", "landmarks.json"]
        assert 5 < len(entries) <= 20
        assert [entry["frame"] for entry in entries] == list(range(len(entries)))
        assert {entry["file"] for entry in entries} == {"camera 0"}
        images, rate = read(out / "camera_0.mp4")
        assert len(images) / rate == pytest.approx(entries[-1]["time"], abs=2.5 / rate)


def test_points_of_frames_lie_beside_them(clip, tmp_path, run_align):  # noqa: F811
    short = write_video(tmp_path / "short.mp4", frames(slowly_to_the_right, 3))
    run_align("--video", short, *OPTIONS, "--no-pictures", "--format", "pts", "--output", tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        f"pts/short_{number:06}.{suffix}" for number in range(3) for suffix in ("jpg", "pts")
    ]


def test_the_video_that_is_read_is_not_replaced(tmp_path, run_align):  # noqa: F811
    own = write_video(tmp_path / "clip.mp4", frames(slowly_to_the_right, 2))
    with pytest.raises(FaceAlignError, match="would replace"):
        run_align("--video", own, *OPTIONS, "--output", tmp_path)


def test_what_is_no_video_is_one_line(tmp_path):
    """FFmpeg and OpenCV keep silent."""
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 3000)
    for source, reason in (
        ("clip.mp4", "clip.mp4: not a video that can be read"),
        ("none.mp4", "none.mp4: no such file; expected a video, or the number of a camera"),
        ("97", "camera 97: cannot be opened; connect it, and end programs that use it"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "facealign", "align", "--video", source],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {reason}\n")
        assert not (tmp_path / "out").exists()
