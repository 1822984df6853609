"""What is found in folders of annotated pictures, and which pictures belong together."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign.datasets.folders_300w import FOLDERS_300W
from facealign.datasets.pts import write_pts
from facealign.datasets.sample import POOLED, Sample, eval_subsets, group_of, turned_name
from facealign.datasets.scan import faces_in, scan
from facealign.errors import FaceAlignError

POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2))


def put(folder, *names, n=68, suffix=".jpg"):
    """Write picture (of no content: it is not opened) and annotation for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}{suffix}").write_bytes(b"")
        write_pts(folder / f"{name}.pts", POINTS[:n] if n <= 68 else np.zeros((n, 2)))


def found(root, **options):
    """(relative, subset) of all samples."""
    return [(sample.relative, sample.subset) for sample in scan(root, **options).samples]


@pytest.fixture
def release(tmp_path):
    """The layout of 300-W, two pictures a folder, beside Menpo and a folder of a user."""
    root = tmp_path / "sets"
    put(root / "300w" / "afw", "134212_1", "134212_2")
    put(root / "300w" / "helen" / "trainset", "100032540_1", "1051618982_1")
    put(root / "300w" / "helen" / "testset", "2960256451_1", "30844800_1")
    put(root / "300w" / "lfpw" / "trainset", "image_0001", "image_0002", suffix=".png")
    put(root / "300w" / "lfpw" / "testset", "image_0001", "image_0003", suffix=".png")
    put(root / "300w" / "ibug", "image_003_1", "image_092 _01")
    put(root / "300w" / "01_indoor", "indoor_001", "indoor_002", suffix=".png")
    put(root / "300w" / "02_outdoor", "outdoor_001", "outdoor_002", suffix=".png")
    put(root / "menpo" / "semifrontal", "aflw__face_40049")
    put(root / "menpo" / "profile", "aflw__face_40058", "aflw__face_51000", n=39)
    put(root / "mine", "me")
    return root


def test_the_whole_layout(release):
    result = scan(release, strict=True)
    assert [(sample.relative, sample.subset) for sample in result.samples] == [
        ("300w/01_indoor/indoor_001.png", "01_indoor"),
        ("300w/01_indoor/indoor_002.png", "01_indoor"),
        ("300w/02_outdoor/outdoor_001.png", "02_outdoor"),
        ("300w/02_outdoor/outdoor_002.png", "02_outdoor"),
        ("300w/afw/134212_1.jpg", "afw"),
        ("300w/afw/134212_2.jpg", "afw"),
        ("300w/helen/testset/2960256451_1.jpg", "helen/testset"),
        ("300w/helen/testset/30844800_1.jpg", "helen/testset"),
        ("300w/helen/trainset/100032540_1.jpg", "helen/trainset"),
        ("300w/helen/trainset/1051618982_1.jpg", "helen/trainset"),
        ("300w/ibug/image_003_1.jpg", "ibug"),
        ("300w/ibug/image_092 _01.jpg", "ibug"),
        ("300w/lfpw/testset/image_0001.png", "lfpw/testset"),
        ("300w/lfpw/testset/image_0003.png", "lfpw/testset"),
        ("300w/lfpw/trainset/image_0001.png", "lfpw/trainset"),
        ("300w/lfpw/trainset/image_0002.png", "lfpw/trainset"),
        ("menpo/semifrontal/aflw__face_40049.jpg", "menpo/semifrontal"),
        ("mine/me.jpg", "mine"),
    ]
    assert result.profiles == 2
    assert result.skipped == []
    for sample in result.samples:
        assert sample.path == release / sample.relative
        np.testing.assert_allclose(sample.points, POINTS, atol=1e-6)
        assert sample.is_300w == sample.relative.startswith("300w/")
        tests = ("helen/testset", "lfpw/testset", "ibug", "01_indoor", "02_outdoor")
        assert sample.is_test == (sample.subset in tests)


@pytest.mark.parametrize("part", ["", "lfpw", "helen", *FOLDERS_300W])
def test_names_are_the_same_wherever_one_starts(part, release):
    """The tree, and every folder inside: a test set is known as one, and boxes are found again."""
    everything = [entry for entry in found(release) if entry[0].startswith("300w/")]
    inside = [entry for entry in everything if entry[0].startswith(f"300w/{part}")]
    assert len(inside) >= 2
    assert found(release / "300w" / part) == inside
    for sample in scan(release / "300w" / part).samples:
        assert sample.path.is_file()
        assert sample.is_300w


