"""The program that writes the page, on made-up faces and scikit-image's astronaut."""

import base64
import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.commands.report import arguments_of, photos_of, read_logs
from facealign.errors import FaceAlignError
from facealign.evaluation.results_file import write_results
from facealign.report.faces import shown_faces
from facealign.report.page import _template
from facealign.training.log import write_log
from tests.report.made_evaluations import ASTRONAUT, evaluation, make_faces, training_rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with faces/, one.json, other.json and run/log.csv."""
    place = tmp_path_factory.mktemp("place")
    make_faces(place / "faces")
    for name, shift in (("one", (3.0, 4.0)), ("other", (0.0, 6.0))):
        write_results(place / f"{name}.json", evaluation(place / "faces", name, shift))
    (place / "run").mkdir()
    write_log(place / "run" / "log.csv", training_rows())
    return place


def report(place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "facealign", "report", *map(str, arguments)],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_has_the_photos_of_the_folder_that_is_named(place, tmp_path):
    command = ("one.json", "other.json", "--log", "run", "--data", "faces", "--html")
    for name in ("a.html", "b.html"):
        done = report(place, *command, tmp_path / name)
        size = (tmp_path / name).stat().st_size
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / name}: {size} bytes\n", "")
    text = (tmp_path / "a.html").read_text()
    assert (tmp_path / "b.html").read_text() == text
    assert "<title>Face alignment: one, other, run</title>" in text
    photos = re.findall(r'data:image/jpeg;base64,([^"]+)"', text)
    assert len(photos) == 14
    decoded = [
        cv2.imdecode(np.frombuffer(base64.b64decode(photo), np.uint8), cv2.IMREAD_COLOR) for photo in photos
    ]
    # All others are grey.
    (face,) = [image for image in decoded if np.ptp(image.astype(int), axis=2).max() > 30]
    scores = cv2.matchTemplate(astronaut()[:, :, ::-1].copy(), face[20:-20, 20:-20], cv2.TM_CCOEFF_NORMED)
    assert scores.max() > 0.98


def test_without_data_no_photo_is_in_the_page_and_markdown_is_written_beside_it(place, tmp_path):
    done = report(place, "one.json", "--html", tmp_path / "page.html", "--output", tmp_path / "report.md")
    files = [tmp_path / "report.md", tmp_path / "page.html"]
    assert done.stdout.splitlines() == [f"{path}: {path.stat().st_size} bytes" for path in files]
    assert (done.returncode, done.stderr) == (0, "")
    assert "data:image" not in (tmp_path / "page.html").read_text().replace("img-src data:", "")
    assert (tmp_path / "report.md").read_text() == report(place, "one.json").stdout


def test_json_has_the_figures_and_leaves_the_table_to_standard_error(place, tmp_path):
    done = report(place, "one.json", "other.json", "--plot", tmp_path / "ced.png", "--json", "-")
    assert done.returncode == 0
    written = [json.loads((place / f"{name}.json").read_text()) for name in ("one", "other")]
    assert [one["subsets"] for one in json.loads(done.stdout)["evaluations"]] == [
        one["subsets"] for one in written
    ]
    assert "faces" not in json.loads(done.stdout)["evaluations"][0]
    table = report(place, "one.json", "other.json", "--quiet").stdout
    size = (tmp_path / "ced.png").stat().st_size
    assert done.stderr == f"{table}{tmp_path / 'ced.png'}: {size} bytes\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["--html", "page.html"],
        ["one.json", "--data", "faces"],
        ["one.json", "--log", "run"],
        ["--log", "run", "--html", "page.html", "--data", "faces"],
        ["--log", "run", "--html", "page.html", "--plot", "ced.png"],
        ["one.json", "--html", "page.html", "--faces", "-1"],
        ["one.json", "--html", "page.html", "--seed", "-1"],
    ],
)
def test_wrong_usage_is_2(command, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments_of(command)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_log_is_named_by_its_folder_and_two_of_one_name_by_their_paths(place, tmp_path):
    again = tmp_path / "run"
    again.mkdir()
    write_log(again / "log.csv", training_rows(100))
    write_log(tmp_path / "other.csv", training_rows(100))
    logs = read_logs([place / "run", place / "run" / "log.csv", again, tmp_path / "other.csv"])
    assert list(logs) == ["run", str(place / "run" / "log.csv"), str(again / "log.csv"), "other"]
    assert len(logs["run"]) == 10
    assert len(logs["other"]) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), ("", "not a training log"), ("x,y\n1,2\n", "not a training log")],
)
def test_what_is_no_log_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "log.csv").write_text(content)
    with pytest.raises(FaceAlignError, match=said) as raised:
        read_logs([tmp_path if content is not None else tmp_path / "log.csv"])
    assert str(raised.value).startswith(f"{tmp_path / 'log.csv'}: ")


def test_a_log_without_a_row_is_named(tmp_path):
    write_log(tmp_path / "log.csv", [])
    with pytest.raises(FaceAlignError, match=r"log\.csv: has no row yet"):
        read_logs([tmp_path])


def test_faces_whose_photo_is_gone_broken_or_another_are_counted(place, tmp_path, capsys):
    root = make_faces(tmp_path / "faces")
    faces = shown_faces([evaluation(root, "one", (3.0, 4.0))])
    (root / ASTRONAUT).unlink()
    (root / "300w/afw/image_0.png").write_bytes(b"not an image")
    pts = root / "300w/afw/image_1.pts"
    pts.write_text(
        pts.read_text().replace("\n}", "").replace("{\n", "{\n1 1\n").rpartition("\n")[0] + "\n}\n"
    )
    assert len(photos_of(faces, root)) == len(faces) - 3
    assert capsys.readouterr().err.startswith("without a picture: 3 of 14 faces, the first: ")


def test_another_folder_is_refused(place, tmp_path):
    faces = shown_faces([evaluation(place / "faces", "one", (3.0, 4.0))])
    (tmp_path / "elsewhere").mkdir()
    for suffix in (".png", ".pts"):
        (tmp_path / "elsewhere" / f"face{suffix}").write_bytes(
            (place / "faces" / ASTRONAUT).with_suffix(suffix).read_bytes()
        )
    with pytest.raises(FaceAlignError, match="has none of the evaluations' photos"):
        photos_of(faces, tmp_path / "elsewhere")


def test_without_jinja_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(FaceAlignError, match=r"pip install 'facealign\[report\]'"):
        _template.__wrapped__()
