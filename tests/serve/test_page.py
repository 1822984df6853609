"""The page in headless Chromium, with the real server: what it shows lies where the API says."""

import json
import re

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from skimage.data import astronaut

from tests.chromium import camera_that_sees, chromium, opened_page
from tests.face_page import choose, drop, shown_points, two_faces
from tests.serve.running import astronaut_bytes, running, turned_by_exif

PHOTO = astronaut_bytes()
INKS = {"contour": 0x3CC8FF, "brows": 0xFADC5A, "nose": 0x78FA78, "eyes": 0xFF7850, "mouth": 0xFA78E6}
LARGE = """() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(20_100_000)], "large.png", { type: "image/png" }));
    return transfer;
}"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser whose camera sees the astronaut."""
    camera = camera_that_sees(astronaut()[:480, :, ::-1], tmp_path_factory.mktemp("camera"))
    with chromium(*camera) as started:
        yield started


@pytest.mark.parametrize("width", [1280, 400])
def test_points_of_a_dropped_photo_are_drawn_where_the_api_says(browser, server, width):
    (face,) = server.post(PHOTO).json()["faces"]
    with opened_page(browser, server.url, width) as (page, complaints):
        drop(page, {"dropped.png": PHOTO})
        page.locator(".face").wait_for()
        assert page.inner_text("#status") == "dropped.png: 1 face."
        np.testing.assert_allclose(shown_points(page, 512), face["landmarks"], atol=0.1)
        page.set_checked("[data-layer=lines]", False)
        page.set_checked("[data-layer=pose]", False)
        colours_are_those_of_the_groups(page, face["landmarks"])
        assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
        assert complaints == []


def test_of_several_photos_one_is_opened_and_the_page_says_so(browser, server):
    with opened_page(browser, server.url) as (page, _):
        drop(page, {"first.png": PHOTO, "second.png": PHOTO})
        expect(page.locator("#status")).to_have_text(
            "first.png: 1 face. One photo at a time: 1 other file was not opened."
        )


