"""facealign make-lmdb as it is run, on a made-up tree of dotted photos in the layout of 300-W."""

import binascii
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from skimage import data as sample_photos

from facealign.commands import make_lmdb
from facealign.crops.augmentation import Augmentation
from facealign.crops.context_crop import most_bytes
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_face
from facealign.datasets.detected_boxes import FaceBox, checksum_of, write_boxes
from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.datasets.validation_300w import HELD_OUT_PHOTOS
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import read_image
from facealign.lmdb.context_crop_writer import read_faces
from facealign.lmdb.meta import read_meta
from facealign.lmdb.pairs import pairs_bytes, read_part
from tests.dotted_photos import ground_of, write_photo
from tests.forked import facealign
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
# Folder -> names of its photos. Each photo has a ground of its own; two faces of one photo share it.
PHOTOS = {
    "300w/afw": ["11111111_1", "11111111_2", "22222222_1", "33333333_1"],
    "300w/helen/trainset": [f"{number}_1" for number in range(1000001, 1000007)],
    "300w/lfpw/trainset": [f"image_000{number}" for number in range(2, 6)],
    "300w/helen/testset": ["2000001_1", "2000002_1"],
    "300w/lfpw/testset": ["image_0001", "image_0002"],
    "300w/ibug": ["image_003_1", "image_004"],
    "studio": ["anna", "ben", "carl"],
}
TEST_FOLDERS = ("300w/helen/testset", "300w/lfpw/testset", "300w/ibug")
GROUND: dict[str, int] = {}
for folder, names in PHOTOS.items():
    for name in names:
        GROUND.setdefault(f"{folder}/{name.removesuffix('_2')}", len(GROUND))
TEST_GROUNDS = {ground for name, ground in GROUND.items() if name.startswith(TEST_FOLDERS)}
# The dotted photos' landmarks are a grid, which has no eyes.
ANY_FACE = ("--min-eye-distance", "0", "--keep-copies")
COMMON = ("--boxes", "landmarks", "--validation", "0.3", "--seed", "5", "--noise", "0", "0")


