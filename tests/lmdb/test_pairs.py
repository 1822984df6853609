"""Paired LMDBs, read back by the lmdb module, by pycaffe's messages and by Caffe's own Data layer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.lmdb.datum import Records, decode_datum, encode_image, encode_landmarks, key_of
from facealign.lmdb.meta import read_meta, write_meta
from facealign.lmdb.pairs import check_part, pairs_bytes, read_part, read_raw, write_part
from facealign.networks import mobilenet_v2
from facealign.networks.data_layers import LmdbSource
from facealign.networks.recipes import recipe_named

ROOT = Path(__file__).parents[2]
KINDS = ("images", "landmarks")


def samples(n, size=(64, 64), seed=0):
    """n random pictures (h, w, 3) and targets (136,)."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *size, 3), dtype=np.uint8)
    return images, rng.uniform(-0.2, 1.2, (n, 136)).astype(np.float32)


def write(directory, part, n, size=(64, 64), seed=0):
    images, targets = samples(n, size, seed)
    encoded = [
        (encode_image(image), encode_landmarks(values)) for image, values in zip(images, targets, strict=True)
    ]
    directory.mkdir(exist_ok=True)
    write_part(directory, part, n, size, encoded)
    return images, targets


def entries(database):
    """(key, value) pairs of an LMDB."""
    with lmdb.open(str(database), readonly=True, lock=False) as opened, opened.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def rewrite(database, pairs):
    """Put other contents in an LMDB's place."""
    (database / "data.mdb").unlink()
    with (
        lmdb.open(str(database), map_size=1 << 24) as opened,
        opened.begin(write=True) as transaction,
    ):
        for key, value in pairs:
            transaction.put(key, value)


def one_line(error):
    return len(str(error.value).splitlines()) == 1


# One sample; a full leaf page of landmarks and one more; one commit's worth and one more.
@pytest.mark.parametrize("n", [1, 5, 6, 512, 513])
def test_what_is_written_is_read_in_order(tmp_path, n):
    size = (4, 6)
    images, targets = write(tmp_path, "train", n, size)
    read_images, read_targets = read_part(tmp_path, "train")
    np.testing.assert_array_equal(read_images, images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(read_targets, targets)
    assert read_images.dtype == np.uint8
    assert read_targets.dtype == np.float32
    few, _ = read_part(tmp_path, "train", limit=3)
    assert len(few) == min(n, 3)


def test_the_databases_hold_the_samples_under_equal_and_ordered_keys(tmp_path):
    n = 1100
    images, targets = write(tmp_path, "train", n, (2, 2))
    pictures, landmarks = (entries(tmp_path / f"train_{kind}") for kind in KINDS)
    assert [key for key, _ in pictures] == [key for key, _ in landmarks] == [key_of(i) for i in range(n)]
    assert [key for key, _ in pictures] == sorted(key for key, _ in pictures)
    for index in (0, 9, 10, 999, 1000, 1099):
        np.testing.assert_array_equal(decode_datum(pictures[index][1]), images[index].transpose(2, 0, 1))
        np.testing.assert_array_equal(decode_datum(landmarks[index][1]).ravel(), targets[index])
        assert key_of(index) == pictures[index][0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["train_images", "train_landmarks"]


@settings(deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))),
    arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-3, 3, width=32)),
)
def test_pycaffe_reads_our_datums_as_they_were(image, values):
    caffe = import_caffe()
    picture, landmarks = caffe.proto.caffe_pb2.Datum(), caffe.proto.caffe_pb2.Datum()
    picture.ParseFromString(encode_image(image))
    landmarks.ParseFromString(encode_landmarks(values))
    np.testing.assert_array_equal(caffe.io.datum_to_array(picture), image.transpose(2, 0, 1))
    np.testing.assert_array_equal(caffe.io.datum_to_array(landmarks), values[:, None, None])
    np.testing.assert_array_equal(decode_datum(encode_image(image)), image.transpose(2, 0, 1))
    np.testing.assert_array_equal(decode_datum(encode_landmarks(values)), values[:, None, None])


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 5),
    st.sampled_from([1, 2, 136, 200]),
    st.integers(0, 2**32 - 1),
)
def test_samples_encoded_together_are_protobuf_s_bytes(size, n, numbers, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 3, *size), dtype=np.uint8)
    targets = rng.normal(0, 1, (n, numbers)).astype(np.float32)
    records = Records(size, numbers)
    buffer = bytearray(b"\xaa" * (records.bytes * (n + 1)))
    pixels, values = records.blank(buffer, n)
    pixels[:], values[:] = images, targets
    pairs = [tuple(map(bytes, pair)) for pair in records.pairs(buffer, n)]
    assert [sample.tobytes() for sample in records.whole(buffer, n)] == [b"".join(pair) for pair in pairs]
    datum = import_caffe().proto.caffe_pb2.Datum
    assert pairs == [
        (
            datum(channels=3, height=size[0], width=size[1], data=image.tobytes()).SerializeToString(),
            datum(channels=numbers, height=1, width=1, float_data=target.tolist()).SerializeToString(),
        )
        for image, target in zip(images, targets, strict=True)
    ]
    assert buffer[n * records.bytes :] == b"\xaa" * records.bytes


