"""ImageData and the other readers of lists: a line, or a file, that is not what the layer takes is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import cv2
import h5py
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

MakeNet = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with images p0.png to p2.png and one whose name has a space."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(["p0.png", "p1.png", "p2.png", "a face.png"]):
        assert cv2.imwrite(name, np.full((4, 5, 3), 10 * i, np.uint8))
    return tmp_path


def image_data(source: str, settings: str = "") -> str:
    return (
        'layer { name: "d" type: "ImageData" top: "data" top: "label"'
        f' image_data_param {{ source: "{source}" batch_size: 3 {settings} }} }}'
    )


def refused(make_net: MakeNet, text: str) -> str:
    with pytest.raises(RuntimeError) as caught:
        make_net(text).forward()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    "text",
    [
        "p0.png 0\np1.png -1\np2.png 2",
        "p0.png 0\np1.png -1\np2.png 2\n\n",
        "p0.png 0\np1.png -1\np2.png 2\n\n \n\t\n",
        "p0.png 0\r\np1.png\t-1 \r\np2.png  +2\r\n",
    ],
)
def test_labels_are_whole_numbers(text: str, folder: Path, make_net: MakeNet) -> None:
    (folder / "list.txt").write_bytes(text.encode())
    net = make_net(image_data("list.txt"))
    for _ in range(2):
        net.forward()
        np.testing.assert_array_equal(net.blobs["label"].data, [0, -1, 2])
        np.testing.assert_array_equal(net.blobs["data"].data[:, 0, 0, 0], [0, 10, 20])


def test_names_may_hold_spaces(folder: Path, make_net: MakeNet) -> None:
    (folder / "list.txt").write_text("a face.png 7\n")
    net = make_net(image_data("list.txt"))
    net.forward()
    np.testing.assert_array_equal(net.blobs["label"].data, [7, 7, 7])
    np.testing.assert_array_equal(net.blobs["data"].data, 30)


@pytest.mark.parametrize("line", ["p1.png 0.75", "p1.png", "p1.png 1x", "p1.png x", "p1.png 3000000000", "1"])
def test_a_label_that_is_no_whole_number_is_named(line: str, folder: Path, make_net: MakeNet) -> None:
    (folder / "list.txt").write_text(f"p0.png 0\n{line}\np2.png 2\n")
    message = refused(make_net, image_data("list.txt"))
    assert f"list.txt, line 2: expected a path and a whole number, found '{line}'" in message
    assert "ImageFloatData" in message
    assert "layer 'd' (ImageData)" in message


def test_a_blank_line_in_the_middle_is_named(folder: Path, make_net: MakeNet) -> None:
    (folder / "list.txt").write_text("p0.png 0\n\np2.png 2\n")
    assert "list.txt, line 2 is blank" in refused(make_net, image_data("list.txt"))


def test_an_image_that_cannot_be_read_is_named_when_its_batch_is_due(folder: Path, make_net: MakeNet) -> None:
    """In the thread that reads ahead: its error comes to the one that waits for it, each time it does."""
    (folder / "list.txt").write_text("".join(f"p{i % 3}.png {i}\n" for i in range(12)) + "absent.png 0\n")
    net = make_net(image_data("list.txt"))
    for _ in range(4):
        net.forward()
    for _ in range(3):
        with pytest.raises(RuntimeError, match=r"absent\.png is missing.*layer 'd' \(ImageData\)") as caught:
            net.forward()
        assert str(caught.value).count("layer 'd'") == 1


KINDS = {
    "absent": "File not found: x",
    "folder": "x is a folder",
    "empty": "x is empty",
    "hdf5": "x is an HDF5 file",
    "png": "x is a PNG image",
    "npy": "x is a NumPy array",
    "caffemodel": "x is a caffemodel",
    "lmdb": "x is an LMDB",
}


def make(kind: str, path: Path) -> None:
    """A file of a kind, or a folder."""
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["data"] = np.zeros((2, 3))
    elif kind == "png":
        path.write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    elif kind == "npy":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    elif kind == "caffemodel":
        net = caffe_pb2.NetParameter()
        net.layer.add(name="ip").blobs.add(data=[1.0, 2.0])
        path.write_bytes(net.SerializeToString())
    elif kind == "lmdb":
        lmdb.open(str(path)).close()
    elif kind == "text":
        path.write_text("some text\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", ["ImageData", "HDF5Data", "WindowData"])
def test_what_is_no_list_is_named_as_what_it_is(
    kind: str, layer: str, folder: Path, make_net: MakeNet
) -> None:
    make(kind, folder / "x")
    param = {"ImageData": "image_data", "HDF5Data": "hdf5_data", "WindowData": "window_data"}[layer]
    top = 'top: "data"' + (' top: "label"' if layer != "HDF5Data" else "")
    text = f'layer {{ name: "d" type: "{layer}" {top} {param}_param {{ source: "x" batch_size: 2 }} }}'
    message = refused(make_net, text)
    assert f"{KINDS[kind]}; source names a text file that lists " in message


def hdf5_data(source: str) -> str:
    return (
        'layer { name: "d" type: "HDF5Data" top: "data"'
        f' hdf5_data_param {{ source: "{source}" batch_size: 2 }} }}'
    )


def test_hdf5_lists(folder: Path, make_net: MakeNet) -> None:
    make("hdf5", folder / "a.h5")
    (folder / "list.txt").write_text("\na.h5\n\n  a.h5 \n\n")
    net = make_net(hdf5_data("list.txt"))
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, np.zeros((2, 3)))
    (folder / "list.txt").write_text("p0.png\n")
    message = refused(make_net, hdf5_data("list.txt"))
    assert "list.txt: p0.png is a PNG image; expected an HDF5 file" in message
    (folder / "list.txt").write_text("b.h5\n")
    assert "list.txt: b.h5 is missing" in refused(make_net, hdf5_data("list.txt"))


def test_an_hdf5_file_is_closed_after_an_error(folder: Path, make_net: MakeNet) -> None:
    """Left open, it could not be written for as long as the process lives."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["other"] = np.zeros((2, 3))
    (folder / "list.txt").write_text("a.h5\n")
    assert "Failed to find HDF5 dataset data" in refused(make_net, hdf5_data("list.txt"))
    with h5py.File(folder / "a.h5", "a") as file:
        file["data"] = np.ones((2, 3))
    net = make_net(hdf5_data("list.txt"))
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, np.ones((2, 3)))


