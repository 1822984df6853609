"""Copies of a photo under another name, made in the ways that people make them; and photos that are none."""

import cv2
import numpy as np
import pytest
from skimage import data

from facealign.datasets.duplicates import ALIKE, find_copies, thumbnail
from facealign.datasets.pts import write_pts
from facealign.datasets.scan import scan
from facealign.geometry.landmarks import mirror_points
from facealign.geometry.similarity import mean_shape
from tests.upright_face import upright_face

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")


def photo(name):
    """A photo with an annotation in the middle: what matters here is that both go together."""
    image = np.ascontiguousarray(getattr(data, name)()[:300, :300, ::-1])
    return image, upright_face((150, 120), 160)


def write(folder, name, image, points):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), image)
    write_pts(folder / f"{name}.pts", points)


def scaled(image, points):
    small = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    return small, (points + 0.5) * 0.4 - 0.5


def mirrored(image, points):
    return np.ascontiguousarray(image[:, ::-1]), mirror_points(points, image.shape[1])


def compressed(image, points):
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR), points


def brightened(image, points):
    return np.clip(image * 0.8 + 40.0, 0, 255).astype(np.uint8), points


def cropped(image, points):
    return np.ascontiguousarray(image[20:260, 40:270]), points - (40, 20)


def annotated_anew(image, points):
    return image, points + np.random.default_rng(0).normal(0, 1.5, points.shape)


CHANGES = (scaled, mirrored, compressed, brightened, cropped, annotated_anew)


@pytest.mark.parametrize("workers", [1, 2])
def test_copies_are_found_and_other_photos_are_not(tmp_path, workers):
    for name in PHOTOS:
        write(tmp_path / "kept", name, *photo(name))
        for change in CHANGES:
            write(tmp_path / "others", f"{change.__name__}_{len(name)}{name[0]}", *change(*photo(name)))
    write(
        tmp_path / "others",
        "noise",
        np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8),
        photo("coffee")[1],
    )
    kept, others = (scan(tmp_path / folder).samples for folder in ("kept", "others"))
    found = find_copies(others, kept, workers)
    assert [one.original.path.stem[0] for one in found] == [one.sample.path.stem[-1] for one in found]
    assert len(found) == len(PHOTOS) * len(CHANGES)
    assert all(ALIKE <= one.correlation <= 1 + 1e-6 for one in found)


def test_a_photo_is_not_its_own_copy_and_nothing_has_none(tmp_path):
    write(tmp_path, "a", *photo("astronaut"))
    samples = scan(tmp_path).samples
    assert find_copies(samples, samples) == []
    assert find_copies([], samples) == find_copies(samples, []) == []


def test_a_photo_that_cannot_be_read_or_has_one_colour_is_nobody_s_copy(tmp_path):
    write(tmp_path / "kept", "a", *photo("astronaut"))
    write(tmp_path / "others", "broken", *photo("astronaut"))
    (tmp_path / "others" / "broken.png").write_bytes(b"no image")
    write(tmp_path / "others", "grey", np.full((300, 300, 3), 90, np.uint8), photo("astronaut")[1])
    assert find_copies(scan(tmp_path / "others").samples, scan(tmp_path / "kept").samples) == []


def test_a_thumbnail_has_unit_length_and_does_not_change_with_brightness_and_contrast():
    image, points = photo("astronaut")
    shape = mean_shape(points[None], (24, 24), 0.05)
    one, other = thumbnail(image, points, shape), thumbnail(*brightened(image, points), shape)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert one @ other > 0.999
