"""The verbs on a cluster and on photos in an S3 store, against the same on one machine: the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import s3fs
from moto.core import set_initial_no_auth_action_count

from facealign.annotation import annotator
from facealign.commands import align, align_images, detect_faces
from facealign.concurrency.cluster import Scheduler
from facealign.datasets.scan import faces_in, scan
from facealign.errors import FaceAlignError
from facealign.io.addresses import address
from tests.commands.aligning import contents

TEACHER = Path(__file__).parents[2] / "models" / "mobilenet_v2_stage3.onnx"
VERBS = {
    "detect-faces": "detect-faces --data {photos} --output {output}/boxes.json --workers 1",
    "annotate": "annotate --photos {photos} --output {output}/made --no-mesh --with-photos --workers 1",
    "make-lmdb": "make-lmdb --data {photos} --output {output}/lmdb --boxes {boxes} --copies 3 --keep-copies "
    "--min-eye-distance 0 --validation 0.3 --workers 1",
    "make-lmdb --on-the-fly": "make-lmdb --on-the-fly --data {photos} --output {output}/lmdb "
    "--boxes landmarks --min-eye-distance 0 --validation 0 --workers 1 --teacher {teacher}",
    "align": "align {photos} --output {output} --montage",
    "align --format pts": "align {photos} --output {output} --format pts --no-pictures",
    "align --format jsonl": "align {photos} --output {output} --format jsonl --no-pictures",
}


def filled(verb, **values):
    """The arguments of a command line, which no space is in."""
    return [part.format(teacher=TEACHER, **values) for part in VERBS[verb].split()]


@pytest.fixture(scope="session")
def boxes(tmp_path_factory, photos):
    """The boxes of the photos, by one machine."""
    output = tmp_path_factory.mktemp("boxes")
    with pytest.MonkeyPatch.context() as patch:
        verb, *arguments = filled("detect-faces", photos=photos, output=output)
        patch.setattr(sys, "argv", [verb, *arguments])
        detect_faces.main()
    return output / "boxes.json"


QUICK = ("detect-faces", "make-lmdb", "make-lmdb --on-the-fly", "align --format jsonl")


@pytest.mark.parametrize(
    ("verb", "all_ways"),
    [
        *((verb, False) for verb in QUICK),
        *(pytest.param(verb, True, marks=pytest.mark.slow) for verb in VERBS),
    ],
)
def test_a_cluster_and_a_store_give_the_same_bytes(
    verb, all_ways, facealign, cluster, photos, bucket, boxes, tmp_path
):
    ways = {"here": (photos, ()), "store": (bucket, ("--scheduler", cluster.address))}
    if all_ways:
        ways |= {"cluster": (photos, ("--scheduler", cluster.address)), "store, here": (bucket, ())}
    made, said = {}, {}
    for name, (where, extra) in ways.items():
        output = tmp_path / name
        output.mkdir()
        printed = facealign(*filled(verb, photos=where, output=output, boxes=boxes), *extra)
        plain = [text.replace(str(where), "PHOTOS").replace(str(output), "OUTPUT") for text in printed]
        said[name] = [[line for line in text.splitlines() if "/s]" not in line] for text in plain]
        made[name] = {
            file: data.replace(str(where).encode(), b"PHOTOS") for file, data in contents(output).items()
        }
    assert any(made["here"].values())
    for name in ways:
        assert made[name].keys() == made["here"].keys()
        assert [file for file in made[name] if made[name][file] != made["here"][file]] == []
        assert said[name] == said["here"]
    assert "broken.jpg" in str(said["here"])


def test_faces_and_groups_are_found_in_a_store_as_in_a_folder(photos, bucket, cluster):
    def found(root, where):
        result = scan(root, where=where)
        rows = [
            (one.relative, one.subset, one.group, one.points.tolist())
            for one in faces_in(root, where=where).samples
        ]
        return rows, result.profiles, [text.replace(str(root), "") for _, text in result.skipped]

    here = found(photos, 1)
    assert {"pair_1.png", "pair_2.png"} == {Path(row[0]).name for row in here[0] if "pair_1" in row[2]}
    for where in (1, Scheduler(cluster.address)):
        assert found(address(bucket), where) == here


@pytest.mark.parametrize("verb", ["detect-faces", pytest.param("annotate", marks=pytest.mark.slow)])
def test_what_was_done_is_kept(verb, facealign, cluster, photos, bucket, tmp_path):
    """With and without a scheduler, both ways."""
    command = filled(verb, photos=bucket, output=tmp_path)
    facealign(*command, "--scheduler", cluster.address)
    before = contents(tmp_path)
    for extra in ([], ["--scheduler", cluster.address]):
        _, said = facealign(*command, *extra)
        assert " already" in said
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("s3://nowhere/photos", "s3://nowhere/photos: The specified bucket does not exist"),
        ("s3://faces/other", "s3://faces/other: no"),
        ("nowhere://faces/data", "nowhere://faces/data: Unsupported filesystem"),
        ("gs://faces/data", "gs://faces/data: .*gcsfs.*; pip install 'facealign.cluster.' gcsfs"),
        ("https://example.org/photos", "https://example.org/photos: web addresses are not read"),
    ],
)
@pytest.mark.parametrize("verb", ["detect-faces", "annotate", "align"])
def test_a_store_that_cannot_be_read_is_one_line(verb, place, line, facealign, bucket, tmp_path):
    with pytest.raises(FaceAlignError, match=line) as caught:
        facealign(*filled(verb, photos=place, output=tmp_path))
    assert "\n" not in str(caught.value)


def test_a_worker_with_other_networks_is_refused():
    arguments = align.arguments_of(["photos", "--engine", "onnx"])
    settings = align_images.opened(arguments).settings
    assert align_images._opened_like(arguments, settings).settings == settings
    with pytest.raises(FaceAlignError, match=r"other networks than this machine \(weights: .*, here \['0'\]"):
        align_images._opened_like(arguments, {**settings, "weights": ["0"]})
    opened = annotator.Annotator(annotator.AnnotationSettings())
    with pytest.raises(FaceAlignError, match=r"other members than this machine .min_face: 40.0, here 20"):
        annotator._opened_like(annotator.AnnotationSettings(), {**opened.describe(), "min_face": 20})


@pytest.mark.parametrize("others", [["--video", "0"], ["photos", "--show"]])
def test_a_scheduler_is_for_images_alone(others, capsys):
    with pytest.raises(SystemExit, match="2"):
        align.arguments_of([*others, "--scheduler", "tcp://127.0.0.1:1"])
    assert "--scheduler: for images" in capsys.readouterr().err


def test_a_store_that_refuses_is_one_line(facealign, bucket, tmp_path, monkeypatch):
    command = filled("align", photos=bucket, output=tmp_path)

    @set_initial_no_auth_action_count(0)
    def refused():
        facealign(*command)

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(FaceAlignError, match=f"^{bucket}: access denied .*see its credentials$"):
        refused()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(FaceAlignError, match=f"^{bucket}: cannot be read .NoCredentialsError: .*credentials"):
        facealign(*command)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def many(tmp_path, photos):
    """A folder with 60 photos."""
    (tmp_path / "many").mkdir()
    picture = next(photos.rglob("1000_1.png"))
    for number in range(60):
        for suffix in (".png", ".pts"):
            shutil.copy(picture.with_suffix(suffix), tmp_path / "many" / f"{number:02}{suffix}")
    return tmp_path / "many"


def started(command):
    line = [sys.executable, "-m", "facealign", *map(str, command)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(file, number, process):
    end = time.monotonic() + 60
    while not file.exists() or file.read_bytes().count(b"\n") < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "growing"), [("align --format jsonl", "landmarks.jsonl"), ("detect-faces", "boxes.json.found")]
)
def test_after_kills_of_workers_and_clients_the_result_is_that_of_one_machine(
    verb, growing, facealign, cluster, many, tmp_path
):
    (tmp_path / "here").mkdir()
    facealign(*filled(verb, photos=many, output=tmp_path / "here"))
    output = tmp_path / "cluster"
    output.mkdir()
    command = [*filled(verb, photos=many, output=output), "--scheduler", cluster.address]
    for ending, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        process = started(command)
        lines = (output / growing).read_bytes().count(b"\n") if (output / growing).exists() else 0
        wait_for_lines(output / growing, lines + 3, process)
        os.kill(min(cluster.workers().values()), signal.SIGKILL)
        process.send_signal(ending)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        if code == 130:
            assert said.splitlines()[-1] == "interrupted"
            assert "Traceback" not in said
    process = started(command)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert " already" in said
    assert contents(output) == contents(tmp_path / "here")