def tool(*arguments, **options):
    """Run the program to its end; options: of subprocess.run."""
    if not options:
        return facealign("make-lmdb", *ANY_FACE, *arguments)
    return subprocess.run(
        [sys.executable, "-m", "facealign", "make-lmdb", *ANY_FACE, *map(str, arguments)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": False, **options},
    )


def failure(result, code=1):
    """The one line that a failed program ends with, after its progress."""
    assert result.returncode == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert result.stderr.count("error: ") == 1
    return line


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(0)
    for folder, names in PHOTOS.items():
        for name in names:
            write_photo(root / folder, name, rng, GROUND[f"{folder}/{name.removesuffix('_2')}"])
    profile = "\n".join(f"{value} {value}" for value in range(39))
    (root / "studio" / "profile.pts").write_text(f"version: 1\nn_points: 39\n{{\n{profile}\n}}\n")
    shutil.copy(root / "studio" / "anna.png", root / "studio" / "profile.png")
    (root / "studio" / "broken.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    return root


@pytest.fixture(scope="module")
def made(tree, tmp_path_factory):
    """(folder, the finished process): 3 copies a face, made by two workers."""
    output = tmp_path_factory.mktemp("made") / "lmdb"
    numbers = ("--json", tmp_path_factory.mktemp("numbers") / "numbers.json")
    result = tool("--data", tree, "--output", output, "--copies", 3, "--workers", 2, *COMMON, *numbers)
    assert result.returncode == 0, result.stderr
    result.numbers = json.loads(numbers[1].read_text())
    return output, result


def meta_of(output):
    return json.loads((output / "meta.json").read_text())


def entries(output, name):
    with lmdb.open(str(output / name), readonly=True, lock=False) as opened, opened.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def contents(output):
    """Every key and value of all databases, and the description."""
    names = sorted(path.parent.name for path in output.glob("*/data.mdb"))
    return {name: entries(output, name) for name in names}, meta_of(output)


def grounds(output, part):
    return [ground_of(image.transpose(1, 2, 0)) for image in read_part(output, part)[0]]


def folder_of(ground):
    return next(name.rsplit("/", 1)[0] for name, number in GROUND.items() if number == ground)


def test_there_are_four_databases_and_a_description(made):
    output, result = made
    names = ["meta.json", "train_images", "train_landmarks", "val_images", "val_landmarks"]
    assert sorted(entry.name for entry in output.iterdir()) == names
    assert [entry.name for entry in output.parent.iterdir()] == ["lmdb"]
    assert "skipped" in result.stderr
    assert "broken.pts" in result.stderr
    assert result.stdout.splitlines() == [
        f"{output}: 6 faces of 300-W's test sets left out",
        f"{output}: 1 profile face with 39 points left out",
        f"{output}: 1 annotation that cannot be used skipped",
        f"{output}: train: 39 samples of 13 faces",
        f"{output}: val: 4 samples of 4 faces",
    ]


def test_json_has_the_numbers_of_the_description(made):
    output, result = made
    meta = meta_of(output)
    for name in ("train", "val"):
        samples, faces = meta["parts"][name]["samples"], sum(meta["parts"][name]["faces"].values())
        assert result.numbers["parts"][name] == {"samples": samples, "faces": faces, "skipped": 0}
    left_out = ("test_faces_left_out", "held_out_faces_left_out", "profiles_left_out", "annotations_skipped")
    assert {key: result.numbers[key] for key in left_out} == {key: meta[key] for key in left_out}
    assert result.numbers["test_faces_left_out"] == 6


def test_test_sets_of_300w_are_in_neither_part(made):
    shown = {*grounds(made[0], "train"), *grounds(made[0], "val")}
    assert len(TEST_GROUNDS) == 6
    assert shown == set(GROUND.values()) - TEST_GROUNDS


def test_a_held_out_photo_among_test_faces_is_counted_once(tmp_path):
    rng = np.random.default_rng(0)
    held_out = HELD_OUT_PHOTOS["helen/trainset"][:2]
    for index, name in enumerate(
        (f"ibug/{held_out[0]}_1", f"helen/trainset/{held_out[1]}_1", "afw/11111111_1")
    ):
        write_photo(tmp_path / "300w" / Path(name).parent, Path(name).name, rng, index)
    arguments = ("--boxes", "landmarks", "--validation", 0, "--copies", 1, "--workers", 1)
    result = tool("--data", tmp_path / "300w", "--output", tmp_path / "lmdb", *arguments)
    assert result.returncode == 0, result.stderr
    meta = meta_of(tmp_path / "lmdb")
    assert [meta[f"{what}_left_out"] for what in ("test_faces", "held_out_faces")] == [1, 1]
    assert meta["copies_left_out_by_name"] == 0
    assert "copies of test" not in result.stdout


def test_no_photo_is_on_both_sides_and_300w_alone_validates(made):
    train, val = (Counter(grounds(made[0], part)) for part in ("train", "val"))
    assert not set(train) & set(val)
    assert set(train.values()) <= {3, 6}
    assert [ground for ground, count in train.items() if count == 6] in ([], [GROUND["300w/afw/11111111_1"]])
    assert all(folder_of(ground).startswith("300w/") for ground in val)


def test_the_description_is_what_the_databases_hold(made, tree):
    output, _ = made
    meta = meta_of(output)
    for part, copies in (("train", 3), ("val", 1)):
        described = meta["parts"][part]
        shown = Counter(folder_of(ground).removeprefix("300w/") for ground in grounds(output, part))
        assert {folder: count * copies for folder, count in described["faces"].items()} == shown
        assert described["samples"] == len(entries(output, f"{part}_images")) == sum(shown.values())
        assert described["samples"] == len(entries(output, f"{part}_landmarks"))
        assert described["skipped"] == []
    assert (meta["seed"], meta["copies"], meta["validation_share"]) == (5, 3, 0.3)
    assert meta["copies_of"] == {}
    assert [GROUND[name.removesuffix(".png").removesuffix("_2")] for name in meta["validation_faces"]] == (
        grounds(output, "val")
    )
    assert meta["boxes"] == {"detector": "landmarks"}
    assert meta["boxes_from_landmarks"] == 17
    assert meta["test_faces_left_out"] == 6
    assert (meta["profiles_left_out"], meta["annotations_skipped"]) == (1, 1)
    assert ModelSpec.from_json(json.dumps(meta["spec"]), "meta") == ModelSpec(stage="")
    assert meta["augmentation"] == {
        "flip": 0.5,
        "shift": 0.08,
        "scale_range": [0.9, 1.15],
        "rotate_range": [-30, 30],
        "noise_std": [0, 0],
    }


def test_the_digests_can_be_computed_again(made):
    output, _ = made
    samples = {}
    for part in ("train", "val"):
        pairs = zip(entries(output, f"{part}_images"), entries(output, f"{part}_landmarks"), strict=True)
        samples[part] = [image + values for (_, image), (_, values) in pairs]
    checksums = [binascii.crc32(sample).to_bytes(4, "little") for sample in samples["train"]]
    described = meta_of(output)["parts"]
    assert described["train"]["sha256"] == hashlib.sha256(b"".join(checksums)).hexdigest()
    assert described["val"]["sha256"] == hashlib.sha256(b"".join(samples["val"])).hexdigest()


def test_one_worker_makes_the_same_and_another_seed_does_not(made, tree, tmp_path):
    output, _ = made
    for name, arguments in (("same", ["--workers", 1]), ("other", ["--seed", 6])):
        result = tool("--data", tree, "--output", tmp_path / name, "--copies", 3, *COMMON, *arguments)
        assert result.returncode == 0
    same, other = contents(tmp_path / "same"), contents(tmp_path / "other")
    assert same == contents(output)
    for name, pairs in same[0].items():
        assert [key for key, _ in pairs] == [b"%09d" % index for index in range(len(pairs))]
        assert name.startswith("val") or {value for _, value in pairs}.isdisjoint(
            value for _, value in other[0][name]
        )
    assert same[1]["source_sha256"] != other[1]["source_sha256"]  # other faces on either side


def photo_of(tree, ground):
    name = next(name for name, number in GROUND.items() if number == ground)
    return next(sample for sample in scan(tree).samples if sample.relative == f"{name}.png")


def assert_plain(sample, target):
    """The target (136,) is the sample's landmarks in the crop of its box, not varied."""
    left, top, right, bottom = box_from_landmarks(sample.points)
    longer = max(right - left, bottom - top)
    side = 1.05 * longer
    corner = np.array([left + right, top + bottom]) / 2 + longer * np.array([0.02, 0.09]) - side / 2
    # a crop's left edge is half a pixel left of its first pixel's centre; targets count from 1
    points = (sample.points - corner) * 64 / side - 0.5 + 1
    np.testing.assert_allclose(target * 64, np.concatenate([points[:, 0], points[:, 1]]), atol=1e-4)


def test_validation_faces_are_the_plain_crops(made, tree):
    images, values = read_part(made[0], "val")
    for image, target in zip(images, values, strict=True):
        sample = photo_of(tree, ground_of(image.transpose(1, 2, 0)))
        crop, _ = crop_face(read_image(sample.path), box_from_landmarks(sample.points), ModelSpec())
        shown = image.transpose(1, 2, 0)
        if not np.array_equal(shown, crop):  # the other face in the same photo
            assert sample.relative.startswith("300w/afw/11111111")
            continue
        assert_plain(sample, target)


@pytest.fixture
def few(tree, tmp_path):
    """A copy of the smallest folder, to be damaged; without the annotations that are of no use."""
    root = tmp_path / "few"
    shutil.copytree(tree / "studio", root / "studio", ignore=shutil.ignore_patterns("profile*", "broken*"))
    return root


def small(root, output, *arguments, **options):
    """Make LMDBs of a small folder."""
    settings = ("--boxes", "landmarks", "--validation", "0.4", "--copies", 2, "--workers", 1, "--seed", 1)
    return tool("--data", root, "--output", output, *settings, *arguments, **options)


def test_boxes_of_the_detector_are_used_and_described(few, tmp_path):
    samples = scan(few).samples
    settings = {"detector": "MTCNN", "min_face": 40}
    boxes = {}
    for number, sample in enumerate(samples):
        box = np.add(box_from_landmarks(sample.points), (7.5, 3.25, 11, 5.5)).round(3)
        source, score = ("landmarks", None) if number == 0 else ("mtcnn", 0.9)
        boxes[sample.relative] = FaceBox(box, source, score, 0.8, checksum_of(sample))
    write_boxes(tmp_path / "boxes.json", settings, boxes)
    result = small(few, tmp_path / "out", "--boxes", tmp_path / "boxes.json")
    assert result.returncode == 0, result.stderr
    meta = meta_of(tmp_path / "out")
    assert meta["boxes"] == settings
    assert meta["boxes_from_landmarks"] == 1
    (image,) = read_part(tmp_path / "out", "val")[0]
    sample = photo_of(few, ground_of(image.transpose(1, 2, 0)))
    crop, _ = crop_face(read_image(sample.path), boxes[sample.relative].box, ModelSpec())
    np.testing.assert_array_equal(image.transpose(1, 2, 0), crop)
    # a box is for its photo and annotation
    write_photo(few / "studio", "ben", np.random.default_rng(9), 7)
    line = failure(small(few, tmp_path / "out", "--boxes", tmp_path / "boxes.json"))
    assert "ben.png: the box of another image or annotation" in line
    assert "no such file" in failure(small(few, tmp_path / "out", "--boxes", tmp_path / "absent.json"))
    assert meta_of(tmp_path / "out") == meta


def test_the_fingerprint_of_the_source_changes_with_a_point(few, tmp_path):
    assert small(few, tmp_path / "a").returncode == 0
    annotation = few / "studio" / "anna.pts"
    lines = annotation.read_text().splitlines()
    x, y = map(float, lines[10].split())
    lines[10] = f"{x + 0.001:.6f} {y:.6f}"
    annotation.write_text("\n".join(lines) + "\n")
    assert small(few, tmp_path / "b").returncode == 0
    first, second = meta_of(tmp_path / "a"), meta_of(tmp_path / "b")
    assert first["source_sha256"] != second["source_sha256"]
    assert {**first, "source_sha256": 0, "parts": 0} == {**second, "source_sha256": 0, "parts": 0}


def test_photos_that_cannot_be_read_are_skipped_and_counted_or_fatal(few, tmp_path):
    """One is truncated, of one nothing is left but a link to it."""
    for name in ("dora", "emil"):
        write_photo(few / "studio", name, np.random.default_rng(3), 11)
    photo = few / "studio" / "dora.png"
    photo.write_bytes(photo.read_bytes()[:3000])
    (few / "studio" / "emil.png").unlink()
    (few / "studio" / "emil.png").symlink_to("gone.png")
    result = small(few, tmp_path / "out", "--validation", "0")
    assert result.returncode == 0, result.stderr
    skipped = [line for line in result.stderr.splitlines() if "skipped: " in line]
    assert len(skipped) == 2
    assert "dora.png" in skipped[0]
    assert "emil.png" in skipped[1]
    meta = meta_of(tmp_path / "out")
    assert meta["parts"]["train"]["skipped"] == ["studio/dora.png", "studio/emil.png"]
    assert meta["parts"]["train"]["faces"] == {"studio": 3}
    assert meta["parts"]["train"]["samples"] == 6
    assert meta["boxes_from_landmarks"] == 3
    assert "val" not in meta["parts"]
    assert not list((tmp_path / "out").glob("val*"))
    line = failure(small(few, tmp_path / "strict", "--validation", "0", "--strict"))
    assert "dora.png" in line
    assert not list(tmp_path.glob("*strict*"))


def test_strict_stops_at_a_bad_annotation(tree, tmp_path):
    assert "broken.pts" in failure(small(tree, tmp_path / "out", "--strict"))
    assert not (tmp_path / "out").exists()


def left_alone(output, before):
    """Whether the output is as it was, and nothing else lies beside it."""
    assert contents(output) == before
    assert [entry.name for entry in output.parent.iterdir()] == [output.name]


@pytest.mark.parametrize(
    ("number", "group", "workers"),
    [(signal.SIGINT, True, 1), (signal.SIGINT, True, 2), (signal.SIGTERM, False, 2)],
)
def test_an_interruption_leaves_the_old_output_and_no_temporary(made, tree, tmp_path, number, group, workers):
    """Ctrl-C reaches the workers too; who ends a service sends SIGTERM to its first process."""
    output = tmp_path / "kept" / "lmdb"
    shutil.copytree(made[0], output)
    before = contents(output)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "facealign", "make-lmdb", "--data", tree, "--output", output),
            *("--copies", "20000", "--workers", str(workers), "--boxes", "landmarks", *ANY_FACE),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        # half-way: some samples are written
        while not [
            path
            for path in output.parent.glob(".*/new/lmdb/train_images/data.mdb")
            if path.stat().st_size > 1e6
        ]:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert stdout == ""
    assert stderr.splitlines()[-1] == ("interrupted" if number == signal.SIGINT else "ended by a signal")
    assert "Traceback" not in stderr
    left_alone(output, before)
    deadline = time.monotonic() + 20
    while alive(process.pid):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.05)


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_disk_that_fills_up_is_one_line_and_the_old_output_stays(made, tree, tmp_path):
    """Here no file can grow beyond a few pictures, which the check of the disk cannot foresee."""
    output = tmp_path / "kept" / "lmdb"
    shutil.copytree(made[0], output)
    before = contents(output)

    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    for size in (100_000, 3_000_000):  # while cutting out faces, while writing samples
        line = failure(
            tool(
                *("--data", tree, "--output", output, "--copies", 50, "--workers", 1, *COMMON),
                preexec_fn=limit(size),
            )
        )
        assert "too large" in line or "full" in line
        left_alone(output, before)


