"""Broken input to the programs, each run as a user runs it: one line that names the file, and exit code 1."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from skimage.data import astronaut

from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.detected_boxes import FaceBox, checksum_of, write_boxes
from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.lmdb.datum import encode_image, encode_landmarks
from facealign.lmdb.meta import write_meta
from facealign.lmdb.pairs import write_part
from facealign.networks import vgg_shadow
from tests.forked import Forked
from tests.lmdb import broken_pages
from tests.random_weights import fill, random_landmarks, write_model

ROOT = Path(__file__).parents[2]

COMMANDS = {
    "train": "train --stage 1 --data lmdb --weights weights.caffemodel --run new --iterations 1",
    "resume": "train --stage 1 --data lmdb --run run --iterations 2",
    "evaluate": "evaluate --data faces --weights weights.caffemodel --engine caffe --boxes landmarks "
    "--strict --json new/evaluation.json --markdown --plot",
    "evaluate onnx": "evaluate --data faces --weights weights.onnx --engine onnx --boxes boxes.json "
    "--strict --json new/evaluation.json",
    "export": "export-onnx --weights weights.caffemodel --output new/weights.onnx",
    "demo": "align --images photos --boxes boxes --weights weights.caffemodel --engine caffe --output drawn",
    "demo onnx": "align --images photos --boxes boxes --weights weights.onnx --engine onnx --output drawn",
}
DEPLOY = ("evaluate", "export", "demo")
ONNX = ("evaluate onnx", "demo onnx")
PICTURE = ("evaluate", "demo")
LEARNS = "param { lr_mult: 1 } batch_norm_param"


# --- what is whole ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with all that the commands read; a run of one iteration in it."""
    place = tmp_path_factory.mktemp("whole")
    write_model(place)
    photo = np.ascontiguousarray(astronaut()[:, :, ::-1])
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.column_stack([222 + 48 * np.cos(turn), 128 + 60 * np.sin(turn)])
    for folder in ("photos", "faces"):
        (place / folder).mkdir()
        cv2.imwrite(str(place / folder / "a.jpg"), photo)
    write_pts(place / "faces" / "a.pts", points)
    (place / "boxes").mkdir()
    (place / "boxes" / "a.txt").write_text("171 66 276 191\n")
    write_face_boxes(place)
    write_lmdb(place)
    result = run("train", place, "--run", "run")
    assert result.returncode == 0, result.stderr
    return place


def write_face_boxes(place):
    """boxes.json, as facealign detect-faces would for the photo that is there now."""
    (sample,) = scan(place / "faces").samples
    box = FaceBox(np.array([170.0, 65, 275, 190]), "mtcnn", 0.9, 0.7, checksum_of(sample))
    write_boxes(place / "boxes.json", {}, {sample.relative: box})


def write_lmdb(place, size=(64, 64), targets=136, odd=None):
    """lmdb/: 8 samples a part; `odd` is the number of one of another size."""
    rng = np.random.default_rng(0)
    directory = place / "lmdb"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for part in ("train", "val"):
        landmarks = random_landmarks(rng, 8)[:, :targets]
        pictures = [
            rng.integers(0, 256, (*((32, 32) if (part, index) == ("train", odd) else size), 3), np.uint8)
            for index in range(8)
        ]
        pairs = zip(map(encode_image, pictures), map(encode_landmarks, landmarks), strict=True)
        write_part(directory, part, 8, size, pairs)
    parts = {part: {"sha256": part} for part in ("train", "val")}
    write_meta(directory, {"spec": dataclasses.asdict(ModelSpec()), "parts": parts})


def start(command, place, *more, file_limit=None):
    """Start one of COMMANDS in `place`; file_limit: bytes that a file may have, as on a full disk."""
    return Forked([*COMMANDS[command].split(), *more], place, file_limit)


