"""From photos to LMDBs: what the databases hold is read back from their pixels, by the colours of dots."""

import binascii
import dataclasses
import hashlib
import json
import shutil
from collections import Counter

import cv2
import lmdb
import numpy as np
import pytest

from facealign.crops.augmentation import Augmentation
from facealign.crops.model_spec import ModelSpec
from facealign.crops.square import crop_face
from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from facealign.geometry.boxes import box_from_landmarks
from facealign.io.images import read_image
from facealign.lmdb.jobs import Job, PartRequest, SampleSettings, described_settings, fingerprint
from facealign.lmdb.pairs import read_part
from facealign.lmdb.sample_writer import CHUNK, write_training_part, write_validation_part
from tests.dotted_photos import DOTS, MIRRORED, dots_at, dotted_photo, ground_of, write_photo

FACES, COPIES = 9, 60
assert FACES * COPIES > CHUNK  # shuffling and digests go beyond one chunk
CLEAN = Augmentation(noise_std=(0, 0))


def plain(items, total, what):
    return items


def never(error):
    raise error


def jobs_in(root):
    return [Job(sample, box_from_landmarks(sample.points), "landmarks") for sample in scan(root).samples]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of FACES photos; the ground of photo i is colour i."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(FACES):
        write_photo(root / ("faces" if index < 6 else "more"), f"face{index}", rng, index)
    return root


def build(directory, photos, augmentation=CLEAN, copies=COPIES, seed=0, workers=1, spec=None, on_skip=never):
    directory.mkdir()
    recipe = SampleSettings(spec or ModelSpec(), augmentation, seed)
    return write_training_part(
        PartRequest(directory, "train", jobs_in(photos), recipe, workers, plain, on_skip), copies
    )


@pytest.fixture(scope="module")
def built(photos, tmp_path_factory):
    """(folder, what was reported, crops (n, h, w, 3), landmarks (n, 68, 2) in crop pixels)."""
    directory = tmp_path_factory.mktemp("built") / "lmdb"
    written = build(directory, photos)
    return directory, written, *crops_of(directory, "train")


def crops_of(directory, part, size=(64, 64)):
    """A part's crops and its landmarks in their pixels: (1-based pixel) / side, x values then y values."""
    images, values = read_part(directory, part)
    x, y = values[:, :68].astype(float) * size[1] - 1, values[:, 68:].astype(float) * size[0] - 1
    return images.transpose(0, 2, 3, 1), np.stack([x, y], axis=-1)


def orders(crops, landmarks):
    """Of each sample: +1 where every dot in sight is its landmark's, -1 where its mirror's, else 0."""
    found = []
    for crop, points in zip(crops, landmarks, strict=True):
        sight = ((points >= 1) & (points <= np.array(crop.shape[1::-1]) - 2)).all(axis=1)
        assert sight.sum() >= 35
        shown = dots_at(crop, points)[sight]
        upright, mirrored = (shown == np.arange(68)[sight]).all(), (shown == MIRRORED[sight]).all()
        found.append(int(upright) - int(mirrored))
    return np.array(found)


def test_every_dot_lies_where_the_landmarks_of_its_sample_say(built):
    _, _, crops, landmarks = built
    order = orders(crops, landmarks)
    assert set(order) == {1, -1}
    assert (order == -1).mean() == pytest.approx(0.5, abs=0.08)


def test_landmarks_are_at_the_middle_of_their_dots(built):
    """On average to a tenth of a pixel: a place counted from 1 instead of 0 would be one pixel off."""
    off = []
    for crop, points in zip(*built[2:], strict=True):
        for index, place in zip(dots_at(crop, points), points, strict=True):
            rows, columns = np.nonzero((crop == DOTS[index]).all(axis=-1))
            if index >= 0 and len(rows) >= 6:
                off.append((columns.mean() - place[0], rows.mean() - place[1]))
    assert len(off) > 10_000
    np.testing.assert_allclose(np.mean(off, axis=0), 0, atol=0.1)


def test_every_dot_is_at_its_landmark_for_an_input_that_is_not_square(photos, tmp_path):
    spec = ModelSpec(input_height=70, input_width=60)
    build(tmp_path / "lmdb", photos, copies=6, spec=spec)
    crops, landmarks = crops_of(tmp_path / "lmdb", "train", (70, 60))
    assert crops.shape[1:] == (70, 60, 3)
    assert set(orders(crops, landmarks)) == {1, -1}