def colours_are_those_of_the_groups(page, landmarks):
    """In a screenshot of the stage, at the landmarks."""
    shot = cv2.imdecode(np.frombuffer(page.locator("#stage").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    groups = page.eval_on_selector_all("#overlay circle", "all => all.map(one => one.getAttribute('class'))")
    assert groups == ["contour"] * 17 + ["brows"] * 10 + ["nose"] * 9 + ["eyes"] * 12 + ["mouth"] * 20
    scale = shot.shape[1] / 512
    seen = []
    for group, (x, y) in zip(groups, landmarks, strict=True):
        column, row = int((x + 0.5) * scale), int((y + 0.5) * scale)
        around = shot[row - 1 : row + 2, column - 1 : column + 2, ::-1].reshape(-1, 3).astype(int)
        ink = np.array(list(INKS[group].to_bytes(3, "big")))
        seen.append(np.abs(around - ink).max(axis=1).min() < 40)
    assert np.mean(seen) > 0.9  # neighbours may cover one another


def test_a_photo_that_lies_on_its_side_is_shown_upright(browser, server):
    with opened_page(browser, server.url) as (page, _):
        choose(page, turned_by_exif())
        (face,) = server.post(turned_by_exif()).json()["faces"]
        box = page.locator("#photo").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(512 / 300, abs=0.01)
        np.testing.assert_allclose(shown_points(page, 512), face["landmarks"], atol=0.1)


def test_downloads_are_the_answers_of_the_api(browser, server):
    data = two_faces()
    with opened_page(browser, server.url) as (page, complaints):
        choose(page, data, "two.png")
        page.click(".face >> nth=1")
        for form, name in (("json", "two.json"), ("csv", "two.csv"), ("pts", "two_face2.pts")):
            with page.expect_download() as coming:
                page.click(f"[data-format={form}]")
            assert coming.value.suggested_filename == name
            expected = server.post(data, f"?format={form}&face=1").text
            with open(coming.value.path(), newline="") as file:
                text = file.read()
            if form == "json":
                assert json.loads(text) == {**json.loads(expected), "file": "two.png"}
            elif form == "csv":
                assert text == re.sub("^,", "two.png,", expected, flags=re.MULTILINE)
            else:
                assert text == expected
        assert complaints == []


def test_the_keyboard_is_enough(browser, server):
    with opened_page(browser, server.url) as (page, complaints):
        file = {"name": "two.png", "mimeType": "image/png", "buffer": two_faces()}
        page.on("filechooser", lambda chooser: chooser.set_files(file))
        page.keyboard.press("Tab")
        expect(page.locator("#file")).to_be_focused()
        page.keyboard.press("Enter")
        page.locator(".face >> nth=1").wait_for()
        page.keyboard.press("Tab")
        expect(page.locator("#camera")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        pressed = page.eval_on_selector_all(".face", "all => all.map(one => one.ariaPressed)")
        assert pressed == ["false", "true"]
        assert page.locator("#overlay .chosen").count() == 1
        assert complaints == []


def test_zoom_brings_the_chosen_face_to_the_middle(browser, server):
    with opened_page(browser, server.url) as (page, _):
        choose(page, PHOTO)
        before = page.locator("#overlay .box rect, #overlay rect").bounding_box()
        page.set_checked("#zoom", True)
        page.wait_for_timeout(400)  # the transition
        after, stage = page.locator("#overlay rect").bounding_box(), page.locator("#stage").bounding_box()
        assert after["width"] > 2 * before["width"]
        for at, side in (("x", "width"), ("y", "height")):
            middle = after[at] + after[side] / 2
            assert stage[at] + 0.4 * stage[side] < middle < stage[at] + 0.6 * stage[side]


def test_a_refusal_is_shown_by_name_with_its_remedy_and_the_photo_before_stays(browser, server):
    with opened_page(browser, server.url) as (page, _):
        error = page.locator("#error")
        choose(page, PHOTO[:9000], "half.png")
        expect(error).to_have_text(
            re.compile(r"^half\.png: The photo cannot be decoded: .*truncated.*whole file")
        )
        assert page.locator("#result").is_hidden()
        choose(page, PHOTO, "whole.png")
        expect(page.locator("#status")).to_have_text("whole.png: 1 face.")
        assert error.is_hidden()
        drop(page, {"half.png": PHOTO[:9000]})
        expect(error).to_have_text(re.compile(r"^half\.png: "))
        expect(page.locator("#status")).to_have_text("Still shown, as it was: whole.png: 1 face.")
        assert page.locator("#overlay circle").count() == 68


def test_small_limits_are_stated_too(browser):
    with (
        running("--workers", 1, "--max-pixels", 250_000, "--max-bytes", 500_000) as small,
        opened_page(browser, small.url) as (page, _),
    ):
        expect(page.locator("#limits")).to_have_text("At most 0.5 MB and 0.25 megapixels.")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(browser, server):
    with opened_page(browser, server.url) as (page, complaints):
        page.locator("#limits", has_text="At most 20 MB and 50 megapixels.").wait_for()
        page.dispatch_event("#drop", "drop", {"dataTransfer": page.evaluate_handle(LARGE)})
        page.locator(
            "#error", has_text="large.png: It has 20.1 MB, more than the limit of 20.0 MB"
        ).wait_for()
        assert complaints == []


def test_the_camera_is_followed_and_a_photo_taken(browser, server):
    with opened_page(browser, server.url) as (page, complaints):
        page.click("#camera")
        page.locator(".face").wait_for()
        assert page.locator("#video").is_visible()
        page.click("#take")
        page.locator("[data-format=pts]:enabled").wait_for()
        assert page.inner_text("#status") == "camera.jpg: 1 face."
        assert page.locator("#video").is_hidden()
        assert shown_points(page, page.evaluate("photo.naturalWidth")).shape == (68, 2)
        assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light")])
def test_the_page_keeps_the_rules_of_accessibility(browser, server, width, scheme):
    """Those of axe: labels, order of headings, contrast and more."""
    with opened_page(browser, server.url, width, scheme=scheme) as (page, _):
        choose(page, two_faces())
        page.locator(".face >> nth=1").wait_for()
        page.click("summary")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
