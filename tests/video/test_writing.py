"""Videos written by us, read back by OpenCV alone."""

import subprocess

import cv2
import numpy as np
import pytest

from facealign.errors import FaceAlignError
from facealign.video.writing import ENCODERS, encoder_here, video_writer
from tests.mounting import may_mount
from tests.video.moving_face import HEIGHT, WIDTH, frames, nearer


def read_back(path):
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        done, image = capture.read()
        if not done:
            return images, capture.get(cv2.CAP_PROP_FPS)
        images.append(image)


def write(path, images, rate=25.0):
    size = images[0].shape[1], images[0].shape[0]
    with video_writer(path, rate, size) as append:
        for image in images:
            append(image)


@pytest.fixture
def path(tmp_path):
    return tmp_path / f"clip{encoder_here()[0]}"


def test_the_encoder_is_the_first_that_works(tmp_path):
    """Tried here by hand, at another size."""
    works = []
    for number, (suffix, code) in enumerate(ENCODERS):
        path = tmp_path / f"{number}{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 30.0, (128, 96))
        writer.write(np.zeros((96, 128, 3), np.uint8))
        writer.release()
        works += [(suffix, code)] if len(read_back(path)[0]) == 1 else []
    assert encoder_here() == works[0]


@pytest.mark.parametrize("rate", [12.5, 25.0, 29.97, 60.0])
def test_frames_and_their_rate_are_kept(rate, path):
    images = list(frames(nearer, 10))
    write(path, images, rate)
    found, read_rate = read_back(path)
    assert read_rate == pytest.approx(rate, rel=1e-3)
    assert len(found) == 10
    for image, other in zip(images, found, strict=True):
        assert image.shape == other.shape
        assert np.abs(image.astype(int) - other).mean() < 4


@pytest.mark.parametrize("size", [(319, 240), (320, 239), (319, 239), (33, 17)])
def test_of_an_odd_size_no_pixel_is_lost(size, path):
    width, height = size
    images = [image[:height, :width] for image in frames(nearer, 3)]
    write(path, images)
    found, _ = read_back(path)
    assert found[0].shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(found[0][:height, :width].astype(int) - images[0]).mean() < 5


def test_the_same_frames_make_the_same_bytes(path):
    made = []
    for _ in range(2):
        write(path, list(frames(nearer, 5)))
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_after_an_error_there_is_no_video_and_a_former_one_stays(path):
    def fail():
        with video_writer(path, 25.0, (WIDTH, HEIGHT)) as append:
            append(next(frames(nearer, 1)))
            raise KeyboardInterrupt

    for former in (None, b"former"):
        if former is not None:
            path.write_bytes(former)
        with pytest.raises(KeyboardInterrupt):
            fail()
        assert [one.name for one in path.parent.iterdir()] == ([] if former is None else [path.name])
        assert former is None or path.read_bytes() == former


@pytest.mark.skipif(not may_mount(), reason="mounts a file system")
def test_a_full_disk_is_an_error_that_names_the_video(path, small_disk):
    target = small_disk / path.name
    noise = np.random.default_rng(0).integers(0, 256, (20, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with pytest.raises((FaceAlignError, OSError)) as caught:
        write(target, list(noise))
    assert path.name in str(caught.value)
    assert list(small_disk.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)
