"""Outputs that would replace what is read are refused by every verb, before any work."""

import os

import cv2
import numpy as np
import pytest

from tests.forked import facealign

WEIGHTS = "--weights models/net.caffemodel --engine onnx"
EVALUATE = f"evaluate --data data --boxes boxes.json {WEIGHTS}"
ALIGN = f"align data --boxes boxes {WEIGHTS}"
REPORT = "report figures.json --log run --data data"
REFUSED = {
    # command line, with the file that it would replace after `>`
    "a photo": f"{EVALUATE} --json > data/a.png",
    "a photo in a folder of the data": f"{EVALUATE} --json > data/b/c.jpg",
    "a photo by a plot": f"{EVALUATE} --json e.json --plot > data/a.png",
    "landmarks by a table": f"{EVALUATE} --json e.json --markdown > data/a.pts",
    "boxes": f"{EVALUATE} --json > boxes.json",
    "the figures' name beside the weights": f"{EVALUATE} --json > models/net.json",
    "through a link to the folder": f"{EVALUATE} --json > linked/a.pts",
    "through a folder and back": f"{EVALUATE} --json > models/../data/a.pts",
    "under another name": f"{EVALUATE} --json > same.json",
    "the second stage's weights": f"{EVALUATE} --cascade models/second.onnx --json > models/second.onnx",
    "the validation LMDBs": f"{EVALUATE} --validation-of lmdb --json > lmdb/meta.json",
    "align: an image by figures": f"{ALIGN} --no-pictures --json > data/a.png",
    "align: an image by a picture": f"align data --boxes boxes {WEIGHTS} --output > data",
    "align: weights": f"{ALIGN} --json > models/net.caffemodel",
    "align: the weights that run": f"{ALIGN} --json > models/net.onnx",
    "align: boxes": f"{ALIGN} --json > boxes/a.txt",
    "detect-faces": "detect-faces --data data --json > data/a.pts",
    "detect-faces: the boxes": "detect-faces --data data --output > data/b/c.jpg",
    "annotate": "annotate --photos photos --no-mesh --output new --json > photos/only.png",
    "annotate: boxes": "annotate --photos data --boxes boxes.json --no-mesh --output new --json > boxes.json",
    "turn-faces": "turn-faces --data data --output new --json > data/a.pts",
    "make-lmdb": "make-lmdb --data data --boxes boxes.json --output new --json > boxes.json",
    "make-lmdb: a teacher": "make-lmdb --data data --teacher models/net.onnx --output new "
    "--json > models/net.onnx",
    "make-lmdb: a teacher's points": "make-lmdb --data data --boxes landmarks --teacher-points points "
    "--output new --json > points/a.pts",
    "train: weights": "train --stage 1 --data lmdb --weights models/net.caffemodel --run new "
    "--json > models/net.caffemodel",
    "train: samples": "train --stage 1 --data lmdb --run new --json > lmdb/train_images/data.mdb",
    "reproduce": "reproduce --data data --work new --json > data/a.png",
    "report": f"{REPORT} --html > figures.json",
    "report: the table": f"{REPORT} --html new.html --output > figures.json",
    "report: the plot": f"{REPORT} --html new.html --plot > data/a.png",
    "report: the figures": f"{REPORT} --html new.html --json > run/log.csv",
    "quantise": "quantise --weights models/net.caffemodel --data data --output > models/net.onnx",
    "quantise: the figures": "quantise --weights models/net.onnx --data data --json > data/a.png",
    "export-onnx": "export-onnx --weights models/net.caffemodel --output > models/net.caffemodel",
}
NAMES = {"align: an image by a picture": "data/a.png"}
"""Which file is named, where it is not the one that the command line names."""
TWICE = {
    "align": f"{ALIGN} --output new --no-pictures --json new/landmarks.json",
    "align, while it runs": f"{ALIGN} --output new --no-pictures --json new/landmarks.jsonl",
    "evaluate": f"{EVALUATE} --json new.md --markdown new.md",
    "detect-faces": "detect-faces --data data --output new.json --json new.json",
    "detect-faces, by a link": "detect-faces --data data --output data/new.json --json linked/new.json",
    "annotate": "annotate --photos photos --no-mesh --output new --json new/annotations.json",
    "turn-faces": "turn-faces --data data --output new --json new/turned.json",
    "make-lmdb": "make-lmdb --data data --output new --json new/meta.json",
    "train": "train --stage 1 --data lmdb --run new --json new/run.json",
    "quantise": "quantise --weights models/net.onnx --data data --output new.onnx --json new.onnx",
    "report": f"{REPORT} --html new.html --json new.html",
    "reproduce": "reproduce --data data --work new --json new/report.md",
}


@pytest.fixture
def place(tmp_path):
    """Data, weights and the rest, which no program reads before it has looked at its outputs."""
    image = np.zeros((40, 40, 3), np.uint8)
    for name in ("data/a.png", "data/b/c.jpg", "photos/only.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), image)
    for name in (
        *("data/a.pts", "data/b/c.pts", "points/a.pts", "boxes/a.txt", "boxes/c.txt", "boxes.json"),
        *("models/net.caffemodel", "models/net.onnx", "models/net.json", "models/second.onnx"),
        *("lmdb/meta.json", "lmdb/train_images/data.mdb", "run/log.csv", "figures.json"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "linked").symlink_to("data")
    os.link(tmp_path / "boxes.json", tmp_path / "same.json")
    return tmp_path


def contents(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", REFUSED)
def test_an_output_in_the_place_of_an_input_is_refused(case, place):
    before = contents(place)
    command, _, name = REFUSED[case].partition(" > ")
    done = facealign(*command.split(), name, cwd=place)
    line = (
        f"error: {NAMES.get(case, name)}: the output would replace an input; give it another name or folder"
    )
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (1, "", [line])
    assert contents(place) == before


@pytest.mark.parametrize("case", TWICE)
def test_one_file_for_two_outputs_is_refused(case, place):
    before = contents(place)
    done = facealign(*TWICE[case].split(), cwd=place)
    assert done.returncode == 1
    assert done.stderr.endswith(": given for two outputs; give each a name of its own\n")
    assert done.stderr.count("\n") == 1
    assert contents(place) == before