def test_too_small_a_disk_is_said_before_starting(few, tmp_path, monkeypatch):
    free, asked = [10_000], []

    def disk_usage(path):
        asked.append(path)
        return shutil._ntuple_diskusage(10**12, 10**12 - free[0], free[0])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    output = tmp_path / "new" / "lmdb"
    command = ("--data", few, "--output", output, "--boxes", "landmarks", "--workers", 1, "--copies", 1)
    monkeypatch.setattr(sys, "argv", ["make_lmdb", *map(str, command), *ANY_FACE, "--validation", "0"])
    with pytest.raises(FaceAlignError, match=r"lmdb: needs 0\.0 GB, the disk has 0\.0 GB free"):
        make_lmdb.main()
    assert list(output.parent.iterdir()) == []
    assert asked == [output.parent]
    # the samples, and the context crops that they are made from
    boxes = [box_from_landmarks(sample.points) for sample in scan(few).samples]
    free[0] = pairs_bytes(3, 64, 64) + sum(most_bytes(box, ModelSpec(), Augmentation()) for box in boxes) - 1
    with pytest.raises(FaceAlignError, match="the disk has"):
        make_lmdb.main()
    free[0] += 1
    make_lmdb.main()
    assert meta_of(output)["parts"]["train"]["samples"] == 3


