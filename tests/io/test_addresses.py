"""Addresses in an object store, tried on fsspec's own in memory; tests/cluster has a real S3 server."""

import io
import os
import pickle
from pathlib import Path, PurePath

import fsspec
import numpy as np
import pytest
from PIL import Image

from facealign.errors import FaceAlignError
from facealign.io import images
from facealign.io.addresses import (
    address,
    files_below,
    is_remote,
    matching,
    read_remote,
    readers_of,
    walk_remote,
)
from facealign.io.images import image_size, read_image
from facealign.io.reading import read_bytes
from facealign.results.found_images import find_images

FILES = ("a.jpg", "b/c.PNG", "b/c.pts", "b/d/e.jpg", "b/.hidden/f.jpg", "z/1.webp", "z/2.raw", "z/3.raw")


@pytest.fixture
def root():
    """The address of a folder with these files, empty ones."""
    store = fsspec.filesystem("memory")
    for name in FILES:
        store.pipe_file(f"/photos/{name}", b"")
    yield address("memory://photos")
    store.rm("/", recursive=True)


def test_what_is_an_address():
    assert [is_remote(address(text)) for text in ("a/b.jpg", "/a", "file:///a", "memory://a")] == [
        False
    ] * 3 + [True]
    assert address("file:///a/b.jpg") == Path("/a/b.jpg")
    assert [readers_of(address(text)) for text in ("a", "memory://a")] == [1, 16]
    assert pickle.loads(pickle.dumps(address("memory://a/b.jpg"))) == address("memory://a/b.jpg")


def test_files_below_and_folders_as_os_walk_has_them(root, tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [place.as_posix() for place, _ in files_below(root)] == sorted(FILES)
    assert files_below(root / "b/c.PNG") == [(PurePath("c.PNG"), root / "b/c.PNG")]

    def walked(folders, top):
        rows = []
        for folder, below, files in folders:
            below[:] = sorted(name for name in below if name != "d")
            rows.append((Path(str(folder)).relative_to(top).as_posix(), list(below), sorted(files)))
        return rows

    assert walked(walk_remote(root), str(root)) == walked(os.walk(tmp_path), tmp_path)


def test_the_images_that_addresses_name(root):
    found = find_images([root / "a.jpg", root, root / "b/**/*.jpg"])
    assert [str(file).removeprefix(f"{root}/") for file in found.files] == [
        *("a.jpg", "b/c.PNG", "b/d/e.jpg"),
        "z/1.webp",
    ]
    assert [place.as_posix() for place in found.places] == ["a.jpg", "b/c.PNG", "b/d/e.jpg", "z/1.webp"]
    assert found.notes == [f"{root}/z/2.raw and 1 more of this kind: not a format that is read"]
    assert [path for _, path in matching(root / "z/*.raw")] == [root / "z/2.raw", root / "z/3.raw"]
    (note,) = find_images([root / "nothing"]).notes
    assert note.startswith(f"{root}/nothing: no image in it")


@pytest.mark.parametrize("pattern", ["b*", "*", "**", "?/*", "b/d*", "[bz]"])
def test_a_pattern_names_what_it_names_in_a_folder(pattern, root, tmp_path):
    """Folders too, with the images below them."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    here, there = find_images([tmp_path / pattern]), find_images([root / pattern])
    assert here.files
    assert dict(zip(there.files, there.places, strict=True)) == {
        root / file.relative_to(tmp_path).as_posix(): place
        for file, place in zip(here.files, here.places, strict=True)
    }


def test_what_is_read(root, monkeypatch):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    data = io.BytesIO()
    Image.fromarray(picture[..., ::-1]).save(data, "PNG")
    file = root / "picture.png"
    fsspec.filesystem("memory").pipe_file("/photos/picture.png", data.getvalue())
    assert read_bytes(file, "expected an image") == data.getvalue()
    assert read_remote(file, "", 5) == data.getvalue()[:5]
    np.testing.assert_array_equal(read_image(file), picture)
    for most in (1 << 16, 10):  # of a header that is longer, all is read
        monkeypatch.setattr(images, "HEADER_BYTES", most)
        assert image_size(file) == (4, 4)
    assert image_size(root / "a.jpg") is None
    with pytest.raises(FaceAlignError, match=f"^{root}/none.jpg: no such file; expected an image$"):
        read_image(root / "none.jpg")