WINDOWS = "# 0\np0.png\n3\n4\n5\n2\n1 0.9 0 0 2 2\n0 0.1 1 1 3 3\n"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("# 0", "0", "expected # and the number of an image"),
        (
            "5\n2\n",
            "5\nmany\n",
            "image # 0: expected a path, channels, height, width and a number of windows",
        ),
        ("5\n2\n", "5\n3\n", "image # 0, window 2: expected label, overlap, x1, y1, x2, y2"),
        ("5\n2\n", "5\n1\n", "after image 1 of the list"),
        ("0.9 0 0", "0.9 0 x", "image # 0, window 0: expected label"),
    ],
)
def test_window_lists(old: str, new: str, named: str, folder: Path, make_net: MakeNet) -> None:
    text = (
        'layer { name: "d" type: "WindowData" top: "data" top: "label" transform_param { crop_size: 2 }'
        ' window_data_param { source: "list.txt" batch_size: 4 } }'
    )
    (folder / "list.txt").write_text(WINDOWS)
    make_net(text).forward()
    (folder / "list.txt").write_text(WINDOWS.replace(old, new))
    message = refused(make_net, text)
    assert "list.txt" in message
    assert named in message


@pytest.mark.parametrize("kind", ["text", "png", "hdf5", "caffemodel", "folder", "absent"])
def test_what_is_no_lmdb_is_named(kind: str, folder: Path, make_net: MakeNet) -> None:
    make(kind, folder / "x")
    message = refused(
        make_net,
        'layer { name: "d" type: "Data" top: "data" data_param { source: "x" batch_size: 2 backend: LMDB } }',
    )
    assert re.search(r"x is (a|an|missing).*; source names the folder of an LMDB", message)


@pytest.mark.parametrize("kind", ["text", "png", "npy", "caffemodel", "empty", "absent"])
def test_what_is_no_mean_image_is_named(kind: str, folder: Path, make_net: MakeNet) -> None:
    make(kind, folder / "x")
    (folder / "list.txt").write_text("p0.png 0\n")
    text = image_data("list.txt").replace("} }", '} transform_param { mean_file: "x" } }')
    message = refused(make_net, text)
    assert "File not found: x" in message if kind == "absent" else "x is " in message
    assert caffe.TRAIN == 0  # alive
