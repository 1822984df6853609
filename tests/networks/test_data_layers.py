"""Where train nets get their data: fields as Caffe reads them, and a run of the real Caffe on each."""

import dataclasses
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

from facealign.caffe_files import prototxt
from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.augmentation import Augmentation
from facealign.engines.pycaffe import import_caffe
from facealign.networks import mobilenet_v2, vgg_shadow
from facealign.networks.data_layers import (
    PHOTOMETRIC,
    Change,
    Hdf5Source,
    ImageListSource,
    LmdbSource,
    OnTheFlySource,
    data_layers,
)
from facealign.networks.recipes import RECIPES
from facealign.networks.solver import solver
from tests.random_weights import random_landmarks, write_lmdbs

TRAIN, TEST = caffe_pb2.TRAIN, caffe_pb2.TEST
NETS = {"mobilenet_v2/stage2": mobilenet_v2, "vgg_shadow": vgg_shadow}


def in_caffe_s_schema(layers):
    text = text_format.MessageToString(caffe_pb2.NetParameter(layer=layers))
    return text_format.Parse(text, import_caffe().proto.caffe_pb2.NetParameter()).layer


def phase(layer):
    (rule,) = layer.include
    return rule.phase


def check_pixels(layer):
    assert list(layer.transform_param.mean_value) == [127.5]
    assert layer.transform_param.scale == 0.0078125
    assert not layer.transform_param.mirror


def test_lmdbs_come_in_pairs():
    layers = in_caffe_s_schema(data_layers(LmdbSource("somewhere/lmdb"), 64, (64, 64)))
    found = {}
    for layer in layers:
        assert layer.type == "Data"
        assert layer.data_param.backend == layer.data_param.LMDB
        assert layer.data_param.batch_size == 64
        found[phase(layer), layer.top[0]] = (layer.name, layer.data_param.source)
        if layer.top[0] == "data":
            check_pixels(layer)
        else:
            # Landmarks are what they are: no mean is taken off.
            assert not layer.HasField("transform_param")
    assert found == {
        (TRAIN, "data"): ("data", "somewhere/lmdb/train_images"),
        (TRAIN, "landmark"): ("landmark", "somewhere/lmdb/train_landmarks"),
        (TEST, "data"): ("data", "somewhere/lmdb/val_images"),
        (TEST, "landmark"): ("landmark", "somewhere/lmdb/val_landmarks"),
    }


def test_fresh_samples_vary_as_asked_and_validation_does_not():
    source = OnTheFlySource(
        "somewhere/fresh",
        Augmentation(0.25, 0.02, (0.95, 1.05), (-10, 20), (1, 2)),
        {**PHOTOMETRIC, "blur": Change(0.5, 0.25, 2)},
        {"afw": 2.0, "*": 1.0},
        7,
        640,
    )
    train, *test = in_caffe_s_schema(data_layers(source, 64, (70, 60)))
    assert (train.name, train.type, list(train.top)) == ("data", "AugmentedFaceData", ["data", "landmark"])
    assert phase(train) == TRAIN
    check_pixels(train)
    found = train.augmented_face_data_param
    assert (found.source, found.batch_size) == ("somewhere/fresh/train_faces", 64)
    assert (found.height, found.width, found.seed, found.first_sample) == (70, 60, 7, 640)
    assert [(list(each.name), each.weight) for each in found.set_weight] == [(["afw"], 2), (["*"], 1)]
    numbers = [found.flip, found.shift, found.scale_min, found.scale_max]
    numbers += [found.rotate_min, found.rotate_max, found.noise_std_min, found.noise_std_max]
    assert numbers == pytest.approx([0.25, 0.02, 0.95, 1.05, -10, 20, 1, 2])
    assert (found.blur.probability, found.blur.low, found.blur.high) == (0.5, 0.25, 2)
    for name in PHOTOMETRIC:
        assert getattr(found, name).probability > 0
    pair = in_caffe_s_schema(data_layers(LmdbSource("somewhere/fresh"), 64, (70, 60)))
    assert test == [layer for layer in pair if phase(layer) == TEST]


def test_photometric_augmentation_is_what_the_released_networks_were_trained_with():
    """Other ranges are another training: models/*.md, which name these changes, would no longer be true.

    Of a crop, an occlusion covers a tenth to four tenths of each side, in one sample of five.
    """
    train, *_ = in_caffe_s_schema(data_layers(OnTheFlySource(changes=PHOTOMETRIC), 64, (64, 64)))
    found = {
        field.name: (value.probability, value.low, value.high)
        for field, value in train.augmented_face_data_param.ListFields()
        if field.message_type is not None and field.message_type.name == "RandomChange"
    }
    assert found == {
        "shade": pytest.approx((0.3, 0.1, 0.5)),
        "channel_gain": pytest.approx((0.3, 0.8, 1.2)),
        "contrast": pytest.approx((0.5, 0.6, 1.4)),
        "brightness": pytest.approx((0.5, -40, 40)),
        "grey": pytest.approx((0.1, 0, 0)),
        "blur": pytest.approx((0.2, 0.3, 1.2)),
        "occlusion": pytest.approx((0.2, 0.1, 0.4)),
    }


