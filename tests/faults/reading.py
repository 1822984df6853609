"""Every reader of files, each with a sound file's contents, how it is changed, and what is done with it.

`fuzz` runs in a process of its own with limited memory. LMDBs and ONNX files, on which a library in C may end
the process, are read in a fork of it for each input.
"""

import dataclasses
import functools
import io
import json
import os
import signal
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from google.protobuf import text_format
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from facealign.caffe_files.caffemodel import matching_weights, read_weights
from facealign.caffe_files.net_shapes import any_size, declared_inputs
from facealign.caffe_files.proto import caffe_pb2
from facealign.caffe_files.prototxt import read_deploy
from facealign.commands.release import figures_of
from facealign.crops.model_spec import ModelSpec, load_spec
from facealign.crops.square import crop_face
from facealign.crops.targets import decode_targets
from facealign.datasets.detected_boxes import BoxesSoFar, FaceBox, read_boxes, write_boxes
from facealign.datasets.pts import read_pts, write_pts
from facealign.datasets.scan import scan
from facealign.engines.onnx import OnnxEngine
from facealign.engines.onnx_export import export_onnx
from facealign.engines.onnx_file import _our_structures, _structure
from facealign.errors import FaceAlignError
from facealign.evaluation.ced_plot import curves
from facealign.evaluation.figures import results
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.measure import MeasuredFace, Measurement
from facealign.evaluation.metrics import NORMALISERS
from facealign.geometry.landmarks import LANDMARK_GROUPS
from facealign.inference.given_boxes import read_box_file
from facealign.inference.landmark_network import network_input, second_transforms
from facealign.io.images import image_size, read_image
from facealign.lmdb import environment
from facealign.lmdb.context_crop_writer import decode_face
from facealign.lmdb.datum import decode_datum, encode_image, encode_landmarks
from facealign.lmdb.meta import read_meta
from facealign.lmdb.pairs import check_part, read_part, write_part
from facealign.networks import mtcnn
from facealign.networks.recipes import RECIPES
from facealign.release.model_card import model_card
from facealign.release.progress import Progress
from facealign.release.reproduction_plan import PlannedStep
from facealign.report.faces import shown_faces
from facealign.report.page import page
from facealign.results.growing_results import GrowingResults, frame_key
from facealign.training.lineage import origin, read_run, runs_before
from facealign.training.log import LogRow, read_log, write_log
from facealign.training.snapshots import Snapshot, fault_of
from tests.faults import mutations, predicted_points
from tests.random_weights import fill
from tests.upright_face import upright_face

MEMORY = 6 << 30
"""Address space of a process that reads, bytes: an image may have 0.6 GB, of which decoders take several."""
SECONDS = 60
"""For which a library may be at work on one input."""
INPUT, READING = "input", "reader"
"""Names of files in the folder of `fuzz`: the input that is being read, and the reader's name."""


@dataclass(frozen=True)
class Reader:
    """file: name of the file to be read; contents: its changed contents; read: reads it, and uses what it
    holds; beside: writes into the folder what is to be beside it."""

    file: str
    contents: Callable[[], st.SearchStrategy[bytes]]
    read: Callable[[Path], object]
    beside: Callable[[Path], object] = lambda folder: None


cv2.setNumThreads(1)  # a fork of a process with threads may wait for them forever
# --- what is read, and used as the programs do --------------------------------------------------------------
FACE = upright_face((0.5, 0.5), 0.6) * 200
PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (220, 200, 3), np.uint8), (0, 0), 3)
RECIPE = RECIPES["mobilenet_v2/stage3"]
RUN = {
    "recipe": dataclasses.asdict(RECIPE),
    "data_sha256": {"train": "ab", "val": "cd"},
    "seed": 4,
    "fresh": {"weights": {"afw": 2.0, "*": 1.0}, "changes": {"blur": {"probability": 0.2}}},
    "samples": {"fresh": True, "seed": 1},
    "start": {"weights": "w.caffemodel", "sha256": "ef"},
    "iterations": 30,
}
RUN["start"] = {**RUN["start"], "run": {**RUN, "iteration": 20, "seconds": 60.0}}
META = {
    "spec": json.loads(ModelSpec().to_json()),
    "seed": 5,
    "fresh": False,
    "copies": 12,
    "copies_of": {"afw": 3},
    "teacher": {"networks": [{"weights": "w.caffemodel", "sha256": "ab"}], "share": 0.5},
    "augmentation": {
        "flip": 0.5,
        "shift": 0.08,
        "scale_range": [0.9, 1.15],
        "rotate_range": [-30, 30],
        "noise_std": [0, 6],
    },
    "validation_faces": ["300w/afw/a.jpg"],
    "source_sha256": "c0ffee",
    "parts": {
        "train": {"faces": {"afw": 300, "mine": 8}, "samples": 3696, "sha256": "ab", "skipped": []},
        "val": {"faces": {"afw": 37}, "samples": 37, "sha256": "cd", "skipped": []},
    },
}


