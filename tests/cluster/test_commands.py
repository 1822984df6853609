"""The verbs on a cluster and on photos in an S3 store, against the same on one machine: the same bytes."""

import sys
from pathlib import Path

import pytest

from facealign.commands import detect_faces
from facealign.errors import FaceAlignError
from tests.commands.aligning import contents

TEACHER = Path(__file__).parents[2] / "models" / "mobilenet_v2_stage3.onnx"
VERBS = {
    "detect-faces": "detect-faces --data {photos} --output {output}/boxes.json --workers 1",
    "annotate": "annotate --photos {photos} --output {output}/made --no-mesh --with-photos --workers 1",
    "make-lmdb": "make-lmdb --data {photos} --output {output}/lmdb --boxes {boxes} --copies 3 --keep-copies "
    "--min-eye-distance 0 --validation 0.3 --workers 1",
    "make-lmdb --on-the-fly": "make-lmdb --on-the-fly --data {photos} --output {output}/lmdb --boxes landmarks "
    "--min-eye-distance 0 --validation 0 --workers 1 --teacher {teacher}",
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


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "align --format jsonl"])
def test_a_cluster_and_a_store_give_the_same_bytes(verb, facealign, cluster, photos, bucket, boxes, tmp_path):
    made, said = {}, {}
    for name, where, extra in (
        ("here", photos, []),
        ("cluster", photos, ["--scheduler", cluster.address]),
        ("store", bucket, ["--scheduler", cluster.address]),
        ("store, here", bucket, []),
    ):
        output = tmp_path / name
        output.mkdir()
        printed = facealign(*filled(verb, photos=where, output=output, boxes=boxes), *extra)
        plain = [text.replace(str(where), "PHOTOS").replace(str(output), "OUTPUT") for text in printed]
        said[name] = [[line for line in text.splitlines() if "/s]" not in line] for text in plain]
        made[name] = {
            file: data.replace(str(where).encode(), b"PHOTOS") for file, data in contents(output).items()
        }
    assert any(made["here"].values())
    for name in ("cluster", "store", "store, here"):
        assert made[name].keys() == made["here"].keys()
        assert [file for file in made[name] if made[name][file] != made["here"][file]] == []
        assert said[name] == said["here"]
    assert "broken.jpg" in str(said["here"])


@pytest.mark.parametrize("verb", ["detect-faces", "annotate", "align --format jsonl"])
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
