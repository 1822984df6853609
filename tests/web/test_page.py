"""The page in headless Chromium: it finds what the package finds, and asks nobody."""

import contextlib
import io
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image as PillowImage
from playwright.sync_api import expect
from skimage.data import astronaut

from facealign.datasets.pts import pts_text
from facealign.geometry.roll import turn_about
from facealign.inference.face_aligner import FaceAligner
from facealign.io.images import decode_image
from facealign.results.formats import csv_lines
from facealign.results.record import image_record
from tests.chromium import opened_page
from tests.face_page import choose, drop, shown_points, two_faces
from tests.serve.running import turned_by_exif
from tests.web.conftest import served

ELSEWHERE = "(url) => fetch(url, { mode: 'no-cors' }).then(() => 'came', (error) => error.name)"


FRAMES = """(count) => new Promise((resolve) => {
    const frames = [];
    const observer = new MutationObserver(() => {
        const circles = [...document.querySelectorAll("#overlay circle")];
        frames.push(circles.map((one) => [Number(one.getAttribute("cx")), Number(one.getAttribute("cy"))]));
        if (frames.length < count) return;
        observer.disconnect();
        resolve(frames);
    });
    observer.observe(document.getElementById("overlay"), { childList: true });
})"""


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def jpeg(image):
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def face_at(degrees):
    """The astronaut's face, 384x384, turned clockwise."""
    face = np.ascontiguousarray(astronaut()[:384, 40:424, ::-1])
    return cv2.warpAffine(face, turn_about(np.array([191.5, 191.5]), degrees), (384, 384))


def half_hidden(column):
    """The face, grey at the left up to a column: 190 lowers the confidence, 200 makes it doubtful."""
    image = face_at(0).copy()
    image[:, :column] = 60
    return image


PHOTOS = {
    "group": cv2.resize(np.hstack([face_at(0), face_at(40)]), None, fx=1.7, fy=1.7),
    "sideways": face_at(90),
    "nobody": np.full((300, 200, 3), 90, np.uint8),
    "odd": face_at(-10)[3:, 5:],
    "unsure": half_hidden(190),
    "doubtful": half_hidden(200),
}


JPEG = jpeg(astronaut()[:, :, ::-1])


@pytest.fixture(scope="module")
def aligner():
    return FaceAligner.open(engine="onnx")


@pytest.fixture(scope="module")
def shared(browser, address):
    """A page that is open for several tests, and a list of all that it complains of."""
    with ready_page(browser, address) as opened:
        yield opened


@contextlib.contextmanager
def ready_page(browser, address, *arguments, **options):
    with opened_page(browser, address, *arguments, **options) as (page, complaints):
        expect(page.locator("#status")).to_have_text("")
        yield page, complaints


def choose_and_wait(page, data, name="photo.png"):
    choose(page, data, name)
    expect(page.locator("#status")).to_have_text(re.compile(f"^{re.escape(name)}: .* (faces?|found)\\.$"))


def downloaded(page, form):
    with page.expect_download() as coming:
        page.click(f"[data-format={form}]")
    with open(coming.value.path(), newline="") as file:
        return file.read()


def is_that_of(found, record):
    """Hold an entry of the page against one of the package."""
    assert {**found, "faces": []} == {**record, "faces": []}
    for own, face in zip(found["faces"], record["faces"], strict=True):
        np.testing.assert_allclose(own["landmarks"], face["landmarks"], atol=0.1)
        np.testing.assert_allclose(own["box"], face["box"], atol=0.1)
        assert own["score"] == pytest.approx(face["score"], abs=2e-3)
        assert own["confidence"] == pytest.approx(face["confidence"], abs=0.02)
        assert own["doubtful"] == face["doubtful"]
        for name, angle in face["pose"].items():
            assert own["pose"][name] == pytest.approx(angle, abs=0.2)


@pytest.mark.parametrize("width", [400, 1280])
def test_points_of_a_dropped_photo_are_drawn_where_the_package_says(shared, aligner, width):
    page, complaints = shared
    page.set_viewport_size({"width": width, "height": 900})
    (face,) = aligner.detect_and_align(cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR))
    drop(page, {"dropped.png": JPEG})
    expect(page.locator("#status")).to_have_text("dropped.png: 1 face.")
    np.testing.assert_allclose(shown_points(page, 512), face.landmarks, atol=0.1)
    assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    assert complaints == []


def test_of_several_photos_one_is_opened_and_the_page_says_so(shared):
    page, _ = shared
    drop(page, {"note.txt": b"dear", "first.png": two_faces(), "second.png": two_faces()})
    expect(page.locator("#status")).to_have_text(
        "first.png: 2 faces. One photo at a time: 2 other files were not opened."
    )
    drop(page, {"bad.png": b"", "first.png": two_faces()})
    expect(page.locator("#error")).to_contain_text("One photo at a time: 1 other file was not opened.")
    drop(page, {})
    expect(page.locator("#error")).to_have_text(
        "What was dropped is no file. Save the photo, and drop or choose that."
    )