@pytest.mark.parametrize("data", [b"\xff\xff\xff", encode_image(np.zeros((4, 4, 3), np.uint8))[:-5]])
def test_what_is_no_datum_is_refused(data):
    with pytest.raises(ValueError, match="not a Datum"):
        decode_datum(data)


def test_a_datum_whose_numbers_do_not_fill_its_shape_is_refused():
    datum = import_caffe().proto.caffe_pb2.Datum(channels=3, height=4, width=4, data=b"1234")
    with pytest.raises(ValueError, match=r"4 numbers do not fill the shape \(3, 4, 4\)"):
        decode_datum(datum.SerializeToString())


def data_net(tmp_path, batch):
    """The train net of stage 1 on the LMDBs in tmp_path, its data layers only, in both phases."""
    caffe = import_caffe()
    recipe = recipe_named("mobilenet_v2/stage1")
    net = mobilenet_v2.train_val(recipe, LmdbSource(str(tmp_path)))
    del net.layer[4:]
    for layer in net.layer:
        assert layer.type == "Data"
        layer.data_param.batch_size = batch
    path = tmp_path / "data.prototxt"
    path.write_text(text_format.MessageToString(net))
    return {
        part: caffe.Net(str(path), phase) for part, phase in (("train", caffe.TRAIN), ("val", caffe.TEST))
    }


def test_caffe_s_data_layers_read_the_pair_in_step_and_start_again_at_its_end(tmp_path):
    n, batch = 7, 3
    written = {part: write(tmp_path, part, n, seed=seed) for seed, part in enumerate(("train", "val"))}
    for part, net in data_net(tmp_path, batch).items():
        images, targets = written[part]
        # exact: 1/128 is a power of two
        expected = ((images.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2)
        for turn in range(5):
            made = net.forward()
            order = np.arange(turn * batch, (turn + 1) * batch) % n
            np.testing.assert_array_equal(made["data"], expected[order])
            np.testing.assert_array_equal(made["landmark"].reshape(batch, -1), targets[order])
            assert made["data"].shape == (batch, 3, 64, 64)
            assert made["landmark"].shape == (batch, 136, 1, 1)


def test_the_size_foretold_is_enough_and_not_far_off(tmp_path):
    for n, size in ((1, (64, 64)), (4000, (64, 64)), (700, (70, 60))):
        directory = tmp_path / f"{n}"
        write(directory, "train", n, size)
        used = sum((directory / f"train_{kind}" / "data.mdb").stat().st_size for kind in KINDS)
        assert used <= pairs_bytes(n, *size) <= 1.3 * used + (1 << 20)


def test_more_samples_than_announced_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="more than the 2 samples"):
        write_part(tmp_path, "train", 2, (2, 2), [(b"x", b"y")] * 3)


