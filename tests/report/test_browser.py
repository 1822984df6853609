"""The page in headless Chromium as a person uses it, by mouse and keys: no error, no network."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from facealign.datasets.scan import scan
from facealign.io.images import read_image
from facealign.report.charts import ced_charts, training_charts
from facealign.report.faces import crop, shown_faces
from facealign.report.page import page
from tests.chromium import PATIENCE, chromium
from tests.report.made_evaluations import ASTRONAUT, training_rows

MISSED = "300w/afw/image_2.png"
WORST = 6


@pytest.fixture(scope="module")
def logs():
    return {"first": training_rows(), "second": training_rows(scale=2.0)}


@pytest.fixture(scope="module")
def file(root, both, logs, tmp_path_factory):
    faces = shown_faces(both, WORST)
    samples = {sample.relative: sample for sample in scan(root).samples}
    photos = {face.path: crop(read_image(samples[face.path].path), face.frame) for face in faces}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(both, faces, photos, logs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=PATIENCE)
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser, file):
    """(options of the context) -> the page in a window; at the end nothing was complained of or fetched."""
    contexts, complaints, fetched = [], [], []

    def call(path=file, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_offline(True)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        window = context.new_page()
        window.on("console", lambda message: complaints.append(message.text))
        window.on("pageerror", lambda error: complaints.append(str(error)))
        window.on("request", lambda request: fetched.append(request.url))
        window.goto(path.as_uri())
        return window

    yield call
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in fetched if not url.startswith(("file:", "data:"))] == []


def column(table, number):
    return table.locator(f"tbody tr > :nth-child({number})").all_text_contents()


def shown(window):
    return window.locator(".face:not([hidden])").evaluate_all("faces => faces.map(face => face.dataset.path)")


def by_error(evaluation_):
    errors = evaluation_["errors"]
    return sorted(errors, key=lambda path: -(errors[path]["inter_pupil"] if errors[path] else 1000))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_renders_within_the_window_and_without_a_fault_of_accessibility(visit, width, scheme):
    window = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert window.evaluate("document.documentElement.scrollWidth") == width
    assert window.locator(".plot canvas:visible").count() == 5  # the other CED waits for its button
    background = window.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(int(part) for part in background.strip("rgb()").split(","))
    assert level > 600 if scheme == "light" else level < 150
    found = Axe().run(window)
    assert found.violations_count == 0, found.generate_report()


def test_curves_are_read_by_the_mouse_and_by_keys(visit, both, logs):
    window = visit()
    plot = window.locator(".plot").first
    chart = ced_charts(both)[0]
    plot.scroll_into_view_if_needed()
    area = plot.locator(".u-over").bounding_box()
    window.mouse.move(area["x"] + area["width"] / 2, area["y"] + 30)
    index = (len(chart["x"]) - 1) // 2
    values = plot.locator(".u-legend .u-value")
    expect(values.nth(0)).to_have_text(f"{chart['x'][index]:.2f} %")
    for number, series in enumerate(chart["series"], 1):
        assert float(values.nth(number).inner_text().removesuffix(" %")) == pytest.approx(
            series["y"][index], rel=1e-3
        )
    plot.focus()
    window.keyboard.press("End")
    expect(values.nth(0)).to_have_text(f"{chart['x'][-1]:.2f} %")
    expect(window.locator(".plot + p").first).to_contain_text(f"{chart['x'][-1]:.2f} %")

    # All charts of the training show the same iteration, and where nothing was measured the nearest that was.
    charts = training_charts(logs)
    training = window.locator(".plot[data-kind=training]")
    training.first.focus()
    window.keyboard.press("Home")
    for _ in range(4):
        window.keyboard.press("ArrowRight")
    for number, chart in enumerate(charts):
        values = training.nth(number).locator(".u-legend .u-value")
        expect(values.nth(0)).to_have_text(str(chart["x"][4]))
        near = [y for y in chart["series"][0]["y"][3:5] if y is not None][-1]
        assert float(values.nth(1).inner_text()) == pytest.approx(near, rel=1e-3)


def test_a_curve_is_hidden_by_its_legend_and_the_other_normaliser_chosen(visit):
    window = visit()
    label = window.locator(".plot .u-series th[role=button]").first
    label.focus()
    window.keyboard.press("Enter")
    expect(label).to_have_attribute("aria-pressed", "false")
    expect(window.locator(".plot .u-series").nth(1)).to_have_class("u-series u-off")
    assert not window.locator(".choice[data-choice='1']").is_visible()
    window.get_by_role("radio", name="the inter-ocular distance").check()
    expect(window.locator(".choice[data-choice='1'] canvas")).to_be_visible()
    assert not window.locator(".choice[data-choice='0']").is_visible()


def test_tables_are_sorted_by_their_headers(visit):
    window = visit()
    table = window.locator("#parts table").first
    before = column(table, 3)
    head = table.get_by_role("button", name="Inter-pupil")
    head.focus()
    window.keyboard.press("Enter")
    numbers = [float(cell.split()[0]) for cell in column(table, 3)]
    assert numbers == sorted(float(cell.split()[0]) for cell in before)
    expect(table.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    head.click()
    assert [float(cell.split()[0]) for cell in column(table, 3)] == numbers[::-1]
    expect(table.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")

    reported = window.locator("table").nth(0)
    reported.get_by_role("button", name="Full").click()
    assert column(reported, 5)[:3] == ["6.39", "6.67", "6.96"]
    reported.get_by_role("button", name="Full").click()
    assert column(reported, 5)[:3] == ["6.96", "6.67", "6.39"]  # those absent stay last


def test_faces_are_filtered_and_sorted(visit, both):
    window = visit()
    one, other = both
    assert shown(window) == by_error(one)[:WORST]
    expect(window.locator(".count")).to_have_text(f"{WORST} faces")
    window.get_by_label("Method").select_option("other")
    assert shown(window) == by_error(other)[:WORST]
    worst = other["errors"][by_error(other)[0]]["inter_pupil"]
    expect(window.locator(".face:not([hidden]) .errors strong:visible").first).to_have_text(f"{worst:.2f} %")
    window.get_by_label("Show").select_option("all of these")
    everything = shown(window)
    assert everything == [path for path in by_error(other) if path in everything]
    assert len(everything) > WORST
    window.get_by_label("Folder").select_option("helen/trainset")
    assert shown(window) == [path for path in everything if "helen" in path]
    window.get_by_label("Order").select_option("by name")
    assert shown(window) == sorted(path for path in everything if "helen" in path)
    window.get_by_role("button", name="Reset").click()
    window.get_by_label("Show").select_option("the random ones")
    random = [face.path for face in shown_faces(both, WORST) if face.random]
    assert shown(window) == [path for path in by_error(one) if path in random]
    window.get_by_label("Show").select_option("all of these")
    window.get_by_label("Name contains").fill(" ASTRO")
    assert shown(window) == [ASTRONAUT]
    expect(window.locator(".count")).to_have_text("1 face")


def test_a_missed_face_is_first_and_has_no_prediction(visit):
    window = visit()
    first = window.locator(".face:not([hidden])").first
    expect(first).to_have_attribute("data-path", MISSED)
    expect(first.locator(".errors strong:visible")).to_have_text("missed")
    expect(first.locator("path.predicted:visible")).to_have_count(0)
    window.get_by_label("Method").select_option("other")
    window.get_by_label("Show").select_option("all of these")
    expect(window.locator(f".face[data-path='{MISSED}'] path.predicted:visible")).to_have_count(1)


def test_truth_and_prediction_are_drawn_where_they_are_and_can_be_hidden(visit, both):
    window = visit()
    window.get_by_label("Show").select_option("all of these")
    (face,) = [face for face in shown_faces(both, WORST) if face.path == ASTRONAUT]
    svg = window.locator(f".face[data-path='{ASTRONAUT}'] svg")
    side = face.frame[2] - face.frame[0]
    for name, points in (("truth", face.truth), ("predicted", face.predicted[0])):
        box = svg.locator(f"path.{name}").first.evaluate(
            "path => (box => [box.x, box.y, box.x + box.width, box.y + box.height])(path.getBBox())"
        )
        expected = [*points.min(axis=0), *points.max(axis=0)] - face.frame[[0, 1, 0, 1]]
        assert box == pytest.approx(expected * 200 / side, abs=0.1)
    for label, name in (("annotated", "truth"), ("predicted", "predicted"), ("difference", "gaps")):
        box = window.locator("#faces form").get_by_label(label)
        expect(svg.locator(f"path.{name}").first).to_be_visible()
        box.uncheck()
        expect(svg.locator(f"path.{name}").first).not_to_be_visible()


def test_a_face_is_enlarged_and_the_keys_lead_on(visit, both):
    window = visit()
    paths = by_error(both[0])[:WORST]
    window.locator(".enlarge:visible").nth(0).focus()
    window.keyboard.press("Enter")
    zoom, title = window.locator("#zoom"), window.locator("#zoom-title")
    expect(title).to_have_text(paths[0])
    expect(zoom.get_by_role("button", name="Previous")).to_be_disabled()
    window.keyboard.press("ArrowRight")
    expect(title).to_have_text(paths[1])
    for method in ("one", "other"):
        expect(zoom.locator(".zoom-figures")).to_contain_text(f"{method}: ")
    width = zoom.locator("svg").bounding_box()["width"]
    window.keyboard.press("+")
    assert zoom.locator("svg").bounding_box()["width"] == pytest.approx(1.5 * width, rel=0.01)
    window.keyboard.press("-")
    assert zoom.locator("svg").bounding_box()["width"] == pytest.approx(width, rel=0.01)
    window.keyboard.press("p")
    expect(zoom.locator("path.predicted").first).not_to_be_visible()
    expect(zoom.get_by_role("button", name="Predicted")).to_have_attribute("aria-pressed", "false")
    zoom.get_by_role("button", name="Predicted").click()
    expect(zoom.locator("path.predicted").first).to_be_visible()
    found = Axe().run(window, context="#zoom")
    assert found.violations_count == 0, found.generate_report()
    window.keyboard.press("Escape")
    expect(zoom).not_to_be_visible()
    focused = "document.activeElement.closest('.face')?.dataset.path"
    assert window.evaluate(focused) == paths[1]


def test_colours_can_be_chosen_and_are_kept(visit):
    window = visit(color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = window.evaluate(colour)
    button = window.get_by_role("button", name="Colours")
    button.click()
    button.click()
    expect(button).to_have_text("Colours: dark")
    assert window.evaluate(colour) != light
    window.reload()
    expect(button).to_have_text("Colours: dark")
    button.click()
    assert window.evaluate(colour) == light


def test_it_is_printed_light_and_without_its_controls(visit):
    window = visit(color_scheme="dark")
    window.emulate_media(media="print")
    assert window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for control in ("nav", "#faces form", "#theme", ".choices"):
        expect(window.locator(control).first).not_to_be_visible()
    assert window.pdf().startswith(b"%PDF")
    assert window.evaluate("document.querySelectorAll('details[open]').length") == 0  # as before


def test_without_scripts_all_but_the_curves_is_there(visit):
    window = visit(java_script_enabled=False)
    expect(window.locator("#parts table").first).to_be_visible()
    expect(window.locator(".face svg").first).to_be_visible()
    for control in ("#theme", "#faces form", ".choices"):
        expect(window.locator(control).first).not_to_be_visible()


def test_faces_without_photos_and_names_like_markup_are_shown(visit, both, tmp_path):
    evil = "<img src=x onerror=document.title='evil'>"
    first = both[0]
    other = {**first, "settings": {**first["settings"], "method": evil}}
    path = tmp_path / "evil.html"
    path.write_text(page([other], shown_faces([other], 3)), encoding="utf-8")
    window = visit(path)
    expect(window.locator(".tiles h3")).to_have_text(evil)
    expect(window.locator(".face:not([hidden]) svg")).to_have_count(3)
    expect(window.locator("image")).to_have_count(0)
    assert "evil'" in window.title()  # as text


def test_training_alone(visit, logs, tmp_path):
    path = tmp_path / "training.html"
    path.write_text(page([], logs=logs), encoding="utf-8")
    window = visit(path)
    expect(window.locator(".plot canvas")).to_have_count(4)
