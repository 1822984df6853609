"""Loose crops in an LMDB: read back by the colours of dots, also out of Caffe's layer that varies them."""

import dataclasses
from collections import Counter
from pathlib import Path

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.aligned import aligned_transform, numbers_of
from facealign.crops.augmentation import Augmentation
from facealign.crops.context_crop import ContextCrop
from facealign.crops.model_spec import ModelSpec
from facealign.datasets.scan import scan
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError
from facealign.geometry.affine import apply, warp
from facealign.geometry.boxes import box_from_landmarks, square
from facealign.io.images import read_image
from facealign.lmdb.context_crop_writer import (
    check_faces,
    decode_face,
    encode_face,
    face_record_bytes,
    read_faces,
    write_faces,
)
from facealign.lmdb.jobs import FirstStage, Job, PartRequest, SampleSettings, described_settings
from facealign.lmdb.meta import read_meta, write_meta
from facealign.lmdb.sample_writer import write_validation_part
from facealign.networks.data_layers import OnTheFlySource, data_layers
from tests.dotted_photos import MIRRORED, dots_at, ground_of, write_photo

RECIPE = SampleSettings(ModelSpec(box_scale=1.2, box_shift=(0.0, 0.05)), Augmentation(noise_std=(0, 0)), 0)
FOLDERS = {"faces": 4, "more": 2}


def plain(items, total, what):
    return items


def never(error):
    raise error


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(6):
        write_photo(root / ("faces" if index < 4 else "more"), f"face{index}", rng, index)
    return root


def jobs_in(root):
    return [Job(sample, box_from_landmarks(sample.points), "landmarks") for sample in scan(root).samples]


def build(directory, photos, workers=1, on_skip=never):
    directory.mkdir()
    return write_faces(PartRequest(directory, "train", jobs_in(photos), RECIPE, workers, plain, on_skip))


@pytest.fixture(scope="module")
def built(photos, tmp_path_factory):
    directory = tmp_path_factory.mktemp("built") / "lmdb"
    written = build(directory, photos)
    write_validation_part(PartRequest(directory, "val", jobs_in(photos), RECIPE, 1, plain, never))
    return directory, written


def entries(directory):
    with (
        lmdb.open(str(directory / "train_faces"), readonly=True, lock=False) as opened,
        opened.begin() as transaction,
    ):
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def test_a_record_is_a_face_with_its_landmarks_and_the_square_of_its_box(built, photos):
    directory, written = built
    assert written.faces == FOLDERS
    assert written.samples == 6
    samples = scan(photos).samples
    for (folder, face), sample in zip(read_faces(directory, "train"), samples, strict=True):
        assert folder == sample.subset
        np.testing.assert_array_equal(dots_at(face.pixels, face.points), np.arange(68))
        # The cut may be smaller than the photo by a whole factor: its measures tell which, and where it is.
        scale = np.ptp(sample.points, axis=0) / np.ptp(face.points, axis=0)
        np.testing.assert_allclose(scale, scale.round(), atol=1e-4)
        corner = sample.points - scale * face.points
        np.testing.assert_allclose(corner, np.broadcast_to(corner[0], (68, 2)), atol=1e-3)
        shown = square(box_from_landmarks(sample.points), 1.2, (0.0, 0.05)).reshape(2, 2)
        np.testing.assert_allclose(face.square.reshape(2, 2) * scale + corner[0], shown, atol=1e-3)


@pytest.fixture(scope="module")
def second(photos):
    """For the second network of a cascade, in whose crops faces lean by 20 degrees. No first one is run."""
    grid = np.mean([job.sample.points for job in jobs_in(photos)], axis=0)
    lean = np.array([[np.cos(0.35), np.sin(0.35)], [-np.sin(0.35), np.cos(0.35)]])
    shape = (grid - grid.mean(axis=0)) @ lean * 0.22 + 31.5
    spec = dataclasses.replace(ModelSpec(), crop="aligned", mean_shape=numbers_of(shape))
    return dataclasses.replace(RECIPE, spec=spec, first=FirstStage(Path("none"), ModelSpec()))


def test_a_second_network_s_square_is_turned_as_the_face_is(photos, second, tmp_path):
    written = write_faces(PartRequest(tmp_path, "train", jobs_in(photos), second, 1, plain, never))
    assert written.samples == 6
    turned = []
    for _, face in read_faces(tmp_path, "train"):
        np.testing.assert_array_equal(dots_at(face.pixels, face.points), np.arange(68))
        on_crop = apply(aligned_transform(face.points, second.spec), face.square.reshape(2, 2))
        np.testing.assert_allclose(on_crop, [[-0.5, -0.5], [63.5, 63.5]], atol=1e-3)
        turned.append(abs(np.subtract(*(face.square[2:] - face.square[:2]))))
    assert max(turned) > 1
    needed = sum(face_record_bytes(job, second) for job in jobs_in(photos))
    held = sum(len(value) for _, value in entries(tmp_path))
    assert held <= needed <= 3 * held