@pytest.mark.parametrize("options", [{}, {"cascade": True, "flip": True}])
def test_faces_at_any_roll_are_those_of_the_package(shared, options):
    page, complaints = shared
    for name in ("cascade", "flip"):
        page.set_checked(f"#{name}", name in options)
    reference = FaceAligner.open(engine="onnx", **options)
    for name, image in PHOTOS.items():
        faces = reference.detect_and_align(image)
        assert len(faces) == {"group": 2, "nobody": 0}.get(name, 1)
        choose_and_wait(page, png(image), f"{name}.png")
        is_that_of(
            json.loads(downloaded(page, "json")), image_record(f"{name}.png", image.shape[1::-1], faces)
        )
    for name in options:
        page.set_checked(f"#{name}", False)
    assert complaints == []


@pytest.mark.parametrize(
    "data",
    [turned_by_exif(), png(astronaut()[:, :, 1]), png(astronaut()[:, :, ::-1].astype(np.uint16) * 257)],
    ids=["lies on its side", "grey", "16 bits"],
)
def test_images_of_every_mode_are_read_as_the_package_reads_them(shared, aligner, data):
    page, _ = shared
    image = decode_image(data, "the photo")
    choose_and_wait(page, data)
    record = image_record("photo.png", image.shape[1::-1], aligner.detect_and_align(image))
    is_that_of(json.loads(downloaded(page, "json")), record)


