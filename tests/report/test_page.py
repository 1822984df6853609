"""The page's text: well-formed, the same each time, loads nothing; what it says when figures are missing."""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from facealign.evaluation.markdown_report import markdown
from facealign.report.faces import crop, shown_faces
from facealign.report.page import method_names, page
from tests.report.made_evaluations import training_rows

VOID = {"meta", "input", "br", "link", "img"}


class Parsed(HTMLParser):
    """Elements of a page, checked to be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)


def made(evaluations, number=4, **options):
    return page(evaluations, shown_faces(evaluations, number), **options)


def test_it_is_well_formed_and_loads_nothing(both):
    faces = shown_faces(both, 4)
    image = np.full((200, 240, 3), 90, np.uint8)
    photos = {face.path: crop(image, face.frame) for face in faces}
    text = page(both, faces, photos, {"run": training_rows()})
    parsed = Parsed(text)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, name)
    images = [attributes for tag, attributes in parsed.elements if tag == "image"]
    assert len(images) == len(faces)
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in style
    assert "@import" not in style


def test_the_same_figures_are_the_same_page(both):
    assert made(both) == made(copy.deepcopy(both))


def test_reported_rows_and_ours_are_in_one_table(both):
    text = made(both)
    rows = re.findall(r'<tr( class="reported")?><th scope="row">(.*?)</th>', text)
    reported = [name for mark, name in rows if mark]
    assert reported == [
        "VGG-Shadow (with dropout) (reported)",
        "Mobilenet-v2-stage1 (reported)",
        "Mobilenet-v2-stage2 (reported)",
    ]
    assert rows[rows.index((' class="reported"', reported[-1])) + 1 :][:2] == [("", "one"), ("", "other")]


def test_an_evaluation_of_another_folder_has_no_reported_rows_beside_it(both):
    text = made([elsewhere(evaluation) for evaluation in both])
    assert "(reported)" not in text
    assert "300-W" not in text
    assert "Faces in mine/" in text


def elsewhere(evaluation):
    """The same figures, as if measured on a folder `mine`."""
    name = next(iter(evaluation["subsets"]))
    return {
        **evaluation,
        "subsets": {"mine": evaluation["subsets"][name]},
        "members": {"mine": evaluation["members"][name]},
        "absent": [],
        "incomplete": {},
    }


def test_names_are_text_whatever_is_in_them(both):
    evil = "</script><img src=x onerror=alert(1)> & \"'"
    other = copy.deepcopy(both[0])
    other["settings"] |= {"method": evil, "weights": evil}
    other["skipped"] = [{"file": evil, "reason": "broken"}]
    path = f"300w/{evil}/1.png"
    for part in (other["errors"], other["faces"]):
        part[path] = part.pop("300w/afw/image_1.png")
    other["members"] = {evil: list(other["errors"])}
    other["subsets"] = {evil: other["subsets"]["afw"]}
    parsed = Parsed(page([other], shown_faces([other], 50), logs={evil: training_rows()}))
    assert "img" not in [tag for tag, _ in parsed.elements]
    assert len([tag for tag, _ in parsed.elements if tag == "script"]) == 3
    assert path in parsed.texts


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 file could not be used and is not included"),
        (2, "2 files could not be used and are not included"),
    ],
)
def test_skipped_files_are_counted(both, count, said):
    one = copy.deepcopy(both[0])
    one["skipped"] = [{"file": f"{number}.png", "reason": "broken"} for number in range(count)]
    assert said in Parsed(made([one])).texts
    assert f"{said}.\n" in markdown([one])


def test_an_evaluation_of_an_earlier_version_says_what_is_missing(both):
    earlier = {name: value for name, value in both[0].items() if name != "faces"}
    text = " ".join(Parsed(made([earlier, both[1]])).texts)
    assert "one: this evaluation was made by an earlier version and has no landmarks" in text
    assert "other: this evaluation" not in text
    assert "one: no landmarks in this evaluation" in text
    assert Parsed(made([earlier]))


def test_a_part_of_the_validation_part_is_called_so(both):
    part = copy.deepcopy(both[0])
    part["members"] = {"validation": list(part["errors"])}
    part["subsets"] = {"validation": part["subsets"]["afw"]}
    part["incomplete"] = {"validation": {"images": 8, "in_release": 300}}
    text = " ".join(Parsed(made([part])).texts)
    assert "one: not the whole validation part, but 8 of 300 faces: compare it with no other." in text


def test_training_alone_is_a_page_too():
    text = page([], logs={"stage1": training_rows()})
    parsed = Parsed(text)
    sections = [attributes["id"] for tag, attributes in parsed.elements if tag == "section"]
    assert sections == ["training"]
    assert "<title>Face alignment: stage1</title>" in text


def test_only_what_is_needed_is_required_of_an_evaluation(both):
    least = {name: both[0][name] for name in ("settings", "subsets", "members", "errors")}
    least["settings"] = {"method": "m", "input": "64x64"}
    assert "No breakdown" in "".join(Parsed(made([least])).texts)
    nothing = {**least, "subsets": {}, "members": {}, "errors": {}}
    assert Parsed(made([nothing]))


def test_methods_of_one_name_are_numbered():
    assert method_names([{"settings": {"method": "m"}}] * 2) == ["m (1)", "m (2)"]