def _spec(path: Path) -> None:
    spec = load_spec(path.with_suffix(".caffemodel"))
    crop, _ = crop_face(PHOTO, np.array([40.0, 40, 160, 180]), dataclasses.replace(spec, crop="square"))
    network_input(crop, spec)
    decode_targets(np.zeros((1, 136), np.float32), spec.size, spec.origin)
    if spec.is_second_stage and spec.landmarks == len(FACE):
        second_transforms(FACE[None], spec)


def _meta(path: Path) -> None:
    meta = read_meta(path.parent)
    with suppress(KeyError, TypeError):  # one line of release
        card(RUN, meta.values)


def _run(path: Path) -> None:
    (path.parent / "stage3_iter_20.caffemodel").write_bytes(b"weights")
    origin(path.parent / "stage3_iter_20.caffemodel")
    run = read_run(path.parent)
    with suppress(KeyError, TypeError):
        runs_before(run)
        card(run, META)


def card(run, meta):
    rows = [LogRow(20, 60.0, nme_inter_pupil=5.0, nme_inter_ocular=3.0)]
    spec = ModelSpec()
    return model_card("name", RECIPE, run, meta, rows, 20, spec, {"a.onnx": "ab"})


def evaluation():
    from facealign.datasets.sample import Sample

    paths = [f"300w/afw/image_{index}.jpg" for index in range(3)]
    samples = [Sample(Path(path), FACE, "afw", path, str(index)) for index, path in enumerate(paths)]
    error = {"inter_pupil": 0.05, "inter_ocular": 0.04}
    measured = Measurement(
        dict.fromkeys(paths, error) | {paths[2]: None},
        {path: dict.fromkeys(LANDMARK_GROUPS, error) for path in paths},
        [("a.jpg", "gone")],
        {path: MeasuredFace(FACE, FACE + 1, FACE[[0, 16]].ravel()) for path in paths[:2]},
    )
    settings = {"method": "m", "input": "64x64", "weights": "w.onnx", "engine": "E", "boxes": "mtcnn"}
    return json.loads(json.dumps(results(samples, measured, settings, paths[:2])))


def _evaluation(path: Path) -> None:
    read = read_results(path)
    markdown([read, read])
    for normaliser in NORMALISERS:
        curves([read], normaliser)
    page([read, read], shown_faces([read, read]))
    figures_of(path, RECIPE, {"w"})


def read_results(path: Path):
    from facealign.evaluation.results_file import read_results as read

    return read(path)


def _pts(path: Path) -> None:
    scan(path.parent)
    read_pts(path)


def _log(path: Path) -> None:
    rows = read_log(path)
    sum(row.seconds for row in rows)
    read_log(path, 20)


def _boxes_so_far(path: Path) -> None:
    BoxesSoFar(path.with_suffix(""), {"a": 1}).read()


def _growing_results(path: Path) -> None:
    """With a run's images, then with its frames; what is kept can be read."""
    results = GrowingResults(path)
    results.resume(frozenset(GROWN))
    list(results.records([key for key in GROWN if key in results]))
    frames, state = results.resume_frames("run")
    assert frames in (0, 2, 4)
    assert state == {0: None, 2: {"next": 2}, 4: {"next": 4}}[frames]
    assert [record["frame"] for record in results.records(GROWN[:frames])] == list(range(frames))


