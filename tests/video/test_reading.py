"""Frames of video files that OpenCV and a small edit of their bytes made."""

import os

import numpy as np
import pytest

from facealign.errors import FaceAlignError
from facealign.video.reading import Video
from tests.video.moving_face import drawn, frames, slowly_to_the_right, still, turned, write_video


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", frames(slowly_to_the_right, 12))


def test_frames_come_in_order_with_their_times(clip):
    with Video(str(clip)) as video:
        found = list(video.frames())
    assert (video.rate, video.length, video.width, video.height) == (25.0, 12, 320, 240)
    assert (video.name, video.is_camera) == (clip.as_posix(), False)
    assert [frame.number for frame in found] == list(range(12))
    assert [frame.time for frame in found] == pytest.approx([index / 25 for index in range(12)], abs=1e-3)
    for frame, image in zip(found, frames(slowly_to_the_right, 12), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 4


@pytest.mark.parametrize("rate", [12.5, 24000 / 1001, 29.97, 60.0])
def test_the_frame_rate_is_the_file_s(rate, tmp_path):
    path = write_video(tmp_path / "a.mp4", frames(still, 6), rate)
    with Video(str(path)) as video:
        times = [frame.time for frame in video.frames()]
    assert video.rate == pytest.approx(rate, rel=1e-3)
    assert np.diff(times) == pytest.approx(np.full(5, 1 / rate), abs=2e-3)


@pytest.mark.parametrize(("degrees", "quarters"), [(0, 0), (90, -1), (180, 2), (270, 1)])
def test_frames_are_turned_as_a_player_turns_them(degrees, quarters, clip):
    clip.write_bytes(turned(clip.read_bytes(), degrees))
    with Video(str(clip)) as video:
        first = next(video.frames())
    expected = np.rot90(drawn(slowly_to_the_right(0)), quarters)
    assert first.image.shape == expected.shape == (video.height, video.width, 3)
    assert np.abs(first.image.astype(int) - expected).mean() < 4


def test_skipped_frames_are_those_not_read(clip):
    with Video(str(clip)) as video:
        whole = list(video.frames())
    with Video(str(clip)) as video:
        assert video.skip(5) == 5
        rest = list(video.frames())
        assert video.skip(3) == 0
    assert [(frame.number, frame.time) for frame in rest] == [
        (frame.number, frame.time) for frame in whole[5:]
    ]
    for frame, other in zip(rest, whole[5:], strict=True):
        np.testing.assert_array_equal(frame.image, other.image)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a video"),
        (b"\0" * 5000, "not a video"),
        (b"RIFF\x10\0\0\0AVI LIST", "not a video"),
        (None, "no such file"),
    ],
)
def test_what_is_no_video_is_refused(content, reason, tmp_path):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FaceAlignError) as caught:
        Video(str(path))
    assert str(caught.value).startswith(f"{path}: {reason}")


def test_a_folder_a_pipe_and_a_missing_camera_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for source, reason in (
        (str(tmp_path), "a folder"),
        (str(tmp_path / "pipe"), "a device or pipe"),
        ("97", "camera 97: cannot be opened"),
    ):
        with pytest.raises(FaceAlignError, match=reason):
            Video(source)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_cut_off_is_refused_or_ends_early(part, clip):
    """An MP4's index is at its end."""
    whole = clip.read_bytes()
    clip.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(FaceAlignError, match="not a video"):
        Video(str(clip))
    avi = write_video(clip.with_suffix(".avi"), frames(still, 12), code="MJPG")
    whole = avi.read_bytes()
    avi.write_bytes(whole[: int(part * len(whole))])
    with Video(str(avi)) as video:
        assert 0 < len(list(video.frames())) < 12