def test_names_do_not_depend_on_how_the_root_is_written(release, monkeypatch):
    (release / "elsewhere").symlink_to(release / "300w")
    assert found(release / "elsewhere") == found(release / "300w")
    monkeypatch.chdir(release / "300w" / "lfpw")
    assert found(Path()) == found(Path("../../300w/lfpw")) == found(release / "300w" / "lfpw")
    assert [sample.path for sample in scan(Path("trainset")).samples] == [
        Path("trainset/image_0001.png"),
        Path("trainset/image_0002.png"),
    ]


def test_the_tree_may_have_any_name(release):
    expected = found(release)
    (release / "300w").rename(release / "ibug_300W_v2")
    assert found(release) == expected
    assert found(release / "ibug_300W_v2") == [entry for entry in expected if entry[0].startswith("300w/")]


def test_a_folder_of_pictures_has_the_same_names_as_from_above(release):
    assert found(release / "mine") == [("mine/me.jpg", "mine")]


def test_a_folder_that_is_linked_in_is_found_and_only_once(tmp_path):
    put(tmp_path / "disk" / "photos", "one", "two")
    root = tmp_path / "sets"
    root.mkdir()
    for name in ("a", "b"):
        (root / name).symlink_to(tmp_path / "disk" / "photos")
    (tmp_path / "disk" / "photos" / "round").symlink_to(root)
    assert found(root) == [("a/one.jpg", "a"), ("a/two.jpg", "a")]


def test_names_with_spaces_dots_and_upper_case(tmp_path):
    put(tmp_path / "my photos v1.2", "a b", "c.d.e", "é", suffix=".JPEG")
    put(tmp_path / "my photos v1.2", "f", suffix=".PnG")
    (tmp_path / "my photos v1.2" / "f.pts").rename(tmp_path / "my photos v1.2" / "f.PTS")
    result = scan(tmp_path, strict=True)
    assert [sample.path.name for sample in result.samples] == ["a b.JPEG", "c.d.e.JPEG", "f.PnG", "é.JPEG"]
    assert {sample.subset for sample in result.samples} == {"my photos v1.2"}


def test_what_is_hidden_is_passed_over(tmp_path):
    put(tmp_path / "set", "one")
    put(tmp_path / "set" / "__MACOSX", "one", "._one")
    put(tmp_path / "set" / ".thumbnails", "one")
    put(tmp_path / "set", "._one", ".two")
    (tmp_path / "set" / ".DS_Store").write_bytes(b"")
    assert found(tmp_path, strict=True) == [("set/one.jpg", "set")]


def test_a_root_below_a_hidden_folder_is_no_hidden_folder(tmp_path):
    put(tmp_path / ".cache" / "set", "one")
    assert found(tmp_path / ".cache" / "set") == [("set/one.jpg", "set")]


def annotation_without_picture(folder):
    (folder / "b.jpg").unlink()
    return "b.pts", "no image"


def picture_without_annotation(folder):
    (folder / "b.pts").unlink()
    return "b.jpg", "no annotation"


def annotation_of_words(folder):
    (folder / "b.pts").write_text("version: 1\nn_points: 68\n{\none two\n}\n")
    return "b.pts", "not a .pts file"