def test_a_photo_is_taken_as_it_is_stored_whatever_its_orientation_tag_says(tmp_path):
    """Annotations are made on the pixels as they are."""
    image, _ = dotted_photo(np.random.default_rng(1), 3)
    write_photo(tmp_path / "faces", "face", np.random.default_rng(1), 3)
    (tmp_path / "faces" / "face.png").unlink()
    settings = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    _, encoded = cv2.imencode(".jpg", image, settings)
    # tag 0x0112, of one short number: 6, a quarter turn
    exif = bytes.fromhex("45786966 0000 4d4d002a00000008 0001 0112 0003 00000001 0006 0000 00000000")
    tag = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "faces" / "face.jpg").write_bytes(encoded.tobytes()[:2] + tag + encoded.tobytes()[2:])
    turned = read_image(tmp_path / "faces" / "face.jpg")
    assert turned.shape[:2] == image.shape[1::-1]
    build(tmp_path / "lmdb", tmp_path, copies=4)
    val = tmp_path / "val"
    val.mkdir()
    settings = SampleSettings(ModelSpec(), CLEAN, 0)
    write_validation_part(PartRequest(val, "val", jobs_in(tmp_path), settings, 1, plain, never))
    for directory, part in ((tmp_path / "lmdb", "train"), (val, "val")):
        assert 0 not in orders(*crops_of(directory, part))


@pytest.mark.parametrize(("flip", "order"), [(0.0, 1), (1.0, -1)])
def test_a_flip_swaps_left_and_right_landmarks(photos, tmp_path, flip, order):
    build(tmp_path / "lmdb", photos, dataclasses.replace(CLEAN, flip=flip), copies=3)
    crops, landmarks = crops_of(tmp_path / "lmdb", "train")
    assert set(orders(crops, landmarks)) == {order}


def test_every_face_is_there_as_often_as_asked_for_and_never_twice_the_same(built):
    _, written, crops, landmarks = built
    assert Counter(map(ground_of, crops)) == dict.fromkeys(range(FACES), COPIES)
    assert written.samples == FACES * COPIES
    assert written.faces == {"faces": 6, "more": 3}
    assert len({crop.tobytes() for crop in crops}) == FACES * COPIES
    assert len({points.tobytes() for points in landmarks}) == FACES * COPIES


def test_a_folder_may_have_copies_of_its_own(photos, tmp_path):
    """Weighed, samples are still shuffled over everything and each is another variation."""
    made = {}
    for workers in (1, 2):
        directory = tmp_path / f"{workers}"
        directory.mkdir()
        settings = SampleSettings(ModelSpec(), CLEAN, 0)
        request = PartRequest(directory, "train", jobs_in(photos), settings, workers, plain, never)
        made[workers] = write_training_part(request, 4, copies_of={"more": 11})
    assert made[1] == made[2]
    assert made[1].samples == 6 * 4 + 3 * 11
    crops, landmarks = crops_of(tmp_path / "1", "train")
    grounds = list(map(ground_of, crops))
    assert Counter(grounds) == {face: 4 if face < 6 else 11 for face in range(FACES)}
    assert len({points.tobytes() for points in landmarks}) == len(crops)
    assert 0 not in orders(crops, landmarks)
    assert len(set(grounds[:20])) >= 6


def test_samples_are_shuffled_over_all_faces_and_copies(built):
    faces = np.array([ground_of(crop) for crop in built[2]])
    n = len(faces)
    # of a random order, one neighbour in FACES is of the same face: 59 of 539, give or take 7
    same = (faces[1:] == faces[:-1]).sum()
    assert abs(same - (n - 1) * (COPIES - 1) / (n - 1)) < 30
    for face in range(FACES):
        places = np.flatnonzero(faces == face) / n
        assert places.mean() == pytest.approx(0.5, abs=0.16)  # four standard deviations
        assert np.all(np.histogram(places, 4, (0, 1))[0] >= 3)
    assert abs(np.corrcoef(faces, np.arange(n))[0, 1]) < 0.18


def test_another_seed_shuffles_otherwise(built, photos, tmp_path):
    build(tmp_path / "lmdb", photos, seed=1)
    orders = [
        [ground_of(crop) for crop in crops] for crops in (built[2], crops_of(tmp_path / "lmdb", "train")[0])
    ]
    assert (np.array(orders[0]) == orders[1]).mean() < 0.3