def run(command, place, *more):
    """Run one of COMMANDS in `place` as a user does, from the start of Python on."""
    return subprocess.run(
        [sys.executable, "-m", "facealign", *COMMANDS[command].split(), *more],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def place(whole, tmp_path):
    """A copy of `whole`, to be spoiled."""
    copy = tmp_path / "place"
    shutil.copytree(whole, copy)
    yield copy
    shutil.rmtree(copy)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_whole_is_taken(command, place):
    """Else the table below would prove nothing."""
    result = run(command, place)
    assert result.returncode == 0, result.stderr


# --- ways to spoil a file: functions of the folder ----------------------------------------------------------
def remove(name):
    def spoil(place):
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def folder_instead(name):
    def spoil(place):
        remove(name)(place)
        (place / name).mkdir()

    return spoil


def file_instead(name, content=b""):
    def spoil(place):
        if (place / name).exists():
            remove(name)(place)
        (place / name).write_bytes(content)

    return spoil


def cut(name, share=0.5):
    def spoil(place):
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def copy(source, name):
    return lambda place: shutil.copy(place / source, place / name)


def edit(name, old, new):
    """Replace the first `old` of a text file; gives the line of the edit, and of the layer that it is in."""

    def spoil(place):
        text = (place / name).read_text()
        at = text.index(old)
        (place / name).write_text(text[:at] + new + text[at + len(old) :])
        return {
            "edit": text[: at + len(old) - len(old.lstrip())].count("\n") + 1,
            "layer": text[: text.rfind("\nlayer {", 0, at) + 1].count("\n") + 1,
        }

    return spoil


def other_net(name):
    """VGG-Shadow's weights."""

    def spoil(place):
        net = fill(vgg_shadow.deploy(), np.random.default_rng(0))
        (place / name).write_bytes(net.SerializeToString())

    return spoil


def not_a_number(place):
    net = caffe_pb2.NetParameter.FromString((place / "weights.caffemodel").read_bytes())
    net.layer[-1].blobs[0].data[7] = np.nan
    (place / "weights.caffemodel").write_bytes(net.SerializeToString())


def described(**changes):
    def spoil(place):
        spec = json.loads((place / "weights.json").read_text())
        (place / "weights.json").write_text(json.dumps({**spec, **changes}))

    return spoil


def other_deploy(place):
    (place / "weights.prototxt").write_text(text_format.MessageToString(vgg_shadow.deploy()))


def onnx_with(change):
    def spoil(place):
        model = onnx.load(str(place / "weights.onnx"))
        change(model)
        onnx.save(model, str(place / "weights.onnx"))

    return spoil


def onnx_not_described(model):
    del model.metadata_props[:]


def onnx_with_a_round_crop(model):
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), "crop": "round"})


def onnx_of_a_million_rows(model):
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), "input_height": 10**6})
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 10**6


def onnx_with_a_stride_of_0(model):
    """At which OpenCV divides by 0."""
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    (strides,) = (one for one in node.attribute if one.name == "strides")
    strides.ints[:] = [0, 0]


def onnx_not_a_number(model):
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(
            np.full(tuple(model.graph.initializer[0].dims), np.nan, np.float32),
            model.graph.initializer[0].name,
        )
    )


def onnx_of_another_net(model):
    """One that doubles a picture."""
    node = onnx.helper.make_node("Add", ["data", "data"], ["fc4"])
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 64, 64]) for name in ("data", "fc4")]
    model.graph.CopyFrom(onnx.helper.make_graph([node], "double", values[:1], values[1:]))


def lmdb_of(**settings):
    return lambda place: write_lmdb(place, **settings)


def fewer_landmarks(place):
    path = place / "lmdb" / "train_landmarks"
    with lmdb.open(str(path), map_size=1 << 24) as opened, opened.begin(write=True) as transaction:
        transaction.delete(b"%09d" % 7)


def state_of_another_net(place):
    """As many moments as there should be, but of another shape: Caffe would read beyond their end."""
    path = place / "run" / "stage1_iter_1.solverstate"
    state = caffe_pb2.SolverState.FromString(path.read_bytes())
    state.history[0].shape.dim[0] = 8
    del state.history[0].data[8 * 27 :]
    path.write_bytes(state.SerializeToString())


def points(count):
    return lambda place: write_pts(
        place / "faces" / "a.pts", np.random.default_rng(0).normal(size=(count, 2))
    )


