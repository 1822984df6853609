"""Reading pictures: damaged files of many kinds, orientation, and what pixels become."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL import Image as PillowImage
from skimage.data import astronaut

from facealign.errors import FaceAlignError
from facealign.io.images import SUFFIXES, image_size, read_image

PHOTO = np.ascontiguousarray(astronaut()[:240:2, :400:2, ::-1])
"""BGR (120, 200, 3)."""
ORIENTATION = 0x0112


def encoded(kind, **options):
    """The photo as the bytes of a file, by Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(PHOTO[:, :, ::-1].copy()).save(buffer, kind, **options)
    return buffer.getvalue()


def segment(marker, payload):
    return b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def with_thumbnail(jpeg):
    """A JPEG whose EXIF segment holds a whole small JPEG, with the end marker that is looked for."""
    small = io.BytesIO()
    Image.fromarray(PHOTO[::4, ::4, ::-1].copy()).save(small, "JPEG")
    # A TIFF header; an empty first directory; a second one that says where the thumbnail is.
    entries = [(0x0103, 3, 6), (0x0201, 4, 56), (0x0202, 4, len(small.getvalue()))]
    directory = len(entries).to_bytes(2, "little") + b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + b"\1\0\0\0" + value.to_bytes(4, "little")
        for tag, kind, value in entries
    )
    header = b"II*\0" + (8).to_bytes(4, "little") + b"\0\0" + (14).to_bytes(4, "little")
    tiff = header + directory + bytes(4)
    assert len(tiff) == 56
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + tiff + small.getvalue()) + jpeg[2:]