def test_only_lmdbs_are_replaced(few, tmp_path):
    """A slip of the hand must not cost somebody's folder."""
    photos = tmp_path / "holiday"
    photos.mkdir()
    (photos / "beach.jpg").write_bytes(b"precious")
    assert "holds no LMDBs" in failure(small(few, photos))
    assert "not a folder" in failure(small(few, photos / "beach.jpg"))
    assert "holds no LMDBs" in failure(small(few, few))
    assert (photos / "beach.jpg").read_bytes() == b"precious"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert small(few, empty).returncode == 0
    first = contents(empty)
    assert small(few, empty, "--copies", 3).returncode == 0
    assert meta_of(empty)["copies"] == 3
    assert contents(empty) != first


def test_faces_turned_away_are_not_trained_on_but_may_validate(tmp_path):
    """Of eight faces, four are narrowed to a fifth: their eyes are less than a tenth of the height apart."""
    folder = tmp_path / "set"
    folder.mkdir()
    for index in range(8):
        points = upright_face((100, 100), 90) * ((0.2, 1) if index % 2 else (1, 1)) + (80, 0)
        cv2.imwrite(str(folder / f"{chr(97 + index)}.png"), np.full((220, 300, 3), 10 + 20 * index, np.uint8))
        write_pts(folder / f"{chr(97 + index)}.pts", points)
    output = tmp_path / "lmdb"
    arguments = ("--data", folder, "--output", output, "--boxes", "landmarks", "--copies", 3, "--noise", 0, 0)
    result = tool(*arguments, "--min-eye-distance", "0.2", "--validation", "0.5", "--seed", 1)
    assert result.returncode == 0, result.stderr
    meta = json.loads((output / "meta.json").read_text())
    validated = meta["validation_faces"]
    trained = [name for name in "abcdefgh" if f"set/{name}.png" not in validated]
    facing = [name for name in trained if "abcdefgh".index(name) % 2 == 0]
    assert len(validated) == 4
    assert 0 < len(facing) < len(trained)
    assert meta["turned_away_left_out"] == len(trained) - len(facing)
    assert f"{len(trained) - len(facing)} faces turned away" in result.stdout
    images, _ = read_part(output, "train")
    greys = {int(value) for value in images[:, 0].max(axis=(1, 2))}
    assert greys == {10 + 20 * "abcdefgh".index(name) for name in facing}

    only = tool(*arguments, "--min-eye-distance", "0.9", "--validation", 0)
    assert only.returncode == 1
    assert "turned away" in only.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--copies", "0"],
        ["--workers", "0"],
        ["--seed", "-1"],
        ["--validation", "1"],
        ["--validation", "nan"],
        ["--validation", "-0.1"],
        ["--flip", "1.5"],
        ["--shift", "-0.1"],
        ["--scale", "1.2", "0.8"],
        ["--scale", "0", "1"],
        ["--rotate", "30", "-30"],
        ["--rotate", "nan", "30"],
        ["--noise", "-1", "2"],
        ["--noise", "0", "inf"],
        ["--network", "resnet"],
        ["--copies", "many"],
        ["--min-eye-distance", "-0.1"],
        ["--min-eye-distance", "1"],
        ["--copies-of", "afw"],
        ["--copies-of", "afw=0"],
        ["--copies-of", "afw=1", "=3"],
        ["--copies-of", "afw=-1"],
        ["--on-the-fly", "--copies", "3"],
        ["--on-the-fly", "--copies-of", "afw=1"],
        ["--teacher"],
        ["--teacher", "one.onnx", "two.onnx", "three.onnx"],
        ["--teacher", "one.onnx", "--teacher-points", "here"],
        ["--teacher", "one.onnx", "--distillation-weight", "1.5"],
        ["--teacher", "one.onnx", "--distillation-weight", "nan"],
        ["--distillation-weight", "0.3"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(arguments, capsys):
    """In this process: argparse ends it with 2 as it would the program."""
    with pytest.raises(SystemExit) as caught:
        make_lmdb.arguments_of(["--data", "here", *arguments] if arguments else [])
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_wrong_usage_exits_with_2(tmp_path):
    result = small(tmp_path, tmp_path / "out", "--copies", "0")
    assert result.returncode == 2
    assert "--copies: expected 1 or more" in result.stderr
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_samples_and_the_description(few, tmp_path):
    still = ("--flip", 0, "--shift", 0, "--scale", 1, 1, "--rotate", 0, 0, "--noise", 0, 0)
    result = small(few, tmp_path / "out", *still)
    assert result.returncode == 0, result.stderr
    augmentation = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in meta_of(tmp_path / "out")["augmentation"].items()
    }
    assert Augmentation(**augmentation) == Augmentation(0, 0, (1, 1), (0, 0), (0, 0))
    images, targets = read_part(tmp_path / "out", "train")
    for image, target in zip(images, targets, strict=True):
        assert_plain(photo_of(few, ground_of(image.transpose(1, 2, 0))), target)