def test_the_image_list_is_the_published_layer():
    train, test = in_caffe_s_schema(data_layers(ImageListSource("a.txt", "b.txt"), 64, (64, 48)))
    for layer, source in ((train, "a.txt"), (test, "b.txt")):
        assert (layer.name, layer.type, list(layer.top)) == ("data", "ImageFloatData", ["data", "landmark"])
        check_pixels(layer)
        images = layer.image_data_param
        assert (images.source, images.batch_size) == (source, 64)
        assert (images.new_height, images.new_width) == (64, 48)
        assert images.is_color
        assert layer.image_float_data_param.label_dim == 136
    assert (phase(train), phase(test)) == (TRAIN, TEST)
    assert train.image_data_param.shuffle
    assert train.transform_param.pad_ratio == pytest.approx(0.15)
    assert not test.image_data_param.shuffle
    assert test.transform_param.pad_ratio == 0


def test_hdf5_has_both_blobs_in_one_layer():
    train, test = in_caffe_s_schema(data_layers(Hdf5Source("a.txt", "b.txt"), 256, (70, 60)))
    for layer, source in ((train, "a.txt"), (test, "b.txt")):
        # The tops are the names of the datasets in the files.
        assert (layer.name, layer.type, list(layer.top)) == ("data", "HDF5Data", ["data", "landmark"])
        assert (layer.hdf5_data_param.source, layer.hdf5_data_param.batch_size) == (source, 256)
        # Caffe transforms no HDF5 data, and ends the process when told to.
        assert not layer.HasField("transform_param")
    assert (phase(train), phase(test)) == (TRAIN, TEST)


@pytest.mark.parametrize("name", NETS)
def test_every_source_feeds_the_same_net(name):
    module, recipe = NETS[name], RECIPES[name]
    behind = []
    kinds = ("Data", "ImageFloatData", "HDF5Data", "AugmentedFaceData")
    for source, count in (
        (LmdbSource(), 4),
        (OnTheFlySource(), 3),
        (ImageListSource(), 2),
        (Hdf5Source(), 2),
    ):
        net = module.train_val(recipe, source)
        layers = [layer for layer in net.layer if layer.type not in kinds]
        behind.append([layer.SerializeToString() for layer in layers])
        assert len(net.layer) - len(layers) == count
    assert all(each == behind[0] for each in behind)


def write_net(tmp_path, name, source, batch):
    path = tmp_path / "train_val.prototxt"
    recipe = dataclasses.replace(RECIPES[name], batch_size=batch, test_iter=1)
    path.write_text(prototxt.text(NETS[name].train_val(recipe, source), "test"))
    return path, recipe


@pytest.mark.parametrize("name", NETS)
def test_caffe_reads_pairs_of_lmdbs_in_step(name, tmp_path):
    size = NETS[name].SIZE
    samples = write_lmdbs(tmp_path / "lmdb", size, n=3)
    path, _ = write_net(tmp_path, name, LmdbSource(str(tmp_path / "lmdb")), 2)
    caffe = import_caffe()
    net = caffe.Net(str(path), caffe.TEST)
    images, landmarks = samples["val"]
    for step in range(4):
        net.forward()
        wanted = [(2 * step + i) % 3 for i in range(2)]
        expected = (images[wanted].astype(np.float64) - 127.5) / 128
        np.testing.assert_allclose(net.blobs["data"].data, expected, atol=1e-6)
        np.testing.assert_array_equal(net.blobs["landmark"].data.reshape(2, 136), landmarks[wanted])


@pytest.mark.parametrize("name", NETS)
def test_caffe_trains_on_an_image_list(name, tmp_path):
    """256x256 crops on disk, as published; one step of the solver moves the weights."""
    rng = np.random.default_rng(3)
    landmarks = random_landmarks(rng, 4)
    lines, images = [], []
    for index, row in enumerate(landmarks):
        image = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        file = tmp_path / f"face {index}.png"
        assert cv2.imwrite(str(file), image)
        images.append(image)
        lines.append(" ".join([str(file), *(f"{value:.9g}" for value in row)]))
    for part in ("train", "val"):
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    source = ImageListSource(str(tmp_path / "train.txt"), str(tmp_path / "val.txt"))
    path, recipe = write_net(tmp_path, name, source, 4)
    caffe = import_caffe()

    test = caffe.Net(str(path), caffe.TEST)
    test.forward()
    height, width = NETS[name].SIZE
    expected = np.stack([cv2.resize(image, (width, height)) for image in images]).transpose(0, 3, 1, 2)
    # The process has two OpenCVs, which may round a resized pixel differently.
    np.testing.assert_allclose(test.blobs["data"].data, (expected - 127.5) / 128, atol=1.01 / 128)
    np.testing.assert_allclose(test.blobs["landmark"].data, landmarks, rtol=1e-6)

    message = solver(recipe, str(path), snapshot_prefix=str(tmp_path / "s"), seed=1)
    (tmp_path / "solver.prototxt").write_text(prototxt.text(message, "test"))
    run = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    before = {layer: [blob.data.copy() for blob in blobs] for layer, blobs in run.net.params.items()}
    run.step(1)
    (loss,) = (blob for blob in run.net.outputs if "loss" in blob)
    assert 0 < float(run.net.blobs[loss].data) < 1e4
    assert run.net.blobs["data"].data.shape == (4, 3, height, width)
    for layer, old in before.items():
        assert (run.net.params[layer][0].data != old[0]).any(), layer


def test_caffe_looks_for_the_hdf5_files_of_the_list(tmp_path):
    (tmp_path / "train.txt").write_text("faces.h5\n")
    path, _ = write_net(tmp_path, "vgg_shadow", Hdf5Source("train.txt", "val.txt"), 2)
    done = subprocess.run(
        [sys.executable, "-c", f"import caffe; caffe.Net({str(path)!r}, caffe.TRAIN)"],
        cwd=tmp_path,
        env={**os.environ, "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "faces.h5" in done.stderr