def test_pictures_are_stored_channel_after_channel_in_the_order_blue_green_red(tmp_path):
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10, 20, 30
    image[1, 2, 0] = 99
    assert decode_datum(encode_image(image)).tobytes() == bytes([10] * 5 + [99] + [20] * 6 + [30] * 6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_database_is_named(tmp_path, kind):
    write(tmp_path, "train", 2)
    (tmp_path / f"train_{kind}" / "data.mdb").unlink()
    with pytest.raises(FaceAlignError, match=f"train_{kind}: no LMDB") as error:
        read_part(tmp_path, "train")
    assert one_line(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_of_different_lengths_is_refused(tmp_path, kind):
    write(tmp_path, "train", 4)
    rewrite(tmp_path / f"train_{kind}", entries(tmp_path / f"train_{kind}")[:3])
    with pytest.raises(FaceAlignError, match=r"[34] images, but [34] landmarks") as error:
        read_part(tmp_path, "train", limit=1)
    assert one_line(error)


def test_a_pair_with_different_keys_is_refused(tmp_path):
    write(tmp_path, "train", 4)
    pairs = entries(tmp_path / "train_landmarks")
    rewrite(tmp_path / "train_landmarks", [*pairs[:3], (key_of(9), pairs[3][1])])
    with pytest.raises(FaceAlignError, match="keys are not those of train_landmarks") as error:
        read_part(tmp_path, "train")
    assert one_line(error)


def test_an_empty_part_is_refused(tmp_path):
    write(tmp_path, "val", 0)
    with pytest.raises(FaceAlignError, match="'val' holds no sample") as error:
        read_part(tmp_path, "val")
    assert one_line(error)


def test_a_damaged_sample_is_named(tmp_path):
    write(tmp_path, "train", 4)
    pairs = entries(tmp_path / "train_images")
    rewrite(tmp_path / "train_images", [*pairs[:2], (pairs[2][0], pairs[2][1][:-50]), pairs[3]])
    with pytest.raises(FaceAlignError, match="train sample 000000002") as error:
        read_part(tmp_path, "train")
    assert one_line(error)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_different_sizes_are_refused(tmp_path, kind):
    write(tmp_path, "train", 3)
    pairs = entries(tmp_path / f"train_{kind}")
    other = encode_image(np.zeros((9, 9, 3), np.uint8)) if kind == "images" else encode_landmarks(np.ones(4))
    rewrite(tmp_path / f"train_{kind}", [*pairs[:2], (pairs[2][0], other)])
    with pytest.raises(FaceAlignError, match="train sample 000000002: its size") as error:
        read_part(tmp_path, "train")
    assert one_line(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_another_size_anywhere_is_found(tmp_path, kind):
    write(tmp_path, "train", 300)
    check_part(tmp_path, "train")
    pairs = entries(tmp_path / f"train_{kind}")
    other = encode_image(np.zeros((9, 9, 3), np.uint8)) if kind == "images" else encode_landmarks(np.ones(4))
    rewrite(tmp_path / f"train_{kind}", [*pairs[:257], (pairs[257][0], other), *pairs[258:]])
    what = {"images": "image", "landmarks": "landmarks"}[kind]
    with pytest.raises(
        FaceAlignError, match=f"train sample 000000257: its {what} of shape .* unlike"
    ) as error:
        check_part(tmp_path, "train")
    assert one_line(error)


def like_in_length(kind):
    """A sample of another shape, but with as many numbers, in as many bytes."""
    if kind == "images":
        return encode_image(np.zeros((32, 127, 3), np.uint8)), encode_image(np.zeros((127, 32, 3), np.uint8))
    values = [0.5] * 136
    return tuple(
        caffe_pb2.Datum(channels=c, height=h, width=1, float_data=values).SerializeToString()
        for c, h in ((136, 1), (1, 136))
    )


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_another_shape_is_found_though_it_is_as_long(tmp_path, kind, at):
    """Caffe's Data layer ends the process on it."""
    write(tmp_path, "train", 3, (32, 127))
    usual, other = like_in_length(kind)
    assert len(usual) == len(other)
    database = tmp_path / f"train_{kind}"
    keys = [key for key, _ in entries(database)]
    rewrite(database, [(key, usual) for key in keys])
    check_part(tmp_path, "train")
    rewrite(database, [(key, other if index == at else usual) for index, key in enumerate(keys)])
    what = {"images": "image", "landmarks": "landmarks"}[kind]
    numbers = (
        r"\(3, 127, 32\), unlike \(3, 32, 127\)"
        if kind == "images"
        else r"\(1, 136, 1\), unlike \(136, 1, 1\)"
    )
    with pytest.raises(
        FaceAlignError, match=rf"train sample 00000000{at}: its {what} of shape {numbers}"
    ) as error:
        check_part(tmp_path, "train")
    assert one_line(error)
    if kind == "images":
        with pytest.raises(FaceAlignError, match=f"train sample 00000000{at}: its size differs") as error:
            read_part(tmp_path, "train")
        assert one_line(error)


def test_a_record_that_is_no_datum_is_found(tmp_path):
    write(tmp_path, "train", 3)
    pairs = entries(tmp_path / "train_images")
    rewrite(tmp_path / "train_images", [*pairs[:2], (pairs[2][0], b"no datum")])
    with pytest.raises(FaceAlignError, match="train sample 000000002: its image: not a Datum") as error:
        check_part(tmp_path, "train")
    assert one_line(error)


def test_equal_shapes_may_be_written_in_several_ways(tmp_path):
    """Fields of a Datum come in any order, and a label, which nobody reads, makes it longer."""
    write(tmp_path, "train", 3)
    pairs = entries(tmp_path / "train_images")
    rewrite(tmp_path / "train_images", [pairs[0], (pairs[1][0], b"\x28\x07" + pairs[1][1]), pairs[2]])
    check_part(tmp_path, "train")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.999])
def test_a_database_cut_short_is_refused_before_it_ends_the_process(tmp_path, kind, kept):
    """In a process of its own: LMDB reads through mapped memory, and a missing page is fatal there."""
    write(tmp_path, "train", 300)
    path = tmp_path / f"train_{kind}" / "data.mdb"
    os.truncate(path, int(path.stat().st_size * kept))
    code = (
        "import pathlib, sys; from facealign.lmdb.pairs import read_part\n"
        "from facealign.errors import FaceAlignError\n"
        "try: read_part(pathlib.Path(sys.argv[1]), 'train')\n"
        "except FaceAlignError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1
    assert "make it again" in result.stdout
    assert str(tmp_path) in result.stdout


def test_a_file_that_is_no_database_is_refused(tmp_path):
    write(tmp_path, "train", 2)
    (tmp_path / "train_images" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(FaceAlignError, match="cannot be read") as error:
        read_part(tmp_path, "train")
    assert one_line(error)


def test_a_reader_that_stops_early_lets_go_of_the_files(tmp_path):
    write(tmp_path, "train", 5)
    reader = read_raw(tmp_path, "train")
    assert next(reader)[0] == key_of(0)
    reader.close()
    opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]


@pytest.fixture(params=["disk", "file"])
def small_disk(request, tmp_path):
    """Half a megabyte of disk, where mounting is allowed; else, and besides, files that cannot grow more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    mounts = (
        request.param == "disk" and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    yield disk, "inf" if mounts else str(1 << 19)
    if mounts:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing_under_the_final_name(small_disk):
    disk, limit = small_disk
    code = (
        "import pathlib, resource, sys\n"
        "from facealign.errors import FaceAlignError\n"
        "from facealign.io.atomic import replacing\n"
        "from facealign.lmdb.pairs import write_part\n"
        "if sys.argv[2] != 'inf': resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    with replacing(pathlib.Path(sys.argv[1])) as partial:\n"
        "        partial.mkdir()\n"
        "        write_part(partial, 'train', 1000, (64, 64), ((bytes(12300), b'x') for _ in range(1000)))\n"
        "except FaceAlignError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, disk / "lmdb", limit],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1
    assert "is the disk full?" in result.stdout
    assert list(disk.iterdir()) == []


def test_an_interruption_while_writing_leaves_nothing_and_no_open_file(tmp_path):
    def encoded():
        yield encode_image(np.zeros((2, 2, 3), np.uint8)), b"x"
        raise KeyboardInterrupt

    def build():
        with replacing(tmp_path / "lmdb") as partial:
            partial.mkdir()
            write_part(partial, "train", 5, (2, 2), encoded())

    with pytest.raises(KeyboardInterrupt):
        build()
    assert list(tmp_path.iterdir()) == []
    opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]


def test_meta_comes_back_as_it_was(tmp_path):
    meta = {"spec": {"crop": "square"}, "parts": {"train": {"sha256": "ab", "samples": 3}}, "seed": 7}
    write_meta(tmp_path, meta)
    read = read_meta(tmp_path)
    assert (read.values, read.digests, read.spec.crop) == (meta, {"train": "ab"}, "square")
    assert (read.augmentation, read.validation_faces) == (None, frozenset())
    assert json.loads((tmp_path / "meta.json").read_text()) == meta


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"spec": {}}',
        '{"spec": {}, "parts": []}',
        '{"spec": {}, "parts": {"val": 3}}',
        '{"spec": {}, "parts": {"val": {}}}',
        '{"spec": {"crop": "round"}, "parts": {}}',
        '{"spec": {}, "parts": {}, "augmentation": {"flip": 2}}',
        '{"spec": {}, "parts": {}, "augmentation": {"zoom": 2}}',
        '{"spec": {}, "parts": {}, "augmentation": 3}',
        "\udcff",
    ],
)
def test_what_is_no_description_is_refused(tmp_path, text):
    (tmp_path / "meta.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        FaceAlignError, match=r"meta\.json: (not a (description of LMDBs|JSON|text file)|crop is 'round')"
    ) as error:
        read_meta(tmp_path)
    assert one_line(error)


def test_a_missing_description_says_how_to_make_one(tmp_path):
    with pytest.raises(FaceAlignError, match=r"meta\.json: no such file; make the LMDBs with"):
        read_meta(tmp_path)