def test_downloads_are_those_of_the_package(shared, aligner):
    page, complaints = shared
    data, name = two_faces(), 'two, "both".png'
    choose_and_wait(page, data, name)
    page.click(".face >> nth=1")
    found = json.loads(downloaded(page, "json"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    is_that_of(found, image_record(name, (1024, 512), aligner.detect_and_align(image)))
    table = io.StringIO()
    csv_lines(table, [json.loads(json.dumps(found), parse_int=float)])  # JavaScript writes 3.0 as 3
    assert downloaded(page, "csv") == table.getvalue()
    assert downloaded(page, "pts") == pts_text(np.array(found["faces"][1]["landmarks"]))
    assert complaints == []


def test_another_accuracy_is_used_at_once(shared):
    page, complaints = shared
    choose_and_wait(page, two_faces())
    before = page.locator("#overlay circle").first.get_attribute("cx")
    page.set_checked("#cascade", True)
    expect(page.locator("#overlay circle").first).not_to_have_attribute("cx", before)
    page.set_checked("#cascade", False)
    expect(page.locator("#overlay circle").first).to_have_attribute("cx", before)
    assert complaints == []


def test_nothing_is_asked_elsewhere_and_nothing_can_be(browser, page_folder, tmp_path):
    with served(page_folder) as (address, asked), served(tmp_path) as (elsewhere, asked_elsewhere):
        with ready_page(browser, address) as (page, _):
            page.on("request", lambda request: requests.append(request.url))
            requests = []
            loaded = len(asked)
            page.context.set_offline(True)
            choose(page, two_faces())
            expect(page.locator(".face")).to_have_count(2)
            assert len(asked) == loaded
            assert all(url.startswith("blob:") for url in requests), requests
            page.context.set_offline(False)
            (worker,) = page.workers
            for place in (page, worker):
                assert place.evaluate(ELSEWHERE, elsewhere) == "TypeError"
                assert place.evaluate(ELSEWHERE, address) == "came"
        assert asked_elsewhere == []


def test_the_camera_is_followed_and_a_photo_taken(shared, aligner):
    """Frames between two runs of the detector are followed by the landmarks of the one before."""
    page, complaints = shared
    (face,) = aligner.detect_and_align(astronaut()[:480, :, ::-1])
    page.click("#camera")
    expect(page.locator("#status")).to_have_text("The camera is on: its pictures stay in this browser.")
    page.locator(".face").wait_for()
    for frame in page.evaluate(FRAMES, 12):
        np.testing.assert_allclose(np.array(frame) - 0.5, face.landmarks, atol=3.0)  # the film is compressed
    assert page.locator("#video").is_visible()
    page.click("#take")
    expect(page.locator("#status")).to_have_text("camera.jpg: 1 face.")
    np.testing.assert_allclose(shown_points(page, 512), face.landmarks, atol=3.0)
    assert page.locator("#video").is_hidden()
    assert complaints == []


@pytest.mark.parametrize("data", [b"not an image", two_faces()[:9000], JPEG[:-3000]])
def test_what_is_no_photo_is_refused_by_name_and_the_one_before_stays(shared, data):
    page, _ = shared
    choose_and_wait(page, two_faces(), "two.png")
    page.set_input_files("#file", {"name": "bad.png", "mimeType": "image/png", "buffer": data})
    expect(page.locator("#error")).to_have_text(
        "bad.png: The file is not a photo that this browser can read, or is damaged. "
        "Use a JPEG, PNG, WebP, GIF, BMP or AVIF file."
    )
    expect(page.locator("#status")).to_have_text("Still shown, as it was: two.png: 2 faces.")
    assert page.locator("#photo").get_attribute("alt") == "two.png: 2 faces"
    assert page.evaluate("photo.naturalWidth") == 1024
    assert json.loads(downloaded(page, "json"))["file"] == "two.png"
    choose_and_wait(page, two_faces())
    assert page.locator("#error").is_hidden()


@pytest.mark.parametrize(("size", "limit"), [((7100, 7100), "50 million"), ((16_385, 8), "16384 a side")])
def test_a_photo_that_is_too_large_is_refused_by_limits_that_the_page_states(shared, size, limit):
    page, _ = shared
    expect(page.locator("#limits")).to_have_text("At most 50 megapixels and 16,384 pixels a side.")
    stream = io.BytesIO()
    PillowImage.new("1", size).save(stream, "PNG")
    drop(page, {"large.png": stream.getvalue()})
    pixels = "x".join(map(str, size))
    expect(page.locator("#error")).to_have_text(
        f"large.png: The photo has {pixels} pixels, more than the limit of {limit}. Scale it down."
    )


def test_a_missing_second_network_is_no_error_once_it_is_not_wanted(browser, page_folder, tmp_path):
    missing = "The page's file models/cascade.onnx does not come. Load the page again."
    shutil.copytree(page_folder, tmp_path / "page")
    (tmp_path / "page/models/cascade.onnx").unlink()
    with served(tmp_path / "page") as (address, _), ready_page(browser, address) as (page, _):
        error, status = page.locator("#error"), page.locator("#status")
        page.set_checked("#cascade", True)
        expect(error).to_have_text(missing)
        page.set_checked("#cascade", False)
        expect(error).to_be_hidden()
        page.set_checked("#cascade", True)
        choose(page, two_faces(), "two.png")
        expect(error).to_have_text(f"two.png: {missing}")
        assert page.locator("#result").is_hidden()
        page.set_checked("#cascade", False)
        expect(status).to_have_text("two.png: 2 faces.")
        assert error.is_hidden()
        page.set_checked("#cascade", True)
        expect(error).to_have_text(f"two.png: {missing}")
        expect(status).to_have_text("Still shown, as it was: two.png: 2 faces.")
        page.set_checked("#cascade", False)
        expect(status).to_have_text("two.png: 2 faces.")
        assert error.is_hidden()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light")])
def test_the_page_keeps_the_rules_of_accessibility(shared, width, scheme):
    """Those of axe: labels, order of headings, contrast and more."""
    page, _ = shared
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    choose_and_wait(page, two_faces())
    page.eval_on_selector("details", "one => (one.open = true)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


ANEW = "Load the page again; if that does not help, its host needs the page's files anew."
MISSING = "The page's file {} does not come. Load the page again."
DAMAGED = "The page's file {} is damaged. " + ANEW
TOO_OLD = "The page's file {} is damaged, or this browser too old for it. " + ANEW


@pytest.mark.parametrize(
    ("file", "bytes_left", "said"),
    [
        ("models/rnet.onnx", None, MISSING),
        ("models/landmarks.onnx", 5000, DAMAGED),
        ("models/landmarks.json", 50, DAMAGED),
        ("runtime/ort.wasm", 1_000_000, TOO_OLD),
    ],
)
def test_files_that_are_missing_or_damaged_are_named(browser, page_folder, tmp_path, file, bytes_left, said):
    damaged = tmp_path / "page" / file
    shutil.copytree(page_folder, tmp_path / "page", copy_function=os.link)
    whole = damaged.read_bytes()
    damaged.unlink()
    if bytes_left is not None:
        damaged.write_bytes(whole[:bytes_left])
    with served(tmp_path / "page") as (address, _), opened_page(browser, address) as (page, _):
        expect(page.locator("#error")).to_have_text(said.format(file))


def test_a_network_that_is_another_one_is_named(browser, page_folder, tmp_path):
    shutil.copytree(page_folder, tmp_path / "page")
    shutil.copyfile(page_folder / "models/landmarks.onnx", tmp_path / "page/models/onet.onnx")
    with served(tmp_path / "page") as (address, _), ready_page(browser, address) as (page, _):
        choose(page, two_faces(), "two.png")
        expect(page.locator("#error")).to_have_text(
            re.compile(
                rf"^two\.png: The network models/onet\.onnx cannot be run \(.*\)\. {re.escape(ANEW)}$",
                re.DOTALL,
            )
        )


def test_opened_from_a_file_it_says_what_to_do(browser, page_folder):
    with opened_page(browser, (page_folder / "index.html").as_uri()) as (page, _):
        expect(page.locator("#error")).to_have_text(
            "Browsers do not run this page from a file. Serve its folder: python3 -m http.server"
        )
