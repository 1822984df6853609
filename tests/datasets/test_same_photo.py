"""Faces of one photo are of one group where each has a copy of it, as `facealign annotate` writes them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from facealign.datasets.same_photo import one_group_a_photo
from facealign.datasets.sample import Sample, group_of
from facealign.datasets.split import split

POINTS = np.zeros((68, 2))


@pytest.fixture
def groups(tmp_path):
    """(name -> content of the images) -> their groups."""

    def call(contents):
        samples = []
        for relative, content in contents.items():
            path = tmp_path / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            samples.append(
                Sample(path, POINTS, Path(relative).parent.as_posix(), relative, group_of(relative))
            )
        grouped = one_group_a_photo(samples)
        for before, after in zip(samples, grouped, strict=True):
            assert dataclasses.replace(after, group=before.group) == before
        return {sample.relative: sample.group for sample in grouped}

    return call


def test_copies_of_a_photo_are_of_one_group(groups):
    found = groups({"mine/party_1.jpg": b"one", "mine/party_2.jpg": b"one", "mine/party_3.jpg": b"one"})
    assert set(found.values()) == {"mine/party_1.jpg"}


def test_other_content_another_name_or_folder_is_another_photo(groups):
    contents = {
        "mine/a_1.jpg": b"one",
        "mine/a_2.jpg": b"two",
        "mine/b_1.jpg": b"one",
        "mine/c.jpg": b"one",
        "yours/a_1.jpg": b"one",
    }
    assert groups(contents) == {name: name for name in contents}


def test_what_a_name_tells_already_stays(groups):
    found = groups(
        {"300w/afw/134212_1.jpg": b"one", "300w/afw/134212_2.jpg": b"one", "lfw/A_B_01.jpg": b"one"}
    )
    assert set(found.values()) == {"photo 134212", "lfw A_B"}


def test_faces_turned_from_a_photo_go_with_it(groups):
    found = groups(
        {"mine/a_1.jpg": b"one", "mine/a_2.jpg": b"one", "mine_turned/a_2_turned1.jpg": b"turned"},
    )
    assert set(found.values()) == {"mine/a_1.jpg"}


def test_an_image_that_is_gone_stops_nothing(groups, tmp_path):
    gone = Sample(tmp_path / "mine" / "a_9.jpg", POINTS, "mine", "mine/a_9.jpg", "mine/a_9.jpg")
    assert one_group_a_photo([gone]) == [gone]


def test_a_split_does_not_divide_a_photo(tmp_path):
    samples = []
    for photo in range(6):
        for face in range(3):
            relative = f"mine/photo{photo}_{face + 1}.jpg"
            path = tmp_path / relative
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%d" % photo)
            samples.append(Sample(path, POINTS, "mine", relative, group_of(relative)))
    for seed in range(5):
        training, validation = split(one_group_a_photo(samples), 0.34, seed)
        assert len(validation) == 6
        photos = [{sample.path.stem.split("_")[0] for sample in part} for part in (training, validation)]
        assert not photos[0] & photos[1]