def test_caffe_shows_a_second_network_what_refining_will(photos, second, tmp_path):
    """Unvaried samples are the crops by the annotated landmarks; varied ones show what whole photos would."""
    write_faces(PartRequest(tmp_path, "train", jobs_in(photos), second, 1, plain, never))
    still = Augmentation(0, 0, (1, 1), (0, 0), (0, 0))
    images, landmarks = samples_of_caffe(
        tmp_path, OnTheFlySource(str(tmp_path), still), caffe_pb2.TRAIN, 6, 6
    )
    jobs = {ground: job for ground, job in enumerate(jobs_in(photos))}
    for image, points in zip(images, landmarks, strict=True):
        job = jobs.pop(ground_of(image))
        affine = aligned_transform(job.sample.points, second.spec)
        np.testing.assert_allclose(points, apply(affine, job.sample.points), atol=1e-3)
        np.testing.assert_array_equal(dots_at(image, points), np.arange(68))
        expected = warp(read_image(job.sample.path, orient=False), affine, (64, 64))
        assert np.abs(image.astype(int) - expected).mean() < 4  # another order of reducing and turning
    assert not jobs
    whole = tmp_path / "whole"
    whole.mkdir()
    with lmdb.open(str(whole / "train_faces"), map_size=1 << 24) as made, made.begin(write=True) as opened:
        for (key, _), job in zip(entries(tmp_path), jobs_in(photos), strict=True):
            photo = ContextCrop(read_image(job.sample.path, orient=False), job.sample.points, job.box)
            opened.put(key, encode_face(photo, second.spec))
    loose, uncut = (
        samples_of_caffe(
            tmp_path, OnTheFlySource(str(path), RECIPE.augmentation, seed=1), caffe_pb2.TRAIN, 60
        )
        for path in (tmp_path, whole)
    )
    np.testing.assert_allclose(loose[1], uncut[1], atol=1e-3)
    assert np.abs(loose[0].astype(int) - uncut[0]).mean() < 4
    black = [(images.max(axis=-1) == 0) for images in (loose[0], uncut[0])]
    assert (black[0] != black[1]).mean() < 0.003


def test_keys_are_numbers_in_order_and_the_folder(built):
    keys = [key.decode() for key, _ in entries(built[0])]
    assert keys == [f"{index:09d} {'faces' if index < 4 else 'more'}" for index in range(6)]
    assert check_faces(built[0], "train") == FOLDERS


def test_any_number_of_workers_writes_the_same(built, photos, tmp_path):
    written = build(tmp_path / "two", photos, workers=2)
    assert entries(tmp_path / "two") == entries(built[0])
    assert written == built[1]