FILES = {
    "baseline": encoded("JPEG", quality=80),
    "progressive": encoded("JPEG", quality=80, progressive=True),
    "baseline_thumbnail": with_thumbnail(encoded("JPEG", quality=80)),
    "progressive_thumbnail": with_thumbnail(encoded("JPEG", quality=80, progressive=True)),
    "restarts": encoded("JPEG", quality=80, restart_marker_rows=1),
    "png": encoded("PNG"),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP"),
    "tiff": encoded("TIFF"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a face.img"


def refused(path):
    """What the one line says with which a file is refused, without its path: that holds the test's name."""
    with pytest.raises(FaceAlignError) as caught:
        read_image(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(name, path):
    """However it was cut; decoders fill what is missing with grey, and say so on standard error at most."""
    whole = FILES[name]
    # The end is cut densely: OpenCV takes a JPEG without its last bytes for good.
    cuts = {*range(1, 40), *range(40, len(whole), len(whole) // 40), *range(len(whole) - 12, len(whole))}
    if name == "png":
        cuts -= {len(whole) - n for n in range(1, 9)}  # all of the picture is there, only the end is not
    for size in sorted(cuts):
        path.write_bytes(whole[:size])
        refused(path)


def test_a_truncated_jpeg_or_png_is_called_so(path):
    for name in ("baseline", "progressive_thumbnail", "png"):
        path.write_bytes(FILES[name][: len(FILES[name]) * 2 // 3])
        assert "truncated" in refused(path)


def test_a_png_is_whole_with_the_name_of_its_last_chunk(path):
    """That is `length IEND checksum`, 12 bytes without a pixel. Of less, OpenCV alone says only it cannot."""
    whole = FILES["png"]
    assert whole[-8:-4] == b"IEND"
    for size in (*range(5, 40), len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:-size])
        assert "truncated" in refused(path)


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read_whatever_follows_it(name, path):
    path.write_bytes(FILES[name])
    image = read_image(path)
    assert image.shape == PHOTO.shape
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - PHOTO).mean() < (0.1 if name in ("png", "bmp", "tiff") else 8)
    for garbage in (b"\0" * 1000, b"appended by a phone", FILES["png"]):
        path.write_bytes(FILES[name] + garbage)
        np.testing.assert_array_equal(read_image(path), image)


def test_a_thumbnail_does_not_stand_for_the_picture(path):
    """Cut right behind the thumbnail: there is an end marker in the file, but not the picture's."""
    whole = FILES["baseline_thumbnail"]
    end = whole.index(b"\xff\xd9")
    assert end < len(whole) - 1000
    path.write_bytes(whole[: end + 2000])
    assert "truncated" in refused(path)


def test_fill_and_stray_bytes_between_segments_are_passed_over(path):
    """As libjpeg does; some cameras write them."""
    plain = FILES["baseline"]
    path.write_bytes(plain)
    image = read_image(path)
    at = plain.index(b"\xff\xdb")
    for stray in (b"\xff\xff\xff", b"\0\0\0", b"\xff\0ab"):
        path.write_bytes(plain[:at] + stray + plain[at:])
        np.testing.assert_array_equal(read_image(path), image)
        path.write_bytes((plain[:at] + stray + plain[at:])[:-500])
        assert "truncated" in refused(path)


def test_end_markers_in_metadata_are_not_the_end(path):
    """Of a PNG in a text, of a JPEG in a comment."""
    jpeg, png = FILES["baseline"], FILES["png"]
    chunk = b"tEXtnote\0IEND"
    png = png[:33] + (9).to_bytes(4, "big") + chunk + (0x12345678).to_bytes(4, "big") + png[33:]
    for whole in (jpeg[:2] + segment(0xFE, b"\xff\xd9 \xff\xda") + jpeg[2:], png):
        path.write_bytes(whole)
        assert read_image(path).shape == PHOTO.shape
        path.write_bytes(whole[: len(whole) // 2])
        refused(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_obeyed_or_not(kind, orientation, path):
    """Against the EXIF standard: which row and column of the file are the top and the left of the picture."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path.write_bytes(encoded(kind, exif=exif.tobytes()))
    stored = read_image(path, orient=False)
    assert stored.shape == PHOTO.shape
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_array_equal(read_image(path), turned[orientation])


def test_without_orientation_the_flag_changes_nothing(path):
    path.write_bytes(FILES["baseline"])
    np.testing.assert_array_equal(read_image(path, orient=False), read_image(path, orient=True))


GREY = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], 255 - GREY])


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GREY, np.dstack([GREY] * 3)),
        (COLOUR, COLOUR),
        (np.dstack([COLOUR, GREY]), COLOUR),
        (GREY.astype(np.uint16) * 256 + 255, np.dstack([GREY] * 3)),
        (COLOUR.astype(np.uint16) * 256 + 128, COLOUR),
    ],
    ids=["grey", "colour", "alpha", "grey_16_bits", "colour_16_bits"],
)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_pixels_become_bgr_of_8_bits(stored, expected, suffix, path):
    path.write_bytes(cv2.imencode(suffix, stored)[1].tobytes())
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK"])
def test_every_kind_of_pixel_is_read(mode, path):
    picture = Image.fromarray(PHOTO[:, :, ::-1].copy()).convert(mode)
    picture.save(path, "TIFF" if mode == "CMYK" else "PNG")
    expected = np.asarray(picture.convert("RGB"))[:, :, ::-1].astype(int)
    assert np.abs(read_image(path) - expected).mean() < 3


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 5000, b"version: 1\n{", b"\xff\xd8\xff", b"\x89PNG", b"GIF89a?"]
)
def test_what_is_no_picture_is_refused(content, path):
    path.write_bytes(content)
    refused(path)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    assert refused(tmp_path) == "a folder, not a file; expected an image"
    assert "no such file" in refused(tmp_path / "absent.jpg")
    (tmp_path / "file").write_bytes(FILES["png"])
    refused(tmp_path / "file" / "below.png")
    refused(tmp_path / ("long" * 100))


def test_suffixes_are_those_that_opencv_writes_and_reads(path):
    for suffix in SUFFIXES:
        if suffix in (".heic", ".heif"):
            continue
        path.write_bytes(cv2.imencode(suffix, PHOTO)[1].tobytes())
        assert read_image(path).shape == PHOTO.shape


def test_an_image_that_announces_too_many_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    """A few hundred bytes may announce gigabytes."""
    _, encoded = cv2.imencode(".jpg", np.zeros((40, 50, 3), np.uint8))
    data = bytearray(encoded.tobytes())
    frame = data.index(b"\xff\xc0")  # SOF0: length, precision, height, width
    data[frame + 5 : frame + 9] = (30_000).to_bytes(2, "big") * 2
    path = tmp_path / "huge.jpg"
    path.write_bytes(data)
    with pytest.raises(FaceAlignError, match=r"huge\.jpg: 30000x30000 pixels are more than"):
        read_image(path)
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.zeros((40, 50, 3), np.uint8))
    assert image_size(small) == (40, 50)
    monkeypatch.setenv("FACEALIGN_MAX_PIXELS", "1999")
    with pytest.raises(FaceAlignError, match="50x40 pixels are more than the limit of 1999"):
        read_image(small)
    monkeypatch.setenv("FACEALIGN_MAX_PIXELS", "2000")
    assert read_image(small).shape == (40, 50, 3)
    monkeypatch.setenv("FACEALIGN_MAX_PIXELS", "many")
    with pytest.raises(FaceAlignError, match="expected a number"):
        read_image(small)


def test_an_empty_file_is_called_so(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(FaceAlignError, match=r"a\.jpg: empty; expected an image$"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".jp2"])
def test_formats_that_opencv_may_not_read_are_read(suffix, tmp_path):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8), (0, 0), 5)
    path = tmp_path / f"image{suffix}"
    PillowImage.fromarray(image[:, :, ::-1]).save(path)
    assert np.abs(read_image(path).astype(int) - image).mean() < 2
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FaceAlignError, match="not an image that can be read"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".tiff", ".heic"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_other_formats_are_turned_as_their_exif_data_say(suffix, orientation, tmp_path):
    """A photo of four colours, one in each corner."""
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    corners = np.array([[[200, 30, 30], [30, 200, 30]], [[30, 30, 200], [200, 200, 30]]], np.uint8)
    image = cv2.resize(corners, (96, 64), interpolation=cv2.INTER_NEAREST)
    exif = PillowImage.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"image{suffix}"
    PillowImage.fromarray(image[:, :, ::-1]).save(path, exif=exif.tobytes())
    expected = np.rot90(image, {1: 0, 3: 2, 6: -1, 8: 1}[orientation])
    found = read_image(path)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 6