GROWN = [frame_key("run", number) for number in range(4)]


def growing_results(folder: Path) -> str:
    results = GrowingResults(folder / "landmarks.jsonl")
    for number, key in enumerate(GROWN):
        state = {"next": number + 1} if number % 2 else None
        results.add(key, {"file": "a.mp4", "frame": number, "faces": []}, state)
    results.close()
    return (folder / "landmarks.jsonl").read_text()


def boxes() -> dict[str, FaceBox]:
    return {
        f"afw/{name}.jpg": FaceBox(np.array([1.5, 2, 30, 40]), "mtcnn", 0.9, 0.7, "ab-cd") for name in "ab"
    }


def boxes_text(folder: Path) -> str:
    write_boxes(folder / "sound.json", {"detector": "MTCNN"}, boxes())
    return (folder / "sound.json").read_text()


def _in_temporary(make: Callable[[Path], object]):
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder))


def boxes_so_far(folder: Path) -> str:
    found = BoxesSoFar(folder / "boxes.json", {"a": 1})
    for name, face in boxes().items():
        found.add(name, face)
    found.close()
    return found.path.read_text()


def log(folder: Path) -> str:
    write_log(folder / "log.csv", [LogRow(10, 1.5, 0.2, 0.003), LogRow(20, 2.5, None, None, 5.5, 4.5)])
    return (folder / "log.csv").read_text()


def pts(folder: Path) -> str:
    write_pts(folder / "a.pts", FACE)
    return (folder / "a.pts").read_text()


def small_net():
    """A deploy net of few weights: MTCNN's first."""
    return mtcnn.deploy("pnet")


@functools.cache
def weights():
    return fill(small_net(), np.random.default_rng(0))


def _weights(path: Path) -> None:
    matching_weights(small_net(), read_weights(path), "net", str(path))


def _prototxt(path: Path) -> None:
    net = read_deploy(path)
    declared_inputs(net, str(path))
    any_size(net)


def state():
    """A solver's state of `weights`, as Adam's: two moments of every array."""
    blobs = [blob for layer in weights().layer for blob in layer.blobs]
    found = caffe_pb2.SolverState(iter=20, learned_net="stage3_iter_20.caffemodel", current_step=0)
    for blob in [*blobs, *blobs]:
        found.history.add().CopyFrom(blob)
    return found


def _state(path: Path) -> None:
    reason = fault_of(Snapshot(20, path.with_suffix(".caffemodel"), path))
    if reason is not None:
        raise FaceAlignError(reason)


def _weights_beside(folder: Path) -> None:
    (folder / "stage3_iter_20.caffemodel").write_bytes(weights().SerializeToString())