def annotation_cut_short(folder):
    text = (folder / "b.pts").read_text()
    (folder / "b.pts").write_text(text[: len(text) // 2])
    return "b.pts", "truncated"


def annotation_of_five(folder):
    write_pts(folder / "b.pts", POINTS[:5])
    return "b.pts", "5 points, expected 68"


def annotation_is_a_folder(folder):
    (folder / "b.pts").unlink()
    (folder / "b.pts").mkdir()
    return "b.pts", "a folder, not a file"


def annotation_not_finite(folder):
    write_pts(folder / "b.pts", np.where(np.arange(136).reshape(68, 2) == 7, np.nan, POINTS))
    return "b.pts", "finite"


def annotation_without_extent(folder):
    write_pts(folder / "b.pts", np.column_stack([np.full(68, 50.0), POINTS[:, 1]]))
    return "b.pts", "less than a pixel"


@pytest.mark.parametrize(
    "damage",
    [
        annotation_without_extent,
        annotation_without_picture,
        picture_without_annotation,
        annotation_of_words,
        annotation_cut_short,
        annotation_of_five,
        annotation_is_a_folder,
        annotation_not_finite,
    ],
)
def test_what_cannot_be_used_is_reported_or_raised(damage, tmp_path):
    put(tmp_path / "set", "a", "b", "c")
    name, reason = damage(tmp_path / "set")
    result = scan(tmp_path)
    assert [sample.path.name for sample in result.samples] == ["a.jpg", "c.jpg"]
    ((file, said),) = result.skipped
    assert file == str(tmp_path / "set" / name)
    assert re.match(rf"{re.escape(str(tmp_path / 'set' / name))}(, line \d+)?: ", said)
    assert reason in said
    assert len(said.splitlines()) == 1
    with pytest.raises(FaceAlignError, match=reason) as caught:
        scan(tmp_path, strict=True)
    assert str(caught.value) == said


def test_pictures_of_a_folder_without_any_annotation_are_nobody_s_business(tmp_path):
    put(tmp_path / "set", "a")
    (tmp_path / "holidays").mkdir()
    (tmp_path / "holidays" / "beach.jpg").write_bytes(b"")
    assert found(tmp_path, strict=True) == [("set/a.jpg", "set")]


def test_a_profile_needs_no_picture_and_is_no_sample(tmp_path):
    put(tmp_path, "a", "b", n=39)
    (tmp_path / "b.jpg").unlink()
    result = scan(tmp_path, strict=True)
    assert (result.samples, result.skipped, result.profiles) == ([], [], 2)


def test_a_root_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name in ("absent", "file"):
        with pytest.raises(FaceAlignError, match=f"/{name}: no such folder"):
            scan(tmp_path / name)
    assert scan(tmp_path).samples == []


def test_the_order_does_not_depend_on_the_file_system(release, monkeypatch):
    """Folders are listed in any order; here, in the reverse of the one they had."""
    expected = found(release)
    assert expected == sorted(expected)
    listing, walking = Path.iterdir, os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = reversed(list(walking(path)))

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(list(listing(self))))
    monkeypatch.setattr(os, "scandir", Backwards)
    assert found(release) == expected


def test_folders_behind_one_that_was_seen_already_are_still_looked_into(tmp_path):
    for name in ("a", "c"):
        put(tmp_path / name, "1")
    (tmp_path / "b").symlink_to("a", target_is_directory=True)
    assert found(tmp_path) == [("a/1.jpg", "a"), ("c/1.jpg", "c")]


def test_what_cannot_be_used_is_listed_by_name(tmp_path):
    names = [f"{number:02}" for number in range(30)]
    put(tmp_path, *names)
    for name in names:
        (tmp_path / f"{name}.jpg").unlink()
    assert [Path(file).stem for file, _ in scan(tmp_path).skipped] == names


def test_a_face_of_a_pixel_and_a_half_is_one(tmp_path):
    put(tmp_path, "small", "none")
    unit = (POINTS - POINTS.min(axis=0)) / np.ptp(POINTS, axis=0)
    write_pts(tmp_path / "small.pts", 5 + 1.5 * unit)
    write_pts(tmp_path / "none.pts", 5 + 0.9 * unit)
    result = scan(tmp_path)
    assert [sample.path.stem for sample in result.samples] == ["small"]
    assert [Path(file).name for file, _ in result.skipped] == ["none.pts"]


def test_the_order_is_that_of_the_names(tmp_path):
    """Not of the folders: "-" is before "/"."""
    put(tmp_path / "a", "1", "10", "2")
    put(tmp_path / "a" / "b", "1")
    put(tmp_path / "a-b", "1")
    names = ["a-b/1.jpg", "a/1.jpg", "a/10.jpg", "a/2.jpg", "a/b/1.jpg"]
    assert [relative for relative, _ in found(tmp_path)] == names


GROUPS = [
    # AFW and HELEN: number of the photo, number of the face.
    ("300w/afw/134212_1.jpg", "photo 134212"),
    ("300w/afw/134212_2.jpg", "photo 134212"),
    ("300w/afw/1051618982_1.jpg", "photo 1051618982"),
    ("300w/helen/trainset/100032540_1.jpg", "photo 100032540"),
    ("300w/helen/testset/3266693323_1.jpg", "photo 3266693323"),
    ("helen_256/2302987350_1.jpg", "photo 2302987350"),
    # LFPW has a photo of each number in both its folders.
    ("300w/lfpw/trainset/image_0001.png", "300w/lfpw/trainset image_0001"),
    ("300w/lfpw/testset/image_0001.png", "300w/lfpw/testset image_0001"),
    ("300w/ibug/image_003_1.jpg", "300w/ibug image_003"),
    ("300w/ibug/image_004_1.jpg", "300w/ibug image_004"),
    ("300w/ibug/image_018.jpg", "300w/ibug image_018"),
    ("300w/ibug/image_092 _01.jpg", "300w/ibug image_092"),
    # 300W-LP: the set, the name there, number of the view.
    ("300W_LP/AFW/AFW_134212_1_0.jpg", "photo 134212"),
    ("300W_LP/AFW/AFW_134212_2_13.jpg", "photo 134212"),
    ("300W_LP/AFW_Flip/AFW_134212_1_4.jpg", "photo 134212"),
    ("300W_LP/HELEN/HELEN_100032540_1_12.jpg", "photo 100032540"),
    ("300W_LP/LFPW/LFPW_image_train_0001_0.jpg", "300w/lfpw/trainset image_0001"),
    ("300W_LP/LFPW/LFPW_image_test_0001_16.jpg", "300w/lfpw/testset image_0001"),
    ("300W_LP/IBUG/IBUG_image_003_1_7.jpg", "300w/ibug image_003"),
    ("300W_LP/IBUG/IBUG_image_018_7.jpg", "300w/ibug image_018"),
    ("300W_LP/IBUG/IBUG_image_092 _01_0.jpg", "300w/ibug image_092"),
    # Persons, within their folder.
    ("youtube_faces/Abdel_Aziz_Al-Hakim_00.jpg", "youtube_faces Abdel_Aziz_Al-Hakim"),
    ("youtube_faces/Abdel_Aziz_Al-Hakim_41.jpg", "youtube_faces Abdel_Aziz_Al-Hakim"),
    ("youtube_faces/Aaron_Eckhart_7.jpg", "youtube_faces Aaron_Eckhart"),
    ("LFW/Aaron_Eckhart_0001.jpg", "LFW Aaron_Eckhart"),
    # Names that tell nothing are groups of their own.
    ("menpo/semifrontal/aflw__face_40049.jpg", "menpo/semifrontal/aflw__face_40049.jpg"),
    ("mine/me.jpg", "mine/me.jpg"),
    ("mine/face_001.jpg", "mine/face_001.jpg"),
    ("mine/IMG_0001.jpg", "mine/IMG_0001.jpg"),
    ("other/Aaron_Eckhart_7.jpg", "other/Aaron_Eckhart_7.jpg"),
    ("mine/IMG_20240101.jpg", "mine/IMG_20240101.jpg"),
    ("mine/0001.jpg", "mine/0001.jpg"),
]
"""Path of an image, and its group."""


@pytest.mark.parametrize(("relative", "group"), GROUPS)
def test_the_group_that_a_name_tells(relative, group):
    assert group_of(relative) == group


@pytest.mark.parametrize(("relative", "group"), GROUPS)
def test_a_turned_face_belongs_to_the_group_of_the_face(relative, group):
    assert group_of(turned_name(relative, 1)) == group
    assert group_of(f"turned/{turned_name(relative, 12)}") == group


def test_samples_know_their_group(release):
    groups = {sample.relative: sample.group for sample in scan(release / "300w" / "lfpw").samples}
    assert groups["300w/lfpw/testset/image_0001.png"] == "300w/lfpw/testset image_0001"
    assert all(group == group_of(relative) for relative, group in groups.items())


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("LFPW_image_test_0001_0", True),
        ("IBUG_image_003_1_7", True),
        ("LFPW_image_train_0001_0", False),
        ("AFW_134212_1_0", False),
        ("HELEN_100032540_1_12", False),
    ],
)
def test_pictures_that_were_made_of_test_pictures_are_test_pictures(name, test, tmp_path):
    """300W-LP has some; their names tell it even when 300-W itself is not there."""
    put(tmp_path / "300W_LP", name)
    (sample,) = scan(tmp_path).samples
    assert sample.is_test == test
    assert not sample.is_300w


