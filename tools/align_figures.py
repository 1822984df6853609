"""Speed of `facealign align`, and what following and smoothing do to the landmarks of a video.

    python tools/align_figures.py                      # video: frames a second, jitter, lag
    python tools/align_figures.py --photos DIR         # also images a second and memory on 1,000 photos

The videos are made of scikit-image's astronaut, moved by known maps, with noise on every frame. Times are
those of the processor, so that other programs hardly disturb them.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cv2
import numpy as np
from skimage.data import astronaut

from facealign.arrays import FloatArray, Image
from facealign.geometry.boxes import area, landmark_box
from facealign.geometry.landmarks import inter_ocular
from facealign.inference.face_aligner import FaceAligner
from facealign.io.markdown import table
from facealign.results.found_images import find_images
from facealign.video.one_euro import OneEuroFilter, OneEuroSettings
from facealign.video.tracker import FaceTracker, TrackerSettings

RATE, SECONDS = 25, 4
WIDTH, HEIGHT = 640, 480
SWING, PERIOD = 150.0, 4.0
"""Pixels to either side of a moving face, and seconds for one way there and back."""
SETTLED = 25
"""Frames at the start that are not counted: the filter has no speed yet."""
NOISES = (6.0, 12.0)
"""Standard deviation of the noise, of 255; the first one's video measures lag and speed."""
FILTERS = (
    OneEuroSettings(),
    OneEuroSettings(min_cutoff=0.3),
    OneEuroSettings(min_cutoff=2.0),
    OneEuroSettings(beta=0.0),
    OneEuroSettings(beta=1.0),
    OneEuroSettings(beta=50.0),
)


def still(seconds: float) -> float:
    return 50.0


def moving(seconds: float) -> float:
    return 50.0 + SWING * float(np.sin(2 * np.pi * seconds / PERIOD))


def frames(path: Callable[[float], float], noise: float) -> Iterator[Image]:
    """Frames in which the photo is so many pixels to the right, with noise of this standard deviation."""
    photo = np.ascontiguousarray(astronaut()[:, :, ::-1])
    draw = np.random.default_rng(0)
    for number in range(RATE * SECONDS):
        shift = np.array([[1.0, 0.0, path(number / RATE)], [0.0, 1.0, 0.0]])
        frame = cv2.warpAffine(photo, shift, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        grain = np.float32(noise) * draw.standard_normal(frame.shape, dtype=np.float32)
        yield np.clip(frame + grain, 0, 255).astype(np.uint8)


def followed(aligner: FaceAligner, video: Sequence[Image], every: int) -> tuple[FloatArray, float]:
    """Landmarks (n, 68, 2) without smoothing, and frames in a second of the processor."""
    tracker = FaceTracker(aligner, TrackerSettings(detect_every=every, smoothing=None, turns="never"))
    began = time.process_time()
    found = [tracker.update(image, number / RATE) for number, image in enumerate(video)]
    rate = len(video) / (time.process_time() - began)
    return np.array([faces[0].face.landmarks for faces in found]), rate


def jitter(points: FloatArray) -> float:
    """Mean distance from a landmark (n, 68, 2) to the frame before's, % of the inter-ocular distance."""
    steps = np.linalg.norm(np.diff(points[SETTLED:], axis=0), axis=-1)
    return 100 * float(steps.mean()) / float(inter_ocular(points.mean(axis=0)))


def lag(points: FloatArray) -> float:
    """Milliseconds by which the face (n, 68, 2) is behind its known motion: those that fit it best."""
    times = np.arange(len(points)) / RATE
    seen = points[..., 0].mean(axis=1)
    delays = np.arange(-20.0, 400.0, 0.5)

    def misfit(delay: float) -> float:
        there = np.array([moving(second - delay / 1000) for second in times])
        return float(np.var((seen - there)[SETTLED:]))

    return float(min(delays, key=misfit))


def filtered(points: FloatArray, settings: OneEuroSettings) -> FloatArray:
    smooth = OneEuroFilter(settings)
    sizes = np.sqrt(area(landmark_box(points)))
    return np.array([smooth(face, number / RATE, float(sizes[number])) for number, face in enumerate(points)])


def video_tables(aligner: FaceAligner) -> str:
    """Frames a second, and jitter and lag by the filter's settings and the noise."""
    rates = []
    for every in (1, 10):
        _, rate = followed(aligner, list(frames(moving, NOISES[0])), every)
        rates.append([str(every), f"{rate:.0f}"])
    rows = []
    points = {
        (name, noise): followed(aligner, list(frames(path, noise)), 10)[0]
        for name, path in (("still", still), ("moving", moving))
        for noise in (NOISES if name == "still" else NOISES[:1])
    }
    for settings in (None, *FILTERS):
        made = {
            key: value if settings is None else filtered(value, settings) for key, value in points.items()
        }
        named = "none" if settings is None else ", ".join(map(str, dataclasses.astuple(settings)[:2]))
        noises = [f"{jitter(made['still', noise]):.2f}" for noise in NOISES]
        rows.append([named, *noises, f"{lag(made['moving', NOISES[0]]):.0f}"])
    header = ["min_cutoff, beta", *(f"Jitter, %, noise {noise:.0f}" for noise in NOISES), "Lag, ms"]
    return table(["Detector every N frames", "Frames/s"], rates) + "\n" + table(header, rows)


def photo_table(folder: Path, number: int) -> str:
    """Images a second and peak memory with and without pictures."""
    files = find_images([folder]).files[:number]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        photos.mkdir()
        for index, file in enumerate(files):
            (photos / f"{index:05}{file.suffix}").symlink_to(file.resolve())
        for name, options in (("drawn", ()), ("--no-pictures", ("--no-pictures",))):
            command = [sys.executable, "-m", "facealign", "align", photos, "--output", Path(scratch) / name]
            began, quiet = time.monotonic(), subprocess.DEVNULL
            process = subprocess.Popen([*map(str, command), *options], stdout=quiet, stderr=quiet)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - began
            spent = usage.ru_utime + usage.ru_stime
            memory = usage.ru_maxrss / 1024
            cells = [f"{len(files) / seconds:.0f}", f"{len(files) / spent:.0f}", f"{memory:.0f} MB"]
            rows.append([name, str(len(files)), *cells])
    header = ["Pictures", "Images", "Images/s", "Images in a second of the processor", "Peak memory"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, metavar="DIR")
    parser.add_argument("--number", type=int, default=1000, metavar="N")
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(video_tables(FaceAligner.open(engine=arguments.engine)))
    if arguments.photos is not None:
        print(photo_table(arguments.photos, arguments.number))


if __name__ == "__main__":
    main()
