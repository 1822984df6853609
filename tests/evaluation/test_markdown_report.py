"""The Markdown tables and the CED plot."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from facealign.errors import FaceAlignError
from facealign.evaluation.ced_plot import curves, plot_ced
from facealign.evaluation.figures import figures
from facealign.evaluation.markdown_report import markdown, validation_by_data_set
from facealign.evaluation.report_tables import comparison, methods_on, subset_table
from facealign.io.markdown import table

ROOT = Path(__file__).parents[2]


def evaluation(
    method="ours", errors=((5.0, 4.0), (9.0, 7.0), None), subsets=("common", "challenging", "full")
):
    """An evaluation whose subsets all hold the same faces."""
    values = [
        None if error is None else {"inter_pupil": error[0] / 100, "inter_ocular": error[1] / 100}
        for error in errors
    ]
    return {
        "settings": {"method": method, "input": "64x64", "boxes": "mtcnn"},
        "subsets": {name: figures(values) for name in subsets},
        "absent": ["lfpw/trainset"],
        "incomplete": {"common": {"images": 3, "in_release": 554}},
        "skipped": [],
        "errors": {
            f"{index}.png": None if error is None else {"inter_pupil": error[0], "inter_ocular": error[1]}
            for index, error in enumerate(errors)
        },
        "members": {name: [f"{index}.png" for index in range(len(errors))] for name in subsets},
    }


def cells(shown):
    """The cells of a table, or of a text with tables, as Markdown shows them; its second row is a line."""
    text = shown if isinstance(shown, str) else table(*shown)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_held_out_part_has_a_table_of_its_own():
    both = evaluation(subsets=("validation",)), evaluation("other", ((6.0, 5.0),), subsets=("held-out",))
    text = markdown(both)
    assert text.index("Validation part: ") < text.index("Held-out part: ")
    assert [row[:4] for row in cells(methods_on("held-out", both))[2:]] == [["other", "64x64", "1", "0"]]
    assert "(reported)" not in text


def test_of_other_folders_than_300w_s_the_methods_stand_side_by_side_without_reported_rows():
    both = evaluation(subsets=("mine",)), evaluation("other", ((6.0, 5.0),) * 3, subsets=("mine",))
    text = markdown(both)
    assert "(reported)" not in text
    assert "Challenge" not in text
    rows = cells(text[text.index("| Method") :])
    assert [row[:5] for row in rows[2:4]] == [
        ["ours", "64x64", "3", "1", "7.00 [5.00, 9.00]"],
        ["other", "64x64", "3", "0", "6.00 [6.00, 6.00]"],
    ]
    assert rows[3][7] == "-1.00 [-3.00, +1.00]"


def test_the_reported_rows_stand_above_ours():
    rows = cells(comparison([evaluation()]))
    assert rows[0] == ["Method", "Input", "Common", "Challenge", "Full", "Training data"]
    assert rows[2:5] == [
        ["VGG-Shadow (with dropout) (reported)", "70x60", "5.66", "10.82", "6.67", "300W"],
        ["Mobilenet-v2-stage1 (reported)", "64x64", "6.07", "10.60", "6.96", "300W and Menpo"],
        ["Mobilenet-v2-stage2 (reported)", "64x64", "5.76", "8.93", "6.39", "300W and Menpo"],
    ]
    assert rows[5][:5] == ["ours", "64x64", "7.00*", "7.00", "7.00"]


def test_inter_ocular_figures_are_not_put_under_inter_pupil_ones():
    rows = cells(comparison([evaluation()], "inter_ocular"))
    assert [row[:5] for row in rows[2:]] == [["ours", "64x64", "5.50*", "5.50", "5.50"]]
    with pytest.raises(ValueError, match="inter_iris"):
        comparison([evaluation()], "inter_iris")


def test_absent_subsets_are_said_in_both_tables():
    partial = evaluation(subsets=("afw",))
    assert cells(comparison([partial]))[-1][2:5] == ["absent"] * 3
    assert cells(subset_table(partial))[-1][:2] == ["lfpw/trainset", "absent"]


def test_details_hold_every_figure():
    rows = cells(subset_table(evaluation()))
    assert rows[2] == [
        "common (of 554)",
        "3",
        "1",
        "7.00 [5.00, 9.00]",
        "5.50 [4.00, 7.00]",
        *["0.3333", "0.2083", "0.3333", "0.3000"],
    ]
    assert rows[3][0] == "challenging"


def test_a_subset_without_any_detection_has_no_nme():
    assert "-" in subset_table(evaluation(errors=(None, None)))[1][0]


def test_markdown_names_the_normalisers_and_explains_the_star():
    text = markdown([evaluation("first"), evaluation("second")])
    assert "inter-pupil" in text
    assert "inter-ocular" in text
    assert "`*`" in text
    assert text.count("| first |") == text.count("| second |") == 2
    with pytest.raises(FaceAlignError, match="no evaluation"):
        markdown([])


def test_methods_on_the_validation_part_and_their_differences_face_by_face():
    rng = np.random.default_rng(0)
    hard = rng.uniform(3, 15, 40)  # faces differ far more than methods do
    first = evaluation("first", [(value, 0.7 * value) for value in hard], ("validation",))
    better = evaluation("better", [(value - 0.5, 0.7 * value) for value in hard], ("validation",))
    rows = cells(methods_on("validation", [first, better]))
    assert rows[0][-1] == "Inter-pupil, to the first"
    assert rows[2][:4] == ["first", "64x64", "40", "0"]
    assert rows[2][-1] == "-"
    assert rows[2][4].startswith(f"{hard.mean():.2f} [")
    assert rows[3][-1] == "-0.50 [-0.50, -0.50]"
    low, high = first["subsets"]["validation"]["nme_inter_pupil_interval"]
    assert high - low > 1
    text = markdown([first, better])
    assert "reported" not in text
    assert "| first | 64x64 |" in text

    # Other faces, or one method alone: no difference to tell.
    fewer = evaluation("fewer", [(5.0, 4.0)], ("validation",))
    for some in ([first, fewer], [first], [first, evaluation("elsewhere")]):
        assert cells(methods_on("validation", some))[0][-1] == "Failures over 8 %"


def test_a_face_that_one_method_missed_is_not_in_the_difference():
    first = evaluation("first", [(5.0, 4.0), None, (6.0, 5.0)], ("validation",))
    second = evaluation("second", [(7.0, 4.0), (90.0, 70.0), None], ("validation",))
    assert cells(methods_on("validation", [first, second]))[3][-1] == "+2.00 [+2.00, +2.00]"
    none = evaluation("none", [None, None, None], ("validation",))
    assert cells(methods_on("validation", [first, none]))[3][-1] == "-"


def test_a_bar_in_a_cell_is_escaped():
    assert table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |\n"


def test_missed_faces_lower_the_curve():
    (label, errors), *_ = curves([evaluation()], "inter_pupil")
    assert label == "common"
    np.testing.assert_array_equal(errors, [5.0, 9.0, np.inf])
    labels = [label for label, _ in curves([evaluation("a"), evaluation("b")], "inter_ocular")]
    assert labels == ["a: full", "b: full"]
    both = evaluation(subsets=("validation", "common"))
    assert [label for label, _ in curves([both], "inter_pupil")] == ["validation", "common"]
    assert [label for label, _ in curves([both, both], "inter_pupil")] == ["ours: validation"] * 2


def test_the_plot_is_a_picture_and_the_same_each_time(tmp_path):
    plot_ced(tmp_path / "ced.png", [evaluation()])
    plot_ced(tmp_path / "again.png", [evaluation()])
    picture = cv2.imread(str(tmp_path / "ced.png"))
    assert picture.shape[1] > 1000
    assert picture.std() > 5
    assert (tmp_path / "ced.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "facealign", "report", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_program(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(evaluation("one")))
    (tmp_path / "two.json").write_text(json.dumps(evaluation("two")))
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    shown = program(*files)
    assert shown.returncode == 0
    assert shown.stdout == markdown([evaluation("one"), evaluation("two")])
    kept = program(*files, "--output", tmp_path / "report.md", "--plot", tmp_path / "ced.png")
    assert kept.returncode == 0
    names = [line.partition(": ")[0] for line in kept.stdout.splitlines()]
    assert names == [str(tmp_path / "report.md"), str(tmp_path / "ced.png")]
    assert (tmp_path / "report.md").read_text() == shown.stdout
    assert cv2.imread(str(tmp_path / "ced.png")) is not None


def test_the_program_names_a_bad_file(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    result = program(tmp_path / "bad.json")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "bad.json" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_part_of_the_validation_part_is_called_so_wherever_it_appears():
    whole = {**evaluation("whole", subsets=("validation",)), "breakdown": [], "interval": "95 %"}
    part = {**whole, "settings": {**whole["settings"], "method": "part", "engine": "OnnxEngine"}}
    part["incomplete"] = {"validation": {"images": 3, "in_release": 300}}
    assert [row[2] for row in cells(methods_on("validation", [whole, part]))[2:]] == ["3", "3 of 300"]
    assert cells(subset_table(part))[2][0] == "validation (of 300)"
    assert ["all", "3 of 300"] in [row[:2] for row in cells(validation_by_data_set(part))]
    line = "part: not the whole validation part, but 3 of 300 faces: compare it with no other.\n"
    assert line in markdown([whole, part])
    assert "not the whole" not in markdown([whole])
    broken_down = {**part, "breakdown": [{"by": "yaw", "name": "half", **part["subsets"]["validation"]}]}
    assert "part, 3 of 300 faces of the validation part broken down." in markdown([broken_down])