def test_subsets_of_the_evaluation(release):
    samples = scan(release).samples
    subsets = eval_subsets(samples)
    members = {name: [sample.relative for sample in group] for name, group in subsets.items()}
    assert set(members) == {"common", "challenging", "full", *FOLDERS_300W, "menpo/semifrontal", "mine"}
    assert sorted(members["common"]) == sorted(members["helen/testset"] + members["lfpw/testset"])
    assert members["challenging"] == members["ibug"]
    assert sorted(members["full"]) == sorted(members["common"] + members["challenging"])
    assert members["mine"] == ["mine/me.jpg"]
    assert sum(len(members[name]) for name in members if name not in POOLED) == len(samples)


def test_subsets_without_pictures_are_left_out(release):
    assert set(eval_subsets(scan(release / "300w" / "lfpw").samples)) == {
        "common",
        "full",
        "lfpw/testset",
        "lfpw/trainset",
    }
    assert eval_subsets([]) == {}


def test_a_folder_named_like_one_of_300_w_elsewhere_is_not_pooled():
    sample = Sample(Path("x.jpg"), POINTS, "ibug", "other/ibug/x.jpg", "x")
    assert set(eval_subsets([sample])) == {"ibug"}
    assert not sample.is_test


SPELT = {
    "300W/AFW": "300w/afw",
    "300W/HELEN/TrainSet": "300w/helen/trainset",
    "300W/HELEN/testset": "300w/helen/testset",
    "300W/LFPW/Test_Set": "300w/lfpw/testset",
    "300W/Lfpw/train": "300w/lfpw/trainset",
    "300W/IBUG": "300w/ibug",
    "300W/01_Indoor": "300w/01_indoor",
    "300W/02-Outdoor": "300w/02_outdoor",
}


