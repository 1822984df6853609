"""ImageFloatData: the list it reads, the images it makes of it, and labels that move with the picture."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import caffe
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def data_net(
    source: Path | str,
    *,
    batch: int,
    images: str = "",
    floats: str = "",
    transform: str = "",
    weights: bool = False,
) -> str:
    """An ImageFloatData layer with 4 labels."""
    third = 'top: "weight"' if weights else ""
    return (
        f'layer {{ name: "data" type: "ImageFloatData" top: "data" top: "label" {third}'
        f' image_data_param {{ source: "{source}" batch_size: {batch} {images} }}'
        f" image_float_data_param {{ label_dim: 4 {floats} }} transform_param {{ {transform} }} }}"
    )


def write_list(
    directory: Path, images: Sequence[Image], values: Sequence[Sequence[float]], name: str = "{}.png"
) -> Path:
    """Write images and the list that names them by their full path."""
    lines = []
    for i, (image, numbers) in enumerate(zip(images, values, strict=True)):
        path = directory / name.format(i)
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image)
        lines.append(" ".join([str(path), *(repr(float(number)) for number in numbers)]))
    source = directory / "list.txt"
    source.write_text("\n".join(lines) + "\n")
    return source


def random_images(count: int, height: int = 12, width: int = 10) -> list[Image]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def planes(image: NDArray[Any]) -> NDArray[np.float32]:
    """An image as the net has it."""
    return image.transpose(2, 0, 1).astype(np.float32)


def test_images_and_labels_come_in_the_order_of_the_list(
    tmp_path: Path, make_net: Callable[..., Any]
) -> None:
    images = random_images(5)
    values = np.random.default_rng(2).normal(size=(5, 4))
    net = make_net(data_net(write_list(tmp_path, images, values.tolist()), batch=2))
    assert net.blobs["data"].data.shape == (2, 3, 12, 10)
    assert net.blobs["label"].data.shape == (2, 4)
    for step in range(5):
        net.forward()
        for i in range(2):
            index = (2 * step + i) % 5
            np.testing.assert_array_equal(net.blobs["data"].data[i], planes(images[index]))
            np.testing.assert_allclose(net.blobs["label"].data[i], values[index], rtol=1e-6)


def test_resize_mean_and_scale(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    images = random_images(2, 30, 40)
    source = write_list(tmp_path, images, [[0.1, 0.2, 0.3, 0.4]] * 2)
    text = data_net(
        source, batch=2, images="new_height: 16 new_width: 12", transform="mean_value: 127.5 scale: 0.0078125"
    )
    net = make_net(text)
    net.forward()
    for i in range(2):
        # The two OpenCVs (the process has two) may round a resized pixel differently.
        expected = (planes(cv2.resize(images[i], (12, 16))) - 127.5) / 128
        np.testing.assert_allclose(net.blobs["data"].data[i], expected, atol=1.01 / 128)
    np.testing.assert_allclose(net.blobs["label"].data, [[0.1, 0.2, 0.3, 0.4]] * 2, rtol=1e-6)


def test_gray_images(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    gray = random_images(1)[0][:, :, 0]
    net = make_net(data_net(write_list(tmp_path, [gray], [[0] * 4]), batch=1, images="is_color: false"))
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data[0, 0], gray)


def test_root_folder_and_paths_with_spaces_tabs_and_line_ends(
    tmp_path: Path, make_net: Callable[..., Any]
) -> None:
    images = random_images(2)
    write_list(tmp_path, images, [[0] * 4] * 2, name="a folder/face no {}.png")
    source = tmp_path / "list.txt"
    source.write_bytes(b"a folder/face no 0.png 1 2\t3  4\r\n\r\n  a folder/face no 1.png\t5 6 7 8  ")
    net = make_net(data_net(source, batch=2, images=f'root_folder: "{tmp_path}/"'))
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, [planes(image) for image in images])
    np.testing.assert_array_equal(net.blobs["label"].data, [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_shuffling_shows_each_image_once_a_round_and_repeats_with_a_seed(
    tmp_path: Path, make_net: Callable[..., Any]
) -> None:
    source = write_list(tmp_path, random_images(20), [[i, 0, 0, 0] for i in range(20)])
    text = data_net(source, batch=20, images="shuffle: true")

    def rounds(seed: int) -> list[list[float]]:
        net = make_net(text, seed=seed)
        order = []
        for _ in range(3):
            net.forward()
            order.append(net.blobs["label"].data[:, 0].tolist())
        return order

    first = rounds(5)
    assert all(sorted(order) == list(range(20)) for order in first)
    assert first[0] != list(range(20))
    assert first[0] != first[1]
    assert rounds(5) == first
    assert rounds(6) != first


def test_the_weight_of_a_sample_is_a_third_top(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    values = np.random.default_rng(3).normal(size=(3, 5))
    source = write_list(tmp_path, random_images(3), values.tolist())
    net = make_net(data_net(source, batch=3, floats="hard_sample: true", weights=True))
    for _ in range(3):
        net.forward()
        assert net.blobs["label"].data.shape == (3, 4)
        assert net.blobs["weight"].data.shape == (3, 1)
        np.testing.assert_allclose(net.blobs["label"].data, values[:, :4], rtol=1e-6)
        np.testing.assert_allclose(net.blobs["weight"].data[:, 0], values[:, 4], rtol=1e-6)


def test_weights_fit_the_loss(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    random = np.random.default_rng(4)
    values = random.uniform(0, 1, (2, 137))
    source = write_list(tmp_path, random_images(2), values.tolist())
    text = data_net(source, batch=2, floats="hard_sample: true", weights=True).replace(
        "label_dim: 4", "label_dim: 136"
    )
    text += """

        layer { name: "p" type: "InnerProduct" bottom: "data" top: "p"
          inner_product_param { num_output: 136 } }
        layer { name: "l" type: "WeightEuclideanLoss" bottom: "p" bottom: "label" bottom: "weight" top: "l" }
    """
    net = make_net(text)
    net.forward()
    # The fillers are constants of 0, and so are the predictions.
    expected = np.sum((values[:, :136] * values[:, 136:]) ** 2) / 4
    assert float(net.blobs["l"].data) == pytest.approx(expected, rel=1e-5)


SIZE = (48, 64)  # height, width: unlike, so that mixed-up axes show
DOTS = [(20.25, 15.5), (41.0, 30.0)]  # x, y, from 0


def dotted() -> tuple[Image, list[float]]:
    """A picture with two soft dots, and their labels: 1-based pixels divided by the size, x values first."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    shades = sum(np.exp(-((x - dot_x) ** 2 + (y - dot_y) ** 2) / (2 * 2.0**2)) for dot_x, dot_y in DOTS)
    image = np.repeat(np.rint(250 * np.asarray(shades))[:, :, np.newaxis], 3, axis=2).astype(np.uint8)
    labels = [(dot[0] + 1) / SIZE[1] for dot in DOTS] + [(dot[1] + 1) / SIZE[0] for dot in DOTS]
    return image, labels