def samples_of_caffe(tmp_path, source, phase, count, batch=10):
    """Pictures (n, h, w, 3) in grey levels and landmarks (n, 68, 2) in their pixels, out of a real net."""
    layers = data_layers(source, batch, (64, 64))
    (tmp_path / "net.prototxt").write_text(
        text_format.MessageToString(caffe_pb2.NetParameter(name="data", layer=layers))
    )
    caffe = import_caffe()
    net = caffe.Net(str(tmp_path / "net.prototxt"), phase)
    found = []
    for _ in range(count // batch):
        net.forward()
        found.append([net.blobs[name].data.copy() for name in ("data", "landmark")])
    images, values = (np.concatenate(part) for part in zip(*found, strict=True))
    pixels = np.rint(images * 128 + 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels, values.reshape(-1, 2, 68).transpose(0, 2, 1).astype(float) * 64 - 1


def test_caffe_s_samples_have_every_dot_at_its_landmark(built, tmp_path):
    source = OnTheFlySource(str(built[0]), RECIPE.augmentation, seed=3)
    images, landmarks = samples_of_caffe(tmp_path, source, caffe_pb2.TRAIN, 60)
    orders = Counter()
    for image, points in zip(images, landmarks, strict=True):
        sight = ((points >= 1) & (points <= 62)).all(axis=1)
        assert sight.sum() >= 35
        shown = dots_at(image, points)[sight]
        orders[(shown == np.arange(68)[sight]).all(), (shown == MIRRORED[sight]).all()] += 1
    # A mirrored picture's left dots are where its right landmarks are said to be.
    assert orders.keys() == {(True, False), (False, True)}
    assert 15 < orders[True, False] < 45
    assert Counter(map(ground_of, images)) == dict.fromkeys(range(6), 10)
    assert len({points.tobytes() for points in landmarks}) == 60


def test_weights_choose_folders_and_a_run_goes_on_where_it_was(built, tmp_path):
    source = OnTheFlySource(str(built[0]), RECIPE.augmentation, weights={"more": 1.0}, seed=3)
    images, landmarks = samples_of_caffe(tmp_path, source, caffe_pb2.TRAIN, 20)
    assert set(map(ground_of, images)) == {4, 5}
    rest = OnTheFlySource(str(built[0]), RECIPE.augmentation, weights={"more": 1.0}, seed=3, first_sample=10)
    again = samples_of_caffe(tmp_path, rest, caffe_pb2.TRAIN, 10)
    np.testing.assert_array_equal(again[0], images[10:])
    np.testing.assert_array_equal(again[1], landmarks[10:])


def test_validation_is_on_the_pair_of_lmdbs_beside_them(built, tmp_path):
    source = OnTheFlySource(str(built[0]), RECIPE.augmentation)
    images, landmarks = samples_of_caffe(tmp_path, source, caffe_pb2.TEST, 6, batch=6)
    assert list(map(ground_of, images)) == list(range(6))
    for image, points in zip(images, landmarks, strict=True):
        np.testing.assert_array_equal(dots_at(image, points), np.arange(68))


def test_a_photo_that_cannot_be_read_is_left_out(photos, tmp_path):
    jobs = jobs_in(photos)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    (tmp_path / "lmdb").mkdir()
    told = []
    jobs[2] = dataclasses.replace(jobs[2], sample=dataclasses.replace(jobs[2].sample, path=broken))
    written = write_faces(PartRequest(tmp_path / "lmdb", "train", jobs, RECIPE, 1, plain, told.append))
    assert [str(broken) in str(error) for error in told] == [True]
    assert written.skipped == [jobs[2].sample.relative]
    assert written.faces == {"faces": 3, "more": 2}
    assert [folder for folder, _ in read_faces(tmp_path / "lmdb", "train")] == ["faces"] * 3 + ["more"] * 2
    (tmp_path / "none").mkdir()
    with pytest.raises(FaceAlignError, match="no photo of the training part"):
        write_faces(PartRequest(tmp_path / "none", "train", [jobs[2]], RECIPE, 1, plain, told.append))


def test_the_size_foretold_is_enough(built, photos):
    needed = sum(face_record_bytes(job, RECIPE) for job in jobs_in(photos))
    held = sum(len(value) for _, value in entries(built[0]))
    assert held <= needed <= 3 * held


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\xff\xff", "not a Datum"),
        (caffe_pb2.Datum(channels=3, height=2, width=2, data=bytes(11)), "not an image"),
        (caffe_pb2.Datum(channels=1, height=2, width=2, data=bytes(4)), "not an image"),
        (caffe_pb2.Datum(channels=3, height=1, width=1, data=bytes(3), float_data=[1] * 139), "not a square"),
        (caffe_pb2.Datum(channels=3, height=1, width=1, data=bytes(3), float_data=[1] * 140), "not a square"),
    ],
)
def test_a_record_that_is_no_face_is_named(built, tmp_path, value, message):
    data = value if isinstance(value, bytes) else value.SerializeToString()
    with pytest.raises(ValueError, match=message):
        decode_face(data)
    pairs = [*entries(built[0])[:2], (b"000000002 bad", data)]
    with lmdb.open(str(tmp_path / "train_faces"), map_size=1 << 24) as made, made.begin(write=True) as opened:
        for key, record in pairs:
            opened.put(key, record)
    with pytest.raises(FaceAlignError, match=f"train_faces: the face 000000002 bad: {message}.*again"):
        check_faces(tmp_path, "train")


def test_what_is_missing_is_one_line(tmp_path):
    with pytest.raises(FaceAlignError, match="train_faces: no LMDB; make it with `make lmdb ON_THE_FLY=1"):
        check_faces(tmp_path, "train")
    lmdb.open(str(tmp_path / "train_faces")).close()
    with pytest.raises(FaceAlignError, match="holds no face"):
        check_faces(tmp_path, "train")


def test_the_augmentation_comes_from_the_description(tmp_path):
    settings = Augmentation(0.25, 0.02, (0.95, 1.05), (-10, 20), (1, 2))
    write_meta(tmp_path, {**described_settings(SampleSettings(ModelSpec(), settings, 0)), "parts": {}})
    assert read_meta(tmp_path).augmentation == settings