@pytest.mark.parametrize("start", ["", "300W"])
def test_the_folders_of_300_w_are_known_however_they_are_spelt(tmp_path, start):
    for folder in SPELT:
        put(tmp_path / folder, "a")
    samples = scan(tmp_path / start).samples
    assert sorted(sample.relative for sample in samples) == sorted(f"{name}/a.jpg" for name in SPELT.values())
    tests = {sample.subset for sample in samples if sample.is_test}
    assert tests == {"helen/testset", "lfpw/testset", "ibug", "01_indoor", "02_outdoor"}


def test_sets_made_of_300_w_have_folders_of_the_same_names_and_are_not_it(tmp_path):
    put(tmp_path / "300W_LP" / "AFW", "AFW_134212_1_0")
    put(tmp_path / "300W-LP" / "IBUG", "IBUG_image_003_1_0")
    put(tmp_path / "300w_turned" / "helen" / "trainset", "100032540_1_turned1")
    put(tmp_path / "300w_turned" / "ibug", "image_003_1_turned1")
    samples = scan(tmp_path).samples
    assert len(samples) == 4
    assert not any(sample.is_300w for sample in samples)
    assert sum(sample.is_test for sample in samples) == 2


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("1691766_1_mirror", "photo 1691766"),
        ("copy_of_134212_2", "photo 134212"),
        ("1691766", "photo 1691766"),
        ("helen_trainset_1691766_1", "photo 1691766"),
        ("ibug_image_003_1", "300w/ibug image_003"),
        ("AFW_261068_1_0_flip", "photo 261068"),
        ("lfpw_trainset_image_0012", "300w/lfpw/trainset image_0012"),
        ("x-LFPW_image_test_0007_3-y", "300w/lfpw/testset image_0007"),
        ("image_003_1_mirror", "300w/ibug image_003"),
        ("ibug_image_018_small", "300w/ibug image_018"),
        ("image_0003", "mine image_0003"),  # LFPW's or anybody's
    ],
)
def test_a_copy_under_another_name_is_of_the_same_photo(name, group):
    assert group_of(f"mine/{name}.png") == group