def where_dots_are(data: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """The largest distance, in pixels, between a dot's centre of mass and its label."""
    plane = data[0].astype(float)
    height, width = plane.shape
    y, x = np.mgrid[:height, :width]
    worst = 0.0
    for i in range(2):
        label_x, label_y = labels[i] * width - 1, labels[2 + i] * height - 1
        near = plane * (np.hypot(x - label_x, y - label_y) < 8)
        centre = np.array([np.sum(near * x), np.sum(near * y)]) / np.sum(near)
        worst = max(worst, float(np.hypot(centre[0] - label_x, centre[1] - label_y)))
    return worst


def test_pad_ratio_moves_the_labels_with_the_picture(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    image, labels = dotted()
    count = 400
    source = write_list(tmp_path, [image], [labels])
    net = make_net(data_net(source, batch=count, transform="pad_ratio: 0.15"), seed=1)
    net.forward()
    data, moved = net.blobs["data"].data.copy(), net.blobs["label"].data.copy()
    same = [i for i in range(count) if np.array_equal(data[i], planes(image))]
    np.testing.assert_allclose(moved[same], np.broadcast_to(labels, (len(same), 4)), rtol=1e-6)
    # I = int(48 * 0.15) = 7: of -7..7, eight leave the picture as it is. Three deviations either way.
    assert len(same) / count == pytest.approx(8 / 15, abs=0.075)

    spread = []
    for i in sorted(set(range(count)) - set(same)):
        assert where_dots_are(data[i], moved[i]) < 0.15
        # How much smaller the face is: the distance of its dots.
        before, after = np.reshape(labels, (2, 2)), moved[i].reshape(2, 2)
        shrink = (after[:, 1] - after[:, 0]) / (before[:, 1] - before[:, 0])
        pad = np.rint((1 / shrink - 1) * np.array([SIZE[1], SIZE[0]]) / 2)
        assert pad[0] == pad[1]
        assert 1 <= pad[0] <= 7
        np.testing.assert_allclose(
            shrink, np.array([SIZE[1], SIZE[0]]) / (np.array([SIZE[1], SIZE[0]]) + 2 * pad), rtol=1e-4
        )
        # The parts before the picture, as shares of the border: anything from none to all.
        first = after[:, 0] * [SIZE[1], SIZE[0]] - 0.5
        start = first / shrink - (before[:, 0] * [SIZE[1], SIZE[0]] - 0.5)
        np.testing.assert_allclose(start, np.rint(start), atol=1e-3)
        spread.append(np.rint(start) / (2 * pad))
    assert np.min(spread) == 0
    assert np.max(spread) == 1
    np.testing.assert_allclose(np.mean(spread, axis=0), 0.5, atol=0.07)


def test_pad_ratio_does_nothing_in_the_test_phase(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    image, labels = dotted()
    text = data_net(write_list(tmp_path, [image], [labels]), batch=30, transform="pad_ratio: 0.15")
    net = make_net(text, caffe.TEST)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, [planes(image)] * 30)
    np.testing.assert_allclose(net.blobs["label"].data, [labels] * 30, rtol=1e-6)


def test_pad_ratio_leaves_labels_that_are_no_coordinates(
    tmp_path: Path, make_net: Callable[..., Any]
) -> None:
    image, labels = dotted()
    text = data_net(
        write_list(tmp_path, [image], [labels]),
        batch=30,
        floats="is_regression: false",
        transform="pad_ratio: 0.15",
    )
    net = make_net(text, seed=1)
    net.forward()
    assert any(not np.array_equal(data, planes(image)) for data in net.blobs["data"].data)
    np.testing.assert_allclose(net.blobs["label"].data, [labels] * 30, rtol=1e-6)


@pytest.mark.parametrize(
    ("phase", "centre", "anywhere"), [("TRAIN", False, True), ("TRAIN", True, False), ("TEST", False, False)]
)
def test_crops_move_the_labels(
    phase: str, centre: bool, anywhere: bool, tmp_path: Path, make_net: Callable[..., Any]
) -> None:
    image, labels = dotted()
    transform = f"crop_h: 40 crop_w: 54 center_crop: {str(centre).lower()}"
    net = make_net(
        data_net(write_list(tmp_path, [image], [labels]), batch=40, transform=transform),
        getattr(caffe, phase),
        seed=1,
    )
    net.forward()
    data, moved = net.blobs["data"].data, net.blobs["label"].data
    assert data.shape == (40, 3, 40, 54)
    assert max(where_dots_are(*pair) for pair in zip(data, moved, strict=True)) < 0.1
    if anywhere:
        assert len(np.unique(moved, axis=0)) > 20
    else:
        for i in range(40):
            np.testing.assert_array_equal(data[i], planes(image)[:, 4:44, 5:59])


def test_a_seed_repeats_what_pad_and_crop_draw(tmp_path: Path, make_net: Callable[..., Any]) -> None:
    image, labels = dotted()
    source = write_list(tmp_path, [image], [labels])
    text = data_net(source, batch=20, transform="pad_ratio: 0.15 crop_h: 40 crop_w: 54")

    def draw(seed: int) -> bytes:
        net = make_net(text, seed=seed)
        net.forward()
        return bytes(net.blobs["data"].data.tobytes() + net.blobs["label"].data.tobytes())

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


@pytest.mark.parametrize(
    ("images", "transform"),
    [
        ("shuffle: true new_height: 20 new_width: 16", "pad_ratio: 0.3 mean_value: 127.5 scale: 0.0078125"),
        ("shuffle: true rand_skip: 7", "pad_ratio: 0.3 crop_h: 9 crop_w: 8"),
    ],
    ids=["resized", "images of unlike sizes, cropped"],
)
def test_the_number_of_threads_changes_nothing(
    images: str,
    transform: str,
    tmp_path: Path,
    make_net: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(7)
    pictures = [random_images(1, *random.integers(10, 40, 2).tolist())[0] for _ in range(23)]
    source = write_list(tmp_path, pictures, random.uniform(0, 1, (23, 5)).tolist())
    text = data_net(
        source, batch=9, images=images, floats="hard_sample: true", transform=transform, weights=True
    )

    def batches(threads: int | None) -> list[bytes]:
        if threads is None:
            monkeypatch.delenv("CAFFE_IMAGE_THREADS")
        else:
            monkeypatch.setenv("CAFFE_IMAGE_THREADS", str(threads))
        net = make_net(text, seed=11)
        result = []
        for _ in range(8):  # three rounds through the list
            net.forward()
            result.append(b"".join(blob.data.tobytes() for blob in net.blobs.values()))
        return result

    first = batches(1)
    assert len(set(first)) == len(first)
    for threads in (4, 50, None):
        assert batches(threads) == first


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (3, 3), (16, 5)])
def test_images_are_read_by_so_many_threads_at_once(threads: int, expected: int, tmp_path: Path) -> None:
    # Images that keep their reader waiting: pipes that nobody writes to. A pipe can be opened for writing
    # without waiting only when somebody reads it.
    assert cv2.imwrite(str(tmp_path / "ok.png"), random_images(1)[0])
    pipes = [tmp_path / f"pipe{i}" for i in range(7)]
    for pipe in pipes:
        os.mkfifo(pipe)
    names = ["ok.png", *(pipe.name for pipe in pipes)]
    (tmp_path / "list.txt").write_text("".join(f"{name} 1 2 3 4\n" for name in names))
    # The first image is no pipe, so of a batch of 6 five are.
    (tmp_path / "n").write_text(data_net("list.txt", batch=6))
    child = subprocess.Popen(
        [sys.executable, "-c", 'import caffe\ncaffe.Net("n", caffe.TRAIN).forward()'],
        cwd=tmp_path,
        env={**os.environ, "CAFFE_IMAGE_THREADS": str(threads)},
    )
    writers: dict[Path, int] = {}

    def open_those_that_are_read() -> None:
        for pipe in set(pipes) - set(writers):
            try:
                writers[pipe] = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                assert child.poll() is None

    try:
        deadline = time.monotonic() + 60
        while len(writers) < expected and time.monotonic() < deadline:
            open_those_that_are_read()
            time.sleep(0.01)
        time.sleep(0.3)
        open_those_that_are_read()
        assert sorted(writers) == pipes[:expected]
    finally:
        child.kill()
        child.wait()
        for writer in writers.values():
            os.close(writer)


def test_a_forked_process_reads_with_nets_of_its_own(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    write_list(tmp_path, random_images(6), [[1, 2, 3, 4]] * 6)
    (tmp_path / "n").write_text(data_net("list.txt", batch=4, images="shuffle: true"))
    done = run_python(
        """
import os, signal, caffe
def batches():
    caffe.set_random_seed(5)
    net = caffe.Net("n", caffe.TRAIN)
    return net, [net.forward()["data"].tobytes() for _ in range(5)]
net, expected = batches()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if batches()[1] == expected else 1)
assert os.waitpid(child, 0)[1] == 0
net.forward()
""",
        CAFFE_IMAGE_THREADS="4",
    )
    assert done.returncode == 0, done.stderr


def test_of_several_bad_images_the_first_of_the_list_is_named(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    cv2.imwrite(str(tmp_path / "ok.png"), random_images(1)[0])
    (tmp_path / "list.txt").write_text(
        "ok.png 1 2 3 4\n" * 9 + "a.png 1 2 3 4\nb.png 1 2 3 4\nc.png 1 2 3 4\n"
    )
    (tmp_path / "n").write_text(data_net("list.txt", batch=12))
    for _ in range(3):
        done = run_python(
            'import caffe\ncaffe.Net("n", caffe.TRAIN).forward()',
            CAFFE_IMAGE_THREADS="4",
            GLOG_minloglevel="2",
        )
        assert done.returncode != 0
        (told,) = (line for line in done.stderr.splitlines() if "ImageFloatData" in line)
        assert told.endswith(
            "a.png (list.txt line 10): cannot be read as an image [layer 'data' (ImageFloatData) of n]"
        )


def test_what_opencv_throws_is_told_with_the_line(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    cv2.imwrite(str(tmp_path / "ok.png"), random_images(1)[0])
    cv2.imwrite(str(tmp_path / "wide.png"), random_images(1, 4, 200)[0])
    (tmp_path / "n").write_text(data_net("list.txt", batch=2, images="new_height: 8 new_width: 8"))
    code = 'import caffe\ncaffe.Net("n", caffe.TRAIN).forward()'
    # OpenCV's own limit, above which its reading function throws.
    limit = {"OPENCV_IO_MAX_IMAGE_WIDTH": "100", "CAFFE_IMAGE_THREADS": "2"}
    for lines, number in [(["ok.png", "wide.png"], 2), (["wide.png", "ok.png"], 1)]:
        (tmp_path / "list.txt").write_text("".join(f"{name} 1 2 3 4\n" for name in lines))
        assert run_python(code).returncode == 0
        done = run_python(code, **limit)
        assert done.returncode != 0
        assert f"wide.png (list.txt line {number}): OpenCV" in done.stderr


@pytest.mark.parametrize("value", ["0", "2.5", "99999999999999999999"])
def test_a_wrong_number_of_threads_is_named(
    value: str, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    write_list(tmp_path, random_images(1), [[0] * 4])
    (tmp_path / "n").write_text(data_net("list.txt", batch=2))
    done = run_python('import caffe\ncaffe.Net("n", caffe.TRAIN)', CAFFE_IMAGE_THREADS=value)
    assert done.returncode != 0
    assert f"CAFFE_IMAGE_THREADS is '{value}'; expected a number of threads" in done.stderr


GOOD = "ok.png 1 2 3 4\n"


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (GOOD + "missing.png 1 2 3 4\n", {}, "missing.png (list.txt line 2)"),
        ("bad.png 1 2 3 4\n", {}, "bad.png (list.txt line 1)"),
        (GOOD + "\nok.png 1 2 3\n", {}, "list.txt line 3"),
        (GOOD + "ok.png 1 2 x 4\n", {}, "list.txt line 2"),
        (GOOD + "ok.png 1 nan 3 4\n", {}, "list.txt line 2"),
        ("\n", {}, "list.txt names no images"),
        (GOOD + "small.png 1 2 3 4\n", {}, "small.png (list.txt line 2)"),
        (GOOD + "small.png 1 2 3 4\n", {"transform": "crop_h: 8 crop_w: 8"}, "small.png (list.txt line 2)"),
        (GOOD, {"transform": "mirror: true"}, "mirror"),
        (GOOD, {"transform": "crop_size: 4"}, "crop_h"),
        (GOOD, {"transform": "crop_h: 4"}, "crop_w"),
        (GOOD, {"transform": "crop_h: 99 crop_w: 99"}, "larger than the images"),
        (GOOD, {"floats": "with_heatmap: true"}, "heatmap"),
        (GOOD, {"floats": "hard_sample: true"}, "5 numbers"),
        (GOOD, {"images": "new_height: 4"}, "new_width"),
    ],
)
def test_what_cannot_be_read_is_named(
    lines: str, options: dict[str, str], message: str, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    cv2.imwrite(str(tmp_path / "ok.png"), random_images(1)[0])
    cv2.imwrite(str(tmp_path / "small.png"), random_images(1, 5, 5)[0])
    (tmp_path / "bad.png").write_bytes(b"not an image")
    (tmp_path / "list.txt").write_text(lines)
    text = data_net("list.txt", batch=2, weights="hard_sample" in options.get("floats", ""), **options)
    done = run_python(f'import caffe\nopen("n", "w").write({text!r})\ncaffe.Net("n", caffe.TRAIN).forward()')
    assert done.returncode != 0
    assert message in done.stderr


def test_other_data_layers_refuse_what_only_this_one_does(
    tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    cv2.imwrite(str(tmp_path / "ok.png"), random_images(1)[0])
    (tmp_path / "list.txt").write_text("ok.png 1\n")
    text = (
        'layer { name: "d" type: "ImageData" top: "d" top: "l" image_data_param { source: "list.txt" }'
        " transform_param { pad_ratio: 0.15 } }"
    )
    done = run_python(f'import caffe\nopen("n", "w").write({text!r})\ncaffe.Net("n", caffe.TRAIN)')
    assert done.returncode != 0
    assert "ImageFloatData layers only" in done.stderr
