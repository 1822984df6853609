"""Validation faces: nobody is on both sides, whatever the data sets are."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from facealign.datasets.pts import write_pts
from facealign.datasets.sample import Sample, group_of
from facealign.datasets.scan import scan
from facealign.datasets.split import split
from facealign.datasets.validation_300w import (
    HELD_OUT_GROUPS,
    HELD_OUT_PHOTOS,
    PHOTOS,
    VALIDATION_GROUPS,
    in_held_out,
    in_validation,
)
from facealign.errors import FaceAlignError

POINTS = np.zeros((68, 2))


def sample(relative):
    folder = relative.rpartition("/")[0]
    subset = folder.removeprefix("300w/")
    return Sample(Path(relative), POINTS, subset, relative, group_of(relative))


numbers = st.integers(10000, 10012)
small = st.integers(1, 5)
of_lfpw = st.integers(2, 6)  # numbers of photos in no fixed part
NAMES = {
    "afw": st.builds("300w/afw/{}_{}.jpg".format, numbers, small),
    "helen": st.builds("300w/helen/trainset/{}_{}.jpg".format, numbers, small),
    "helen test": st.builds("300w/helen/testset/{}_{}.jpg".format, numbers, small),
    "lfpw": st.builds("300w/lfpw/trainset/image_{:04}.png".format, of_lfpw),
    "lfpw test": st.builds("300w/lfpw/testset/image_{:04}.png".format, of_lfpw),
    "ibug": st.builds("300w/ibug/image_{:03}_{}.jpg".format, small, small),
    "afw turned": st.builds("300w_lp/AFW_{}_{}_{}.jpg".format, numbers, small, small),
    "lfpw test turned": st.builds("300w_lp/LFPW_image_test_{:04}_{}.jpg".format, of_lfpw, small),
    "copies": st.builds("helen_256/{}_{}.jpg".format, numbers, small),
    "videos": st.builds("youtube_faces/{}_{:02}.jpg".format, st.sampled_from(["Ann_A", "Bob", "Eve"]), small),
    "photos": st.builds("mine/{}.jpg".format, st.text("abcxyz", min_size=1, max_size=2)),
}
every_set = st.lists(st.one_of(*NAMES.values()), min_size=1, max_size=60, unique=True).map(
    lambda names: [sample(name) for name in names]
)
seeds = st.integers(0, 2**32)
shares = st.floats(0, 1, exclude_max=True)


def parts(samples, share, seed):
    try:
        return split(samples, share, seed)
    except FaceAlignError:
        assume(False)


def groups(samples):
    return {sample.group for sample in samples}


@settings(deadline=None, max_examples=60)
@given(every_set, shares, seeds)
@example([sample("300w/afw/10000_1.jpg"), sample("300w_lp/AFW_10000_1_1.jpg"), sample("mine/a.jpg")], 0.99, 0)
def test_no_photo_and_no_person_is_on_both_sides(samples, share, seed):
    training, validation = parts(samples, share, seed)
    assert groups(training).isdisjoint(groups(validation))


@settings(deadline=None, max_examples=60)
@given(every_set, shares, seeds)
def test_test_faces_and_their_copies_are_on_no_side(samples, share, seed):
    training, validation = parts(samples, share, seed)
    tested = {sample.group for sample in samples if "testset" in sample.relative or "ibug" in sample.relative}
    for one in (*training, *validation):
        assert not one.is_test
        assert one.is_300w or one.group not in tested
        assert "_test_" not in one.relative


@settings(deadline=None, max_examples=60)
@given(every_set, shares, seeds)
def test_no_face_is_lost_that_could_be_trained_on(samples, share, seed):
    training, validation = parts(samples, share, seed)
    tested = groups(one for one in samples if one.is_test)
    assert training == [
        one
        for one in samples
        if not one.is_test
        and (one.is_300w or one.group not in tested)
        and one.group not in groups(validation)
    ]
    assert validation == [one for one in samples if one in validation]


@settings(deadline=None, max_examples=60)
@given(every_set, shares, seeds)
def test_the_validation_part_is_within_the_share_and_no_group_more_would_fit(samples, share, seed):
    training, validation = parts(samples, share, seed)
    usable = [
        one for one in samples if not one.is_test and (one in training or one.group in groups(validation))
    ]
    candidates = [one for one in usable if one.is_300w] or usable
    wanted = round(share * len(candidates))
    assert len(validation) <= wanted
    sizes = [
        sum(one.group == group for one in candidates) for group in groups(candidates) - groups(validation)
    ]
    assert not [size for size in sizes if len(validation) + size <= wanted]


@settings(deadline=None, max_examples=60)
@given(every_set, shares, seeds)
def test_only_300_w_validates_if_it_is_there(samples, share, seed):
    training, validation = parts(samples, share, seed)
    if any(one.is_300w for one in (*training, *validation)):
        assert all(one.is_300w for one in validation)


@settings(deadline=None, max_examples=60)
@given(every_set, shares, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_and_the_time_of_day_do_not_matter(samples, share, seed, random):
    training, validation = parts(samples, share, seed)
    assert split(samples, share, seed) == (training, validation)
    shuffled = random.sample(samples, len(samples))
    again = split(shuffled, share, seed)
    assert groups(again[1]) == groups(validation)
    for part, other in zip((training, validation), again, strict=True):
        assert other == [one for one in shuffled if one in part]


OTHERS = [sample(f"300w/afw/{10000 + number}_1.jpg") for number in range(100)]


def test_another_seed_draws_others():
    held = [groups(split(OTHERS, 0.1, seed)[1]) for seed in range(20)]
    assert all(len(one) == 10 for one in held)
    # A photo is held by one draw in ten: of 20 draws of 10, about 88 photos at least once.
    assert 75 < len(set().union(*held)) < 97


def test_turned_copies_of_a_validation_photo_are_not_trained_on():
    turned = [
        sample(f"300w_lp/AFW_{10000 + number}_1_{view}.jpg") for number in range(100) for view in range(3)
    ]
    training, validation = split([*OTHERS, *turned], 0.2, 0)
    assert len(validation) == 20
    assert len(training) == 4 * 80


def test_without_300_w_all_may_validate_by_person():
    frames = [sample(f"lfw/Person{letter}_{frame:02}.jpg") for letter in "abcdefghij" for frame in range(12)]
    training, validation = split(frames, 0.25, 3)
    assert len(validation) == 24
    assert len(groups(validation)) == 2
    assert len(training) == 96


def test_a_share_of_0_holds_nothing():
    assert split(OTHERS, 0, 0) == (OTHERS, [])


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        split(OTHERS, share, 0)


def test_test_sets_alone_leave_nothing_to_train_on():
    for samples in ([], [sample("300w/ibug/image_003_1.jpg")]):
        with pytest.raises(FaceAlignError, match="only test sets"):
            split(samples, 0.1, 0)


def test_a_validation_part_that_cannot_be_is_explained():
    """One person, and a share that is less than her faces."""
    frames = [sample(f"youtube_faces/Ann_{frame:02}.jpg") for frame in range(12)]
    with pytest.raises(FaceAlignError, match=r"12 faces in 1 groups.*--validation"):
        split(frames, 0.5, 0)
    with pytest.raises(FaceAlignError, match="--validation"):
        split(OTHERS, 0.001, 0)


def test_a_validation_part_that_takes_all_is_explained():
    with pytest.raises(FaceAlignError, match="smaller --validation"):
        split(OTHERS[:3], 0.9, 0)


# --- the fixed part -----------------------------------------------------------------------------------------
DERIVED = (
    ("300w/afw/261068_1", True),
    ("300w/afw/261068_2", True),
    ("300w/helen/trainset/1691766_1", True),
    ("300w/lfpw/trainset/image_0012", True),
    ("300w_lp_afw/AFW_261068_1_0", False),
    ("300w_lp_afw/AFW_261068_1_13", False),
    ("300w_lp_afw/AFW_261068_2_3", False),
    ("300W-LP/HELEN/HELEN_1691766_1_4", False),
    ("300W-LP/LFPW/LFPW_image_train_0012_7", False),
    ("helen_256/1691766_2", False),
)
"""Pictures of validation photos, and whether they validate; all others are made of them."""
INNOCENT = (
    "300w/afw/261069_1",
    "300w/helen/trainset/1691767_1",
    "300w/lfpw/trainset/image_0011",
    "300w_lp_afw/AFW_261069_1_0",
    "300W-LP/LFPW/LFPW_image_train_0011_7",
    "helen_256/26106_1",
    "youtube_faces/Ann_Other_12",
    "menpo/image_0012",
)


def tree(root, names):
    grid = np.stack(np.meshgrid(np.arange(17.0), np.arange(4.0)), axis=-1).reshape(68, 2)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"{name}.png"), np.zeros((20, 20, 3), np.uint8))
        write_pts(root / f"{name}.pts", grid)
    return scan(root).samples


def stems(samples):
    return {one.relative.removesuffix(".png") for one in samples}


def test_no_picture_made_of_a_validation_photo_is_trained_on(tmp_path):
    samples = tree(tmp_path, [*(name for name, _ in DERIVED), *INNOCENT])
    training, validation = split(samples, 0.1, 0)
    assert stems(validation) == {name for name, validates in DERIVED if validates}
    assert stems(training) == set(INNOCENT)


def test_neither_where_300_w_itself_is_not_here(tmp_path):
    derived = [name for name, _ in DERIVED if not name.startswith("300w/")]
    training, validation = split(tree(tmp_path, [*derived, *INNOCENT[3:]]), 0.4, 0)
    assert stems(training) | stems(validation) == set(INNOCENT[3:])
    assert validation


@pytest.mark.parametrize("folder", ["lfpw", "lfpw/trainset"])
def test_a_part_of_the_tree_is_known_by_its_place(tmp_path, folder):
    tree(tmp_path, ["300w/lfpw/trainset/image_0012", "300w/lfpw/trainset/image_0011"])
    training, validation = split(scan(tmp_path / "300w" / folder).samples, 0.1, 0)
    assert stems(validation) == {"300w/lfpw/trainset/image_0012"}
    assert stems(training) == {"300w/lfpw/trainset/image_0011"}


def faces(folder, numbers):
    """A face of each photo, as its name in the release is."""
    if folder.startswith("lfpw"):
        return [sample(f"300w/{folder}/image_{number}.png") for number in numbers]
    return [sample(f"300w/{folder}/{number}_1.jpg") for number in numbers]


@pytest.mark.parametrize(
    ("folder", "tests"),
    [
        ("afw", False),
        ("helen/trainset", False),
        ("lfpw/trainset", False),
        ("helen/testset", True),
        ("lfpw/testset", True),
        ("ibug", True),
    ],
)
def test_the_folders_of_the_release_and_which_of_them_test(folder, tests):
    for name in ("image_1", "12345_1", "a name that tells nothing"):
        face = sample(f"300w/{folder}/{name}.png")
        assert face.is_300w
        assert face.is_test is tests
    assert not sample(f"mine/{folder}/image_1.png").is_300w


@pytest.mark.parametrize("folder", ["lfw", "sets/LFW", "lfw/more", "sets/youtube_faces/more"])
def test_a_person_is_known_in_every_folder_below_one_of_persons(folder):
    assert group_of(f"{folder}/Jane_Doe_0001.jpg") == group_of(f"{folder}/Jane_Doe_0002.jpg")
    assert group_of(f"{folder}/Jane_Doe_0001.jpg") != group_of(f"{folder}/John_Doe_0001.jpg")


def test_the_fixed_part_is_balanced_and_does_not_depend_on_seed_share_or_who_else_is_here():
    listed = [face for folder, numbers in PHOTOS.items() for face in faces(folder, numbers)]
    # In AFW a photo has several faces: 55 photos hold the hundred.
    assert {folder: len(set(numbers)) for folder, numbers in PHOTOS.items()} == {
        "afw": 55,
        "helen/trainset": 91,
        "lfpw/trainset": 100,
    }
    assert len(VALIDATION_GROUPS) == 246
    assert {face.group for face in listed} == VALIDATION_GROUPS
    for others, share, seed in ((OTHERS[:1], 0.01, 0), (OTHERS, 0.9, 7)):
        training, validation = split([*others, *listed], share, seed)
        assert validation == listed
        assert training == others
    assert all(in_validation(face) for face in listed)
    assert not any(in_validation(face) for face in OTHERS)


def test_the_fixed_part_is_the_one_that_all_figures_were_measured_on():
    """Another photo in it would be a face trained on by the released networks, and other figures.

    Its SHA-256 is that of the list as it was when they were trained; the ids are sorted, a line each.
    """
    lines = sorted(f"{folder}/{number}" for folder, numbers in PHOTOS.items() for number in numbers)
    assert len(lines) == len(set(lines)) == 55 + 91 + 100
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert digest == "a86d95bcc8c6b3b8da6065cd014802eb06f4ca7d07016c684891cd8d17a3b472"
    # It was made of each set's first photos by the SHA-256 of their group: all are of its lowest part.
    for folder, lowest in (("afw", 0.29), ("helen/trainset", 0.12), ("lfpw/trainset", 0.15)):
        groups = {face.group for face in faces(folder, PHOTOS[folder])}
        hashes = [hashlib.sha256(group.encode()).digest() for group in groups]
        assert max(int.from_bytes(each[:4], "big") for each in hashes) < lowest * 2**32


def test_the_held_out_part_is_on_no_side_whatever_it_is_called():
    held = [face for folder, numbers in HELD_OUT_PHOTOS.items() for face in faces(folder, numbers)]
    assert {folder: len(set(numbers)) for folder, numbers in HELD_OUT_PHOTOS.items()} == {
        "helen/trainset": 91,
        "lfpw/trainset": 100,
    }
    assert {face.group for face in held} == HELD_OUT_GROUPS
    assert HELD_OUT_GROUPS.isdisjoint(VALIDATION_GROUPS)
    assert all(in_held_out(face) and not in_validation(face) for face in held)
    assert not any(in_held_out(face) for face in OTHERS)
    copies = [sample(f"mine/{HELD_OUT_PHOTOS['helen/trainset'][0]}_1.jpg")]
    listed = faces("afw", PHOTOS["afw"])
    for share in (0.0, 0.1):
        assert split([*held, *copies, *listed, *OTHERS], share, 0) == (OTHERS, listed if share else [])
    drawn = split([*held, *copies, *OTHERS], 0.5, 0)[1]
    assert drawn
    assert groups(drawn).isdisjoint(HELD_OUT_GROUPS)


def test_share_0_writes_no_validation_part_and_still_does_not_train_on_it():
    listed = faces("afw", PHOTOS["afw"])
    assert split([*listed, *OTHERS], 0, 0) == (OTHERS, [])


def test_the_fixed_part_alone_leaves_nothing_to_train_on():
    for share in (0, 0.1):
        with pytest.raises(FaceAlignError, match="no face is left to train on"):
            split(faces("afw", PHOTOS["afw"]), share, 0)


def test_numbered_photos_of_anybody_can_be_set_apart():
    photos = [sample(f"mine/face_{number:03}.jpg") for number in range(200)]
    training, validation = split(photos, 0.1, 0)
    assert (len(training), len(validation)) == (180, 20)