def turns_of(photos, crops, landmarks):
    """Degrees by which each sample is turned clockwise on the screen, and its scale, from its landmarks."""
    truth = [job.sample.points for job in jobs_in(photos)]
    boxes = [box_from_landmarks(points) for points in truth]
    turns, scales = [], []
    for crop, points, order in zip(crops, landmarks, orders(crops, landmarks), strict=True):
        face = ground_of(crop)
        if order < 0:  # back to what it was before the flip
            points = points[MIRRORED] * (-1, 1)
        # least squares for points = linear @ truth + offset
        known = np.column_stack([truth[face], np.ones(68)])
        linear = np.linalg.lstsq(known, points, rcond=None)[0][:2].T
        turns.append(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
        unvaried = 64 / (1.05 * (boxes[face][2:] - boxes[face][:2]).max())
        scales.append(np.sqrt(np.linalg.det(linear)) / unvaried)
    return np.array(turns), np.array(scales)


def test_faces_are_turned_up_to_30_degrees_either_way_and_scaled_in_their_range(built, photos):
    turns, scales = turns_of(photos, *built[2:])
    assert np.abs(turns).max() <= 30.001
    assert turns.min() < -28
    assert turns.max() > 28
    np.testing.assert_allclose(np.histogram(turns, 4, (-30, 30))[0] / len(turns), 0.25, atol=0.08)
    assert scales.min() >= 0.9 - 1e-3
    assert scales.max() <= 1.15 + 1e-3
    assert np.ptp(scales) > 0.24


def test_another_range_of_rotation_is_obeyed(photos, tmp_path):
    build(tmp_path / "lmdb", photos, dataclasses.replace(CLEAN, flip=0, rotate_range=(10, 15)), copies=5)
    turns, _ = turns_of(photos, *crops_of(tmp_path / "lmdb", "train"))
    assert turns.min() >= 9.99
    assert turns.max() <= 15.01


def test_samples_are_shifted_up_to_their_share_and_noisy(photos, tmp_path):
    still = {"flip": 0, "scale_range": (1, 1), "rotate_range": (0, 0)}
    build(tmp_path / "lmdb", photos, Augmentation(**still, shift=0.1, noise_std=(3, 3)), copies=30)
    crops, landmarks = crops_of(tmp_path / "lmdb", "train")
    plain_landmarks = {}
    for index, job in enumerate(jobs_in(photos)):
        _, affine = crop_face(read_image(job.sample.path), job.box, ModelSpec())
        plain_landmarks[index] = job.sample.points @ affine[:, :2].T + affine[:, 2]
    # noise hides the ground's exact colour: tell a face by the shape of its landmarks
    moves = []
    for points in landmarks:
        off = [points - known for known in plain_landmarks.values()]
        moves.append(min(off, key=lambda move: np.ptp(move, axis=0).max()).mean(axis=0))
    assert np.abs(moves).max() <= 6.4 + 1e-3
    assert np.abs(moves).max(axis=0).min() > 6
    ground = crops[:, 3:9, 3:9, 0].astype(float)
    assert 2 < np.median(ground.std(axis=(1, 2))) < 4


def contents(directory):
    """Every key and value of every database below a folder."""
    found = {}
    for path in sorted(directory.glob("*/data.mdb")):
        with lmdb.open(str(path.parent), readonly=True, lock=False) as opened, opened.begin() as transaction:
            found[path.parent.name] = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
    return found


def test_the_same_seed_gives_the_same_contents_by_any_workers_and_another_seed_others(
    built, photos, tmp_path
):
    written = built[1]
    noisy = dataclasses.replace(CLEAN, noise_std=(0, 6))
    alone = build(tmp_path / "alone", photos, noisy, copies=58, seed=3, workers=1)
    two = build(tmp_path / "two", photos, noisy, copies=58, seed=3, workers=2)
    other = build(tmp_path / "other", photos, noisy, copies=58, seed=4, workers=1)
    assert contents(tmp_path / "alone") == contents(tmp_path / "two")
    assert alone == two
    assert len(contents(tmp_path / "alone")["train_images"]) == 9 * 58 > CHUNK
    # not the order alone depends on the seed
    pictures = [
        {value for _, value in contents(tmp_path / name)["train_images"]} for name in ("alone", "other")
    ]
    assert pictures[0].isdisjoint(pictures[1])
    assert alone.sha256 != other.sha256
    assert alone.sha256 != written.sha256


def test_the_digest_is_that_of_the_databases(built):
    directory, written, *_ = built
    parts = contents(directory)
    both = [
        (image, values)
        for (_, image), (_, values) in zip(parts["train_images"], parts["train_landmarks"], strict=True)
    ]
    checksums = np.array([binascii.crc32(image + values) for image, values in both], "<u4")
    assert hashlib.sha256(checksums.tobytes()).hexdigest() == written.sha256


def test_validation_faces_are_the_plain_crops_in_order(photos, tmp_path):
    jobs, recipe = jobs_in(photos), SampleSettings(ModelSpec(), Augmentation(), 0)
    one = tmp_path / "one"
    one.mkdir()
    written = write_validation_part(PartRequest(one, "val", jobs, recipe, 1, plain, never))
    crops, landmarks = crops_of(one, "val")
    assert written.samples == len(crops) == FACES
    for job, crop, points in zip(jobs, crops, landmarks, strict=True):
        shown, affine = crop_face(read_image(job.sample.path), job.box, ModelSpec())
        np.testing.assert_array_equal(crop, shown)
        expected = job.sample.points @ affine[:, :2].T + affine[:, 2]
        np.testing.assert_allclose(points, expected, atol=1e-4)
    assert set(orders(crops, landmarks)) == {1}
    values = contents(one)
    everything = b"".join(
        image + target
        for (_, image), (_, target) in zip(values["val_images"], values["val_landmarks"], strict=True)
    )
    assert hashlib.sha256(everything).hexdigest() == written.sha256
    two = tmp_path / "two"
    two.mkdir()
    assert write_validation_part(PartRequest(two, "val", jobs, recipe, 2, plain, never)) == written
    assert contents(two) == values


@pytest.fixture
def damaged(photos, tmp_path):
    """A copy of the photos, of which one is truncated and one is no picture."""
    root = tmp_path / "damaged"
    shutil.copytree(photos, root)
    whole = (root / "faces" / "face2.png").read_bytes()
    (root / "faces" / "face2.png").write_bytes(whole[: len(whole) // 2])
    (root / "faces" / "face5.png").write_text("no picture")
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_photos_that_cannot_be_read_are_reported_and_left_out(damaged, tmp_path, workers):
    reported = []
    written = build(tmp_path / "lmdb", damaged, copies=2, workers=workers, on_skip=reported.append)
    assert [name.rsplit("/", 1)[-1] for name in written.skipped] == ["face2.png", "face5.png"]
    assert [str(error).count("face2.png") + 2 * str(error).count("face5.png") for error in reported] == [1, 2]
    crops, landmarks = crops_of(tmp_path / "lmdb", "train")
    assert Counter(map(ground_of, crops)) == {face: 2 for face in range(FACES) if face not in (2, 5)}
    assert 0 not in orders(crops, landmarks)
    assert written.faces == {"faces": 4, "more": 3}
    val = tmp_path / "val"
    val.mkdir()
    recipe = SampleSettings(ModelSpec(), CLEAN, 0)
    request = PartRequest(val, "val", jobs_in(damaged), recipe, workers, plain, reported.append)
    plain_part = write_validation_part(request)
    assert plain_part.skipped == written.skipped
    assert len(reported) == 4
    assert [ground_of(crop) for crop in crops_of(val, "val")[0]] == [0, 1, 3, 4, 6, 7, 8]


def test_what_on_skip_raises_ends_the_work(damaged, tmp_path):
    with pytest.raises(FaceAlignError, match=r"face2\.png"):
        build(tmp_path / "lmdb", damaged, copies=2)


def test_no_readable_photo_is_an_error(photos, tmp_path):
    root = tmp_path / "none"
    shutil.copytree(photos, root)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(FaceAlignError, match="no photo of the training part"):
        build(tmp_path / "lmdb", root, on_skip=lambda error: None)
    settings = SampleSettings(ModelSpec(), CLEAN, 0)
    request = PartRequest(tmp_path, "val", jobs_in(root), settings, 1, plain, [].append)
    with pytest.raises(FaceAlignError, match="no photo of the validation part"):
        write_validation_part(request)


def test_the_loose_crops_are_gone_when_the_part_is_written(built):
    assert sorted(entry.name for entry in built[0].iterdir()) == ["train_images", "train_landmarks"]


def test_the_fingerprint_changes_with_a_photo_a_point_a_box_and_a_name_and_with_nothing_else(
    photos, tmp_path
):
    first = fingerprint(jobs_in(photos))
    root = tmp_path / photos.name
    shutil.copytree(photos, root, copy_function=shutil.copy)  # other times, another place
    jobs = jobs_in(root)
    assert fingerprint(jobs) == first
    moved = jobs[3].box + np.array([0, 0, 0, 1e-9])
    points = jobs[3].sample.points.copy()
    points[67, 1] += 1e-9
    renamed = dataclasses.replace(jobs[3].sample, relative="faces/other.png")
    others = (
        dataclasses.replace(jobs[3], box=moved),
        dataclasses.replace(jobs[3], sample=dataclasses.replace(jobs[3].sample, points=points)),
        dataclasses.replace(jobs[3], sample=renamed),
    )
    seen = {first, *(fingerprint([*jobs[:3], other, *jobs[4:]]) for other in others)}
    seen.add(fingerprint(jobs[:-1]))
    with (root / "faces" / "face3.png").open("ab") as photo:
        photo.write(b"\0")
    seen.add(fingerprint(jobs))
    assert len(seen) == 6


def test_the_recipe_is_described_whole(photos):
    recipe = SampleSettings(
        ModelSpec(deploy="x.prototxt", box_scale=1.3), dataclasses.replace(CLEAN, shift=0.01), 17
    )
    described = json.loads(json.dumps(described_settings(recipe)))
    assert described["seed"] == 17
    augmentation = {
        name: tuple(v) if isinstance(v, list) else v for name, v in described["augmentation"].items()
    }
    assert Augmentation(**augmentation) == recipe.augmentation
    assert ModelSpec.from_json(json.dumps(described["spec"]), "meta") == recipe.spec.portable()