def other_photo(place):
    cv2.imwrite(str(place / "faces" / "a.jpg"), np.zeros((300, 300, 3), np.uint8))


def both(*spoils):
    return lambda place: [spoil(place) for spoil in spoils]


def nothing(place):
    pass


# --- the table ----------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Row:
    """Something broken, how to break it, how the line goes on after "error: ", and which of COMMANDS say it.

    In `says`, {edit} and {layer} are lines of the file that was edited. more: further arguments;
    file_limit: in bytes.
    """

    broken: str
    spoil: Callable[[Path], object]
    says: str
    commands: tuple[str, ...]
    more: str = ""
    file_limit: int | None = None


def rows(commands, file, *of, **options):
    """A Row for each of (broken, spoil, how the line goes on after the name of the file)."""
    return [Row(broken, spoil, file + says, commands, **options) for broken, spoil, says in of]


MODEL, NET, SPEC = "weights.caffemodel", "weights.prototxt", "weights.json"
IMAGES, LANDMARKS = "lmdb/train_images", "lmdb/train_landmarks"
STATE, SAVED = "run/stage1_iter_1.solverstate", "run/stage1_iter_1.caffemodel"
TABLE = [
    *rows(
        *(("train", "evaluate", "export", "demo"), MODEL),
        ("no weights", remove(MODEL), ": no such file"),
        ("weights are a folder", folder_instead(MODEL), ": "),
        ("weights cut short", cut(MODEL), ": truncated"),
        ("weights of another net", other_net(MODEL), ": no weights for layer"),
        ("weights not finite", not_a_number, ": layer 'fc4': has weights that are not finite"),
        ("a picture for weights", copy("photos/a.jpg", MODEL), ": "),
    ),
    *rows(
        *(DEPLOY, NET),
        ("a brace too few", edit(NET, "}", ""), r", line \d+: not a Caffe net"),
        ("a value of words", edit(NET, "pad: 1", "pad: one"), ", line {edit}: not a Caffe net: .*one"),
        ("an unknown field", edit(NET, "stride:", "strid:"), ", line {edit}: .* no field named .strid"),
        (
            "an unknown layer",
            edit(NET, '"Eltwise"', '"Eltwize"'),
            ", line {layer}: layer 'fuse3': type 'Eltwi",
        ),
        ("an unknown bottom", edit(NET, 'm: "fc1"', 'm: "fc9"'), ", line {layer}: layer 'fc1_relu': .*'fc9'"),
    ),
    *rows(
        *(DEPLOY, MODEL),
        (
            "shapes unlike the weights",
            edit(NET, "num_output: 50", "num_output: 51"),
            f": layer 'fc3' .*{NET}",
        ),
        ("the net of other weights", other_deploy, f": no weights for layer 'conv11' of .*{NET}"),
        ("no description", remove(SPEC), ": no weights.json or model.json beside it"),
    ),
    *rows(  # what only Caffe itself finds, and would end the process for
        *(PICTURE, NET),
        ("an unknown filler", edit(NET, '"msra"', '"mrsa"'), ", line {layer}: layer 'Convolution1': .*mrsa"),
        (
            "a layer left out",
            edit(NET, 'name: "fc1"', 'name: "fc1" exclude { phase: TEST }'),
            r", line \d+: .*'fc1'",
        ),
        (
            "a BatchNorm that learns",
            edit(NET, "batch_norm_param", LEARNS),
            ", line {layer}: layer 'BatchNorm1'",
        ),
    ),
    *rows(
        *(DEPLOY, SPEC),
        ("no net", remove(NET), ": deploy net .*prototxt does not exist"),
        ("a description cut short", cut(SPEC), ": not a model description: .*line"),
        ("an unknown crop", described(crop="round"), ": crop is 'round'"),
        ("a crop of no size", described(box_scale=1e-300), ": box_scale is 1e-300, expected a number, 0.1"),
        ("a crop far away", described(box_shift=[1e308, 0]), r": box_shift\[0\] is 1e\+308, expected"),
        ("an origin far away", described(origin=10**400), ": origin is 1000.*000, expected"),
        ("an input of 10^30 rows", described(input_height=10**30), ": input_height is 1000.*, expected"),
        ("a number in quotes", described(input_width="64"), ": input_width is '64', expected a whole number"),
        ("the input of another net", described(input_height=32), ": describes another net: .*shape"),
        ("the output of another net", described(output_name="fc3"), ": describes another net: .*'fc3'"),
    ),
    *rows(
        *(ONNX, "weights.onnx"),
        ("no ONNX", remove("weights.onnx"), ": no such file"),
        ("an empty ONNX", file_instead("weights.onnx"), ": truncated, or not an ONNX"),
        ("an ONNX cut short", cut("weights.onnx"), ": truncated, or not an ONNX"),
        ("a caffemodel named .onnx", copy(MODEL, "weights.onnx"), ": truncated, or not an ONNX"),
        (
            "an ONNX of another net",
            onnx_with(onnx_of_another_net),
            ": describes another net: 'fc4' has 12288",
        ),
        ("an ONNX not described", onnx_with(onnx_not_described), ": its metadata does not say how to crop"),
        ("an ONNX with an unknown crop", onnx_with(onnx_with_a_round_crop), ": crop is 'round'"),
        ("an ONNX of 10^6 rows", onnx_with(onnx_of_a_million_rows), ": input_height is 1000000, expected"),
        ("an ONNX with a stride of 0", onnx_with(onnx_with_a_stride_of_0), ": Conv .*: strides is .0, 0., "),
        ("an ONNX not finite", onnx_with(onnx_not_a_number), ": .* has weights that are not finite"),
    ),
    *rows(
        *(("train",), "lmdb"),
        ("no LMDBs", remove("lmdb"), "/meta.json: no such file"),
        ("no LMDB of landmarks", remove(LANDMARKS), "/train_landmarks: no LMDB"),
        ("an LMDB cut short", cut(f"{IMAGES}/data.mdb"), "/train_images: its data.mdb is cut short"),
        (
            "an LMDB of zeros",
            file_instead(f"{IMAGES}/data.mdb", bytes(9000)),
            "/train_images: cannot be read",
        ),
        (
            "an LMDB at which LMDB itself aborts",
            lambda place: broken_pages.root_without_children(place / IMAGES / "data.mdb"),
            "/train_images: its data.mdb is damaged",
        ),
        (
            "an LMDB with a hole",
            lambda place: broken_pages.hole(place / LANDMARKS / "data.mdb"),
            "/train_landmarks: .*make it again",
        ),
        ("LMDBs of unlike length", fewer_landmarks, "/train_images: 8 images, but 7 landmarks"),
        ("LMDBs of another size", lmdb_of(size=(48, 48)), r": val samples of shapes \(\(3, 48, 48\)"),
        ("LMDBs of fewer landmarks", lmdb_of(targets=10), r": val samples of shapes .*\(10,\)"),
        ("a sample of another size", lmdb_of(odd=5), r": train sample 000000005: its image of .* 32, 32\)"),
        ("LMDBs described in half", cut("lmdb/meta.json"), "/meta.json: .*line"),
    ),
    *rows(
        *(("resume",), "run/"),
        ("a state cut short", cut(STATE), "stage1_iter_1.solverstate: cut short"),
        ("a state of another net", state_of_another_net, "stage1_iter_1.solverstate: not Adam's state of"),
        ("a state without weights", remove(SAVED), "stage1_iter_1.caffemodel: No such file"),
        ("a state of other weights", other_net(SAVED), "stage1_iter_1.solverstate: not Adam's state of"),
        (
            "a run of nobody's",
            file_instead("run/run.json", b"[]"),
            "run.json: not a JSON object; cannot determine which run",
        ),
        ("a log of words", edit("run/log.csv", "\n1,", "\none,"), "log.csv, line {edit}: .*'one'"),
    ),
    *rows(
        *(("demo",), ""),
        ("no pictures", remove("photos/a.jpg"), "photos: no image in it"),
        ("no boxes", remove("boxes/a.txt"), "boxes/a.txt: no such file"),
        ("no folder of boxes", remove("boxes"), "boxes: no such folder"),
        ("a box of words", file_instead("boxes/a.txt", b"\n1 2 three 4\n"), "boxes/a.txt, line 2: .*'three'"),
        ("a box of three numbers", file_instead("boxes/a.txt", b"1 2 3\n"), "boxes/a.txt, line 1: expected"),
        ("a box inside out", file_instead("boxes/a.txt", b"90 90 20 20\n"), "boxes/a.txt, line 1: expected"),
    ),
    *rows(
        *(PICTURE, "(photos|faces)/a.jpg"),
        ("a JPEG cut short", both(cut("photos/a.jpg"), cut("faces/a.jpg")), ": the image is truncated"),
        (
            "a text named .jpg",
            both(file_instead("photos/a.jpg", b"text"), file_instead("faces/a.jpg", b"text")),
            ": not an image",
        ),
        ("an empty image", both(file_instead("photos/a.jpg"), file_instead("faces/a.jpg")), ": empty"),
    ),
    *rows(
        *(("evaluate",), "faces"),
        ("no faces", remove("faces"), ": no such folder"),
        ("67 points", points(67), "/a.pts: 67 points, expected 68"),
        ("39 points", points(39), ": no image with 68 points"),
        ("points of words", edit("faces/a.pts", "271.0", "27l.0"), "/a.pts, line 4: .*'27l.0"),
    ),
    *rows(
        *(("evaluate onnx",), ""),
        ("no file of boxes", remove("boxes.json"), "boxes.json: no such file"),
        ("a file of boxes cut short", cut("boxes.json"), "boxes.json: .*line"),
        ("the box of another photo", other_photo, "faces/a.jpg: the box of another image"),
    ),
    Row("a picture that is not there", nothing, "b.jpg: no such file", ("demo",), "--images b.jpg"),
    Row("a picture in the way", nothing, "photos/a.jpg: the output would", ("demo",), "--output photos"),
    Row("weights of another kind", nothing, "w.pth: expected a .caffemodel", PICTURE, "--weights w.pth"),
    Row("a full disk", nothing, "(new|drawn)", ("train", "evaluate", "export", "demo"), file_limit=100),
    Row(
        "a disk that fills up",
        nothing,
        "(drawn/a.jpg|new/weights.onnx)",
        ("export", "demo"),
        file_limit=20_000,
    ),
    Row("an output below a file", file_instead("new", b"x"), "new", ("train", "evaluate", "export")),
    Row(
        "pictures below a file",
        file_instead("below", b"x"),
        "below/out: .* is not a folder",
        ("demo",),
        "--output below/out",
    ),
    Row("an output that is a file", file_instead("drawn", b"x"), "drawn", ("demo",)),
    Row("a run where none may write", nothing, "/proc/new: ", ("train",), "--run /proc/new"),
    Row(
        "figures where none may write",
        nothing,
        "/proc/new/out.json: ",
        ("evaluate",),
        "--json /proc/new/out.json",
    ),
    Row(
        "output where none may write",
        nothing,
        "/proc/new/out: ",
        ("export", "demo"),
        "--output /proc/new/out",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.broken)
def test_broken_input_is_one_line_that_names_it_and_leaves_nothing_behind(row, place):
    lines = row.spoil(place)
    says = row.says.format(**lines) if isinstance(lines, dict) else row.says
    before = files_in(place)
    started = {
        command: start(command, place, *row.more.split(), file_limit=row.file_limit)
        for command in row.commands
    }
    for command, process in started.items():
        _, stderr = process.communicate()
        assert process.returncode == 1, f"{command}: {stderr}"
        (line,) = without_progress(stderr)
        assert re.match(rf"error: (\S*/)?{says}", line), f"{command}: {line}"
        assert "Check failed" not in line
    assert files_in(place) == before


def without_progress(stderr):
    """The lines of a program apart from its progress bar's; a carriage return has become a line's end."""
    bar = re.compile(r"(align|evaluate): +\d+%\|.*|")
    return [line for line in stderr.splitlines() if not bar.fullmatch(line)]


def files_in(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