def test_the_other_network_s_samples_have_its_size_and_a_folder_of_their_own(few, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = ("--data", few, "--boxes", "landmarks", "--validation", "0.4", "--copies", 1, "--workers", 1)
    result = tool(*arguments, "--network", "vgg_shadow", cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    images, values = read_part(tmp_path / "data" / "lmdb_70x60", "train")
    assert images.shape == (2, 3, 70, 60)
    assert values.shape == (2, 136)
    assert meta_of(tmp_path / "data" / "lmdb_70x60")["spec"]["network"] == "vgg_shadow"


def test_folders_are_weighed_by_copies_of_their_own(tree, tmp_path):
    arguments = ("--copies-of", "helen/trainset=5", "studio=1", "--noise", 0, 0)
    result = small(tree, tmp_path / "out", *arguments, "--validation", "0.3", "--workers", 2)
    assert result.returncode == 0, result.stderr
    meta = meta_of(tmp_path / "out")
    assert meta["copies_of"] == {"helen/trainset": 5, "studio": 1}
    described = meta["parts"]["train"]
    copies = {folder: {"helen/trainset": 5, "studio": 1}.get(folder, 2) for folder in described["faces"]}
    shown = Counter(folder_of(ground).removeprefix("300w/") for ground in grounds(tmp_path / "out", "train"))
    assert shown == {folder: count * copies[folder] for folder, count in described["faces"].items()}
    assert {"helen/trainset", "studio", "afw"} <= set(shown)
    assert described["samples"] == sum(shown.values())
    assert "no folder helen for --copies-of" in failure(
        small(tree, tmp_path / "no", "--copies-of", "helen=5")
    )


def test_fresh_faces_are_those_of_the_samples_in_an_lmdb_of_loose_crops(made, tree, tmp_path):
    output = tmp_path / "fresh"
    result = tool("--data", tree, "--output", output, "--on-the-fly", "--workers", 2, *COMMON)
    assert result.returncode == 0, result.stderr
    names = ["meta.json", "train_faces", "val_images", "val_landmarks"]
    assert sorted(entry.name for entry in output.iterdir()) == names
    assert entries(output, "val_images") == entries(made[0], "val_images")
    meta, other = meta_of(output), meta_of(made[0])
    assert meta["parts"]["train"]["faces"] == other["parts"]["train"]["faces"]
    assert meta["source_sha256"] == other["source_sha256"]
    assert meta["fresh"] is True
    assert other["fresh"] is False
    digest = hashlib.sha256(b"".join(key + value for key, value in entries(output, "train_faces")))
    assert meta["parts"]["train"]["sha256"] == digest.hexdigest()
    faces = list(read_faces(output, "train"))
    shown = Counter(ground_of(face.pixels) for _, face in faces)
    assert set(shown) == set(grounds(made[0], "train"))
    for folder, face in faces:
        assert folder_of(ground_of(face.pixels)).removeprefix("300w/") == folder
    assert f"{output}: train: 13 context crops of 13 faces" in result.stdout


def test_a_teacher_moves_the_landmarks_to_train_on_and_no_others(few, tmp_path):
    """By context crops, which hold the landmarks as they are; of samples, that they are others."""
    networks = [ROOT / "models" / f"mobilenet_v2_{name}.onnx" for name in ("stage3", "cascade")]
    distillation = ("--teacher", *networks, "--distillation-weight", 0.25)
    made = {}
    for name, arguments in (
        ("plain", ()),
        ("distilled", distillation),
        ("two", (*distillation, "--workers", 2)),
    ):
        command = (
            "--data",
            few,
            "--output",
            tmp_path / name,
            "--on-the-fly",
            "--workers",
            1,
            *COMMON,
            *arguments,
        )
        result = tool(*command)
        assert result.returncode == 0, result.stderr
        made[name] = {ground_of(face.pixels): face for _, face in read_faces(tmp_path / name, "train")}
    assert contents(tmp_path / "two") == contents(tmp_path / "distilled")
    aligner = FaceAligner.open(networks[0], "onnx", detector=False, flip=True, cascade=networks[1])
    for ground, plain in made["plain"].items():
        moved = made["distilled"][ground]
        np.testing.assert_array_equal(moved.pixels, plain.pixels)
        np.testing.assert_array_equal(moved.square, plain.square)
        sample = photo_of(few, ground)
        box = box_from_landmarks(sample.points)
        (told,) = aligner.landmarks_in(read_image(sample.path, orient=False), box[None])
        reduced = np.ptp(plain.points, axis=0) / np.ptp(sample.points, axis=0)  # large faces are
        wanted = (told - sample.points) * 0.25 * reduced
        np.testing.assert_allclose(moved.points - plain.points, wanted, atol=1e-3)
    for name in ("val_images", "val_landmarks"):
        assert entries(tmp_path / "distilled", name) == entries(tmp_path / "plain", name)
    told, plain = meta_of(tmp_path / "distilled"), meta_of(tmp_path / "plain")
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in networks]
    assert [network["sha256"] for network in told["teacher"]["networks"]] == digests
    assert told["teacher"]["share"] == 0.25
    assert told["source_sha256"] == plain["source_sha256"]

    samples = ("--copies", 1, "--flip", 0, "--shift", 0, "--scale", 1, 1, "--rotate", 0, 0, "--noise", 0, 0)
    for name, arguments in (("plain", ()), ("distilled", distillation)):
        assert small(few, tmp_path / name, *samples, *arguments).returncode == 0
    (images, annotated), (same, moved) = (
        read_part(tmp_path / name, "train") for name in ("plain", "distilled")
    )
    np.testing.assert_array_equal(images, same)
    assert (np.abs(annotated - moved).max(axis=1) > 1e-3).all()


def test_points_of_a_folder_move_the_landmarks_to_train_on_and_are_described(few, tmp_path):
    """The folder lacks one training face; its description names two members."""
    points, plain, output = tmp_path / "points", tmp_path / "plain", tmp_path / "out"
    arguments = ("--on-the-fly", "--workers", 1, *COMMON)
    assert tool("--data", few, "--output", plain, *arguments).returncode == 0
    samples = {sample.relative: sample for sample in scan(few).samples}
    trained = sorted(set(samples) - set(meta_of(plain)["validation_faces"]))
    shift = np.array([3.0, -2.0])
    for name in trained[1:]:
        write_pts((points / name).with_suffix(".pts"), samples[name].points + shift)
    files = [{"weights": "one.onnx", "sha256": "1a"}]
    members = [{"name": "a cascade", "files": files}, {"name": "a mesh", "files": []}]
    (points / "annotations.json").write_text(json.dumps({"settings": {"members": members}}))
    distillation = ("--teacher-points", points, "--distillation-weight", 0.5)
    result = tool("--data", few, "--output", output, *arguments, *distillation)
    assert result.returncode == 0, result.stderr
    assert f"1 face without landmarks in {points}, trained on as annotated" in result.stdout
    read = [
        {ground_of(face.pixels): face.points for _, face in read_faces(made, "train")}
        for made in (plain, output)
    ]
    for name in trained:
        ground = ground_of(read_image(samples[name].path))
        reduced = np.ptp(read[0][ground], axis=0) / np.ptp(samples[name].points, axis=0)
        wanted = shift * 0 if name == trained[0] else shift * 0.5 * reduced
        np.testing.assert_allclose(read[1][ground] - read[0][ground], wanted + np.zeros((68, 2)), atol=1e-3)
    for name in ("val_images", "val_landmarks"):
        assert entries(output, name) == entries(plain, name)
    digest = hashlib.sha256((points / "annotations.json").read_bytes()).hexdigest()
    assert meta_of(output)["teacher"] == {
        "points": {
            "folder": "points",
            "moved": len(trained) - 1,
            "kept": 1,
            "description": {"weights": "annotations.json", "sha256": digest},
            "members": ["a cascade", "a mesh"],
        },
        "share": 0.5,
    }
    read_meta(output)

    shutil.move(points / trained[1].split("/")[0], points / "elsewhere")
    none = failure(tool("--data", few, "--output", tmp_path / "none", *arguments, *distillation))
    assert f"{points}: has the landmarks of no face, such as " in none
    assert not (tmp_path / "none").exists()

    for path in points.rglob("*.pts"):
        path.unlink()
    result = tool("--data", few, "--output", tmp_path / "none", *arguments, *distillation)
    assert result.returncode == 0, result.stderr
    assert f"{points}: holds no landmarks: all were left out" in result.stderr


def test_a_teacher_that_is_none_is_one_line(few, tmp_path):
    assert "nothing.onnx" in failure(small(few, tmp_path / "out", "--teacher", tmp_path / "nothing.onnx"))
    assert "nowhere: no such" in failure(
        small(few, tmp_path / "out", "--teacher-points", tmp_path / "nowhere")
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_without_faces_or_of_test_faces_only_is_an_error(tree, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "no image with 68 points" in failure(small(tmp_path / "nothing", tmp_path / "out"))
    assert "no such folder" in failure(small(tmp_path / "absent", tmp_path / "out"))
    shutil.copytree(tree / "300w" / "ibug", tmp_path / "tests" / "300w" / "ibug")
    assert "no face is left to train on" in failure(small(tmp_path / "tests", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_copies_of_test_and_validation_photos_are_left_out_named_and_counted(tmp_path):
    """By the photo's number, wherever it stands in a name, and by what the face looks like."""
    face = upright_face((150, 120), 160)
    photos = {
        name: getattr(sample_photos, name)()[:300, :300] for name in ("astronaut", "coffee", "cat", "rocket")
    }
    places = {
        "300W/IBUG/image_003_1": "astronaut",
        "300W/AFW/261068_1": "coffee",  # of the validation part
        "mine/own": "cat",
        "mine/AFW_261068_1_0_flip": "rocket",
        "mine/image_003_1_mirror": "rocket",
        "mine/somebody": "astronaut",
        "mine/somebody_else": "coffee",
    }
    for place, name in places.items():
        path = tmp_path / "data" / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photos[name])
        write_pts(path.with_suffix(".pts"), face)
    command = ("make-lmdb", "--data", tmp_path / "data", "--output", tmp_path / "lmdb")
    done = subprocess.run(
        [sys.executable, "-m", "facealign", *map(str, command), "--boxes", "landmarks", "--copies", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    meta = json.loads((tmp_path / "lmdb" / "meta.json").read_text())
    assert meta["parts"]["train"]["faces"] == {"mine": 1}
    assert meta["validation_faces"] == ["300w/afw/261068_1.jpg"]
    # A photo of iBUG is one of a test set under any name.
    assert (meta["test_faces_left_out"], meta["copies_left_out_by_name"]) == (2, 1)
    assert meta["copies_left_out_by_content"] == ["mine/somebody.jpg", "mine/somebody_else.jpg"]
    for copy, original in (("somebody", "IBUG/image_003_1"), ("somebody_else", "AFW/261068_1")):
        assert re.search(rf"left out: \S*mine/{copy}\.jpg: a copy of \S*{original}\.jpg\n", done.stderr)
    assert "2 faces of 300-W's test sets left out" in done.stdout
    assert "val: not the whole validation part of 300-W, which has 300 faces\n" in done.stderr
    assert "1 copy of test or validation photos, by their names" in done.stdout