def test_an_annotation_is_held_against_its_image(tmp_path):
    width, height = 400, 300
    for name in ("whole", "shifted", "off", "far", "missing", "zero"):
        put(tmp_path, name)
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((height, width, 3), np.uint8))
    points = {name: POINTS.copy() for name in ("shifted", "off", "far", "missing", "zero")}
    points["shifted"] -= (np.ptp(POINTS[:, 0]) / 4 + POINTS[:, 0].min(), 0)  # a part of the face is outside
    points["off"] += (3 * width, 0)
    points["far"][5] = 1e7, 20
    points["missing"][7] = -2, -2  # -1 -1 in the file
    points["zero"][0] = -1, -1  # 0 0 in the file
    for name, values in points.items():
        write_pts(tmp_path / f"{name}.pts", values)
    result = scan(tmp_path)
    assert [sample.path.stem for sample in result.samples] == ["shifted", "whole"]
    reasons = {Path(file).stem: reason for file, reason in result.skipped}
    assert f"all its points lie off off.jpg, which has {width}x{height} pixels" in reasons["off"]
    assert "point 6 lies far off far.jpg" in reasons["far"]
    assert "point 8 is marked as missing (-1 -1)" in reasons["missing"]
    assert "point 1 is marked as missing (0 0)" in reasons["zero"]
    with pytest.raises(FaceAlignError):
        scan(tmp_path, strict=True)


def test_two_images_of_one_name_are_named_and_neither_is_taken(tmp_path):
    put(tmp_path, "a", "b")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes(b"")
    result = scan(tmp_path)
    assert [sample.path.name for sample in result.samples] == ["b.jpg"]
    ((file, reason),) = result.skipped
    assert file == str(tmp_path / "a.pts")
    assert "belongs to a.jpg or a.png?" in reason


@pytest.mark.parametrize(
    ("folder", "subset"),
    [
        ("300w/ibug/images", "ibug"),
        ("300w/ibug/ibug", "ibug"),
        ("300w/lfpw/lfpw/testset", "lfpw/testset"),
        ("300w/helen/testset/images", "helen/testset"),
        ("300w/300W/01_Indoor", "01_indoor"),
        ("more/300W_challenge/02_Outdoor/png", "02_outdoor"),
        ("300w/helen/unpacked/trainset", "helen/trainset"),
    ],
)
def test_folders_in_between_do_not_hide_a_folder_of_300_w(tmp_path, folder, subset):
    put(tmp_path / folder, "image_0001")
    put(tmp_path / "300w" / "afw", "134212_1")
    tests = [one for one in scan(tmp_path).samples if one.path.stem == "image_0001"]
    assert [(one.subset, one.is_300w) for one in tests] == [(subset, True)]
    assert tests[0].is_test == (subset != "helen/trainset")
    if subset != "helen/trainset":  # of which HELEN's own folder is above
        start = tmp_path / folder
        assert {one.subset for one in scan(start).samples if one.path.stem == "image_0001"} == {subset}


def test_a_photo_of_lfpw_is_the_same_in_a_folder_more(tmp_path):
    put(tmp_path / "300w" / "lfpw" / "trainset" / "images", "image_0012")
    (sample,) = scan(tmp_path).samples
    assert sample.group == "300w/lfpw/trainset image_0012"


def test_two_images_that_would_be_known_by_one_name_are_told(tmp_path):
    put(tmp_path / "300w" / "afw", "134212_1")
    put(tmp_path / "300W_again" / "AFW", "134212_1")
    result = scan(tmp_path)
    assert [one.relative for one in result.samples] == ["300w/afw/134212_1.jpg"]
    ((_, reason),) = result.skipped
    assert "a second image known as 300w/afw/134212_1.jpg" in reason


def test_several_roots_are_as_one_that_holds_their_folders(release, tmp_path):
    together = [(sample.relative, sample.subset) for sample in scan(release).samples]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("300w", "menpo"):
        (release / name).rename(elsewhere / name)
    result = faces_in(release, elsewhere)
    assert [(sample.relative, sample.subset) for sample in result.samples] == together
    assert result.profiles == 2


def test_two_roots_that_know_images_by_one_name_are_refused(tmp_path):
    for root in ("a", "b"):
        put(tmp_path / root / "mine", "me")
    with pytest.raises(
        FaceAlignError, match=r"b/mine/me\.jpg: known as mine/me\.jpg, as .*a/mine/me\.jpg is"
    ):
        faces_in(tmp_path / "a", tmp_path / "b")


def test_a_root_given_twice_is_named_so(release):
    with pytest.raises(FaceAlignError, match="is in two of the roots; leave one of them out"):
        faces_in(release, release)


def test_of_several_roots_one_may_be_empty_but_not_all(release, tmp_path):
    (tmp_path / "none").mkdir()
    both = faces_in(tmp_path / "none", release)
    assert [sample.relative for sample in both.samples] == [name for name, _ in found(release)]
    with pytest.raises(FaceAlignError, match="none: no image with 68 points"):
        faces_in(tmp_path / "none")
