"""An error of the store ends a command; that of a photo does not. The store and the workers are real."""

import pickle
import socket
import time
from pathlib import PurePosixPath

import fsspec
import numpy as np
import pytest
import s3fs

from facealign.annotation import annotator, turned_folder
from facealign.commands import align, align_images
from facealign.datasets import detected_boxes, duplicates, scan
from facealign.datasets.sample import Sample
from facealign.errors import FaceAlignError, StoreError
from facealign.evaluation.measure import measure
from facealign.io import addresses, images
from facealign.io.addresses import address, read_remote
from facealign.lmdb import context_crop_writer, distillation, jobs, sample_writer
from tests.cluster.conftest import Cluster
from tests.cluster.test_commands import filled

BOX = np.array([10.0, 10.0, 90.0, 90.0])


def sample_at(place):
    return Sample(address(place), np.zeros((68, 2)), "mine", "mine/a.png", "mine/a")


def job_at(place):
    return jobs.Job(sample_at(place), BOX, "mtcnn")


SKIPS = {
    "align": lambda place: align_images._done(
        align_images.opened(align.arguments_of(["photos", "--engine", "onnx"])),
        align_images.Work(address(place), "a.png", "a.png"),
    ),
    "annotate": lambda place: annotator.Annotator.annotate(None, annotator.Photo(address(place), "a.png")),
    "annotate, checksum": lambda place: annotator.stamp_of(annotator.Photo(address(place), "a.png")),
    "detect-faces": lambda place: detected_boxes._find(None, sample_at(place)),
    "detect-faces, checksum": lambda place: detected_boxes.checksum_of(sample_at(place)),
    "evaluate": lambda place: measure([sample_at(place)], lambda *_: None, lambda *_: None),
    "make-lmdb": lambda place: sample_writer._Maker.cut(None, job_at(place)),
    "make-lmdb, checksum": lambda place: jobs.fingerprint([job_at(place)]),
    "make-lmdb, copies": lambda place: duplicates._thumbnail(np.zeros((68, 2)), sample_at(place)),
    "make-lmdb, teacher": lambda place: distillation._distilled((None, 1.0), job_at(place)),
    "make-lmdb, on the fly": lambda place: context_crop_writer._cut(None, job_at(place)),
    "photo's size": lambda place: images.image_size(address(place)),
    "scan": lambda place: scan._sample_of(
        scan._Pair(address(place), address(place), (), "mine", PurePosixPath("mine"))
    ),
    "turn-faces": lambda place: turned_folder._turned(None, turned_folder.Turn(sample_at(place), 1, None, 0)),
}


@pytest.mark.parametrize("skip", SKIPS)
def test_a_missing_photo_is_skipped_and_a_missing_bucket_is_not(skip, bucket):
    SKIPS[skip](f"{bucket}/gone.png")
    with pytest.raises(StoreError, match=r"^s3://nowhere/gone.png: The specified bucket does not exist"):
        SKIPS[skip]("s3://nowhere/gone.png")


def test_errors_of_a_photo_are_none_of_the_store(bucket):
    for name, most in (("gone.png", None), ("gone.png", 99), ("mine", None)):
        with pytest.raises(FaceAlignError, match=r"does not exist.*; a hint") as caught:
            read_remote(address(f"{bucket}/{name}"), "a hint", most)
        assert not isinstance(caught.value, StoreError)


@pytest.fixture
def worker_with(tmp_path, store):
    """A function that starts a scheduler with one worker that has other environment variables."""
    started = Cluster(tmp_path, store)

    def scheduler(**environment):
        started.add_workers(1, environment=environment)
        return started.address

    yield scheduler
    started.close()


@pytest.mark.parametrize(
    "verbs",
    [
        ("detect-faces",),
        pytest.param(("align --format jsonl", "annotate", "make-lmdb --on-the-fly"), marks=pytest.mark.slow),
    ],
)
def test_a_worker_without_credentials_ends_the_command(verbs, worker_with, facealign, bucket, tmp_path):
    scheduler = worker_with(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    for verb in verbs:
        command = filled(verb, photos=bucket, output=tmp_path / verb.split()[0])
        with pytest.raises(StoreError, match=r"^tcp://[^ ]*: s3://faces/data.*NoCredentialsError") as caught:
            facealign(*command, "--scheduler", scheduler)
        assert "\n" not in str(caught.value)


@pytest.fixture
def silent():
    """The address of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_store_that_does_not_answer_is_given_up(silent, bucket, monkeypatch):
    """Within the limits, by a path that was sent elsewhere too."""
    monkeypatch.setattr(addresses, "READ_SECONDS", 0.2)
    monkeypatch.setattr(addresses, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", silent)
    s3fs.S3FileSystem.clear_instance_cache()
    path = pickle.loads(pickle.dumps(address(f"{bucket}/mine/1003_1.png")))
    began = time.monotonic()
    with pytest.raises(StoreError, match=f"^{path}: cannot be read .ReadTimeoutError.*the store's endpoint"):
        read_remote(path, "expected an image")
    s3fs.S3FileSystem.clear_instance_cache()
    assert time.monotonic() - began < 4


def test_limits_that_are_set_elsewhere_come_first(monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 99}})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    assert address("s3://faces/data").fs.config_kwargs == {"connect_timeout": 5, "read_timeout": 99}
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_a_worker_with_another_endpoint_ends_the_command(worker_with, facealign, bucket, tmp_path):
    scheduler = worker_with(AWS_ENDPOINT_URL_S3="http://127.0.0.1:1")
    command = filled("align --format jsonl", photos=bucket, output=tmp_path)
    with pytest.raises(StoreError, match=r"^tcp://[^ ]*: s3://faces/data.*EndpointConnectionError"):
        facealign(*command, "--scheduler", scheduler)