def _value(decode: Callable[[bytes], object]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        try:
            decode(path.read_bytes())
        except ValueError as error:  # to which the reader adds the LMDB's name
            raise FaceAlignError(f"{path}: {error}") from error

    return read


def face_datum():
    numbers = [1.0, 1, 7, 7, *(FACE.T.ravel() / 30)]
    return caffe_pb2.Datum(channels=3, height=8, width=8, data=bytes(192), float_data=numbers)


def image_datum():
    return caffe_pb2.Datum.FromString(encode_image(PHOTO[:8, :8]))


def landmarks_datum():
    return caffe_pb2.Datum.FromString(encode_landmarks(np.zeros(136, np.float32)))


STEPS = [
    PlannedStep("one", ("train",), 1.0, Path("/")),
    PlannedStep("two", ("train",), 1.0, Path("/"), ("one",)),
]


def _progress(path: Path) -> None:
    kept = Progress(path, STEPS)
    for step in STEPS:
        kept.has(step)


def images() -> st.SearchStrategy[bytes]:
    """Small images of every format, changed."""
    kinds = []
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM"):
        buffer = io.BytesIO()
        PillowImage.fromarray(PHOTO[:40, :50]).save(buffer, kind)
        kinds.append(buffer.getvalue())
    return st.one_of([mutations.changed_bytes(kind) for kind in kinds])


def _image(path: Path) -> None:
    image_size(path)
    read_image(path)


# --- on which a library may end the process -----------------------------------------------------------------
def forked(call: Callable[[], object]) -> str:
    """How a fork ended that calls `call`: "done", "refused" (a FaceAlignError), a signal, or a traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        signal.alarm(SECONDS)
        try:
            call()
            said = "done"
        except FaceAlignError:
            said = "refused"
        except BaseException:
            said = traceback.format_exc()
        os.write(writing, said.encode()[-4000:])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read().decode()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return said if code == 0 else f"signal {-code}"


def _lmdb(path: Path) -> None:
    """What the visit passes must not end the process afterwards."""
    ended = forked(lambda: environment._visit(path.parent))
    if ended == "done":
        ended = forked(lambda: _pairs(path.parent.parent))
        assert ended in ("done", "refused"), ended
    assert ended in ("done", "refused") or ended.startswith("signal"), ended


def _pairs(folder: Path) -> None:
    environment._visit_once = lambda *arguments: None  # in the fork only: it was visited
    check_part(folder, "train")
    read_part(folder, "train")


def _write_pairs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (encode_image(PHOTO[:24, :40]), encode_landmarks(rng.random(136, np.float32))) for _ in range(300)
    ]
    write_part(folder, "train", len(pairs), (24, 40), pairs)


@st.composite
def pages(draw, sound: bytes) -> bytes:
    """A file of LMDB with bytes changed in its pages' headers and lists of nodes, or cut, or with a hole."""
    data = bytearray(sound)
    count = len(data) // 4096
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        page = draw(st.one_of(st.integers(0, 1), st.integers(0, count - 1))) * 4096
        at = page + draw(st.one_of(st.integers(0, 24), st.integers(0, 160), st.integers(0, 4095)))
        data[at] = draw(st.one_of(st.sampled_from([0, 1, 2, 127, 255]), st.integers(0, 255)))
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data[at:] = bytes(len(data) - at) if draw(st.booleans()) else b""
    return bytes(data)


def lmdb_pages(kind: str) -> st.SearchStrategy[bytes]:
    def sound(folder: Path) -> bytes:
        _write_pairs(folder)
        return (folder / kind / "data.mdb").read_bytes()

    return pages(_in_temporary(sound))


@functools.cache
def onnx_model():
    """A net of every kind of layer that we export, small: MTCNN's first."""
    deploy = mtcnn.deploy("pnet")
    return export_onnx(
        deploy, fill(deploy, np.random.default_rng(0)), ModelSpec(input_height=24, input_width=24)
    )


def _onnx(path: Path) -> None:
    ended = forked(lambda: _run_onnx(path))
    if ended.startswith("signal"):
        model = onnx.load_from_string(path.read_bytes())
        assert _structure(model) not in _our_structures(model.graph.name), "taken for ours, and crashes"
    else:
        assert ended in ("done", "refused"), ended


def _run_onnx(path: Path) -> None:
    engine = OnnxEngine(path, tried=True)
    shapes = engine.declared or {name: (1, 3, 24, 24) for name in engine._inputs}
    engine.forward({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def text(sound: Callable[[Path], str]) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutations.lines_or_bytes(_in_temporary(sound))


def photo_beside(folder: Path) -> None:
    cv2.imwrite(str(folder / "a.png"), PHOTO)


def net_beside(folder: Path) -> None:
    (folder / "net.prototxt").write_text("name: 'net'")


def message(sound: Callable[[], object]) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutations.message_or_bytes(sound())


def described(spec: ModelSpec) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutations.json_or_bytes(json.loads(spec.to_json()))


READERS = {
    "boxes": Reader(
        "boxes.json", lambda: mutations.json_or_bytes(json.loads(_in_temporary(boxes_text))), read_boxes
    ),
    "boxes so far": Reader("boxes.json.found", text(boxes_so_far), _boxes_so_far),
    "growing results": Reader("landmarks.jsonl", text(growing_results), _growing_results),
    "given boxes": Reader("a.txt", text(lambda folder: "1 2 30 40\n5,6,70,80 0.9\n"), read_box_file),
    "meta": Reader("meta.json", lambda: mutations.json_or_bytes(META), _meta),
    "run": Reader("run.json", lambda: mutations.json_or_bytes(RUN), _run),
    "log": Reader("log.csv", text(log), _log),
    "evaluation": Reader("out.json", lambda: mutations.json_or_bytes(evaluation()), _evaluation),
    "description": Reader("w.json", described(ModelSpec(deploy="net.prototxt")), _spec, net_beside),
    "second stage's description": Reader(
        "w.json",
        described(ModelSpec(deploy="net.prototxt", crop="aligned", mean_shape=tuple(FACE.T.ravel() / 4))),
        _spec,
        net_beside,
    ),
    "annotation": Reader("a.pts", text(pts), _pts, photo_beside),
    "teacher's landmarks": Reader("a.pts", text(pts), predicted_points.read_teacher_s_points),
    "predicted landmarks": Reader(
        "annotations.json",
        lambda: mutations.json_or_bytes(_in_temporary(predicted_points.description)),
        predicted_points.read_teacher_s_description,
    ),
    "predicted landmarks so far": Reader(
        "annotations.json.found",
        text(predicted_points.growing_description),
        predicted_points.read_growing_description,
    ),
    "turned faces": Reader(
        "turned.json",
        lambda: mutations.json_or_bytes(_in_temporary(predicted_points.turned_description)),
        predicted_points.read_turned_description,
    ),
    "progress": Reader(
        "progress.json", lambda: mutations.json_or_bytes({"one": "ab", "two": "cd"}), _progress
    ),
    "prototxt": Reader(
        "a.prototxt", text(lambda folder: text_format.MessageToString(small_net())), _prototxt
    ),
    "weights": Reader("w.caffemodel", message(weights), _weights),
    "state": Reader("stage3_iter_20.solverstate", message(state), _state, _weights_beside),
    "image record": Reader("datum", message(image_datum), _value(decode_datum)),
    "landmarks record": Reader("datum", message(landmarks_datum), _value(decode_datum)),
    "face record": Reader("datum", message(face_datum), _value(decode_face)),
    "image": Reader("a.jpg", images, _image),
    "LMDB of images": Reader(
        "train_images/data.mdb", lambda: lmdb_pages("train_images"), _lmdb, _write_pairs
    ),
    "LMDB of landmarks": Reader(
        "train_landmarks/data.mdb", lambda: lmdb_pages("train_landmarks"), _lmdb, _write_pairs
    ),
    "ONNX": Reader("w.onnx", message(onnx_model), _onnx),
}


def fuzz(names: list[str], examples: int, seed_number: int, folder: Path) -> dict[str, int]:
    """Number of inputs by reader, after each was given `examples` of them.

    Raises what a reader raises besides FaceAlignError, with the input, the smallest found, in the message.
    """
    counts = dict.fromkeys(names, 0)
    for name in names:
        place = folder / name
        place.mkdir(parents=True)
        (folder / READING).write_text(name)
        try:
            READERS[name].beside(place)
            _fuzz_one(name, examples, seed_number, folder, counts)
        except BaseException as error:
            kept = repr((folder / INPUT).read_bytes()[:3000]) if (folder / INPUT).exists() else "none"
            trace = (
                "".join(traceback.format_tb(error.__traceback__))[-4000:]
                + f"{type(error).__name__}: {error}"[:3000]
            )
            raise RuntimeError(f"{name}: {trace}\nthe input: {kept}") from None
    return counts


def _fuzz_one(name: str, examples: int, seed_number: int, folder: Path, counts: dict[str, int]) -> None:
    reader = READERS[name]
    path = folder / name / reader.file

    @seed(seed_number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(content=reader.contents())
    def read(content: bytes) -> None:
        counts[name] += 1
        for file in (path, folder / INPUT):
            file.write_bytes(content)
        check(reader, path)

    read()


def check(reader: Reader, path: Path) -> None:
    """Read a file. Fails unless that succeeds, or is refused in one line of text that names the file."""
    refusal = None
    try:
        reader.read(path)
    except FaceAlignError as error:
        refusal = str(error)
    if refusal is not None:
        assert str(path) in refusal, f"does not name the file: {refusal}"
        assert "\n" not in refusal, f"not one line: {refusal!r}"
