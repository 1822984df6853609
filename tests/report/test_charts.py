"""The numbers behind the curves, bars and circles of a report."""

import numpy as np
import pytest

from facealign.report.charts import ced_charts, ced_table, training_charts, training_table
from facealign.report.landmark_errors import landmark_errors
from facealign.report.parts import parts
from facealign.training.log import LogRow
from tests.report.made_evaluations import evaluation, training_rows


def test_a_curve_counts_the_faces_within_each_error(both):
    for chart in ced_charts([both[0]]):
        for series in chart["series"]:
            paths = both[0]["members"][series["label"].rpartition(" (")[0]]
            errors = [both[0]["errors"][path] for path in paths]
            for x, y in zip(chart["x"], series["y"], strict=True):
                within = sum(error is not None and error[chart["name"]] <= x for error in errors)
                assert y == pytest.approx(100 * within / len(errors), abs=0.01)


def test_the_table_of_a_curve_says_what_the_curve_shows(both):
    chart = ced_charts(both)[1]
    header, rows = ced_table(both, "inter_ocular")
    assert len(rows) == len(chart["series"]) == 4
    for series, row in zip(chart["series"], rows, strict=True):
        for limit, cell in zip(header[1:], row[1:], strict=True):
            at = chart["x"].index(float(limit.removesuffix(" %")))
            assert float(cell.removesuffix(" %")) == pytest.approx(series["y"][at], abs=0.06)


def test_runs_share_their_charts_and_are_empty_where_they_were_not_measured():
    logs = {"a": training_rows(200, 20), "b": training_rows(100, 50)}
    charts = {chart["name"]: chart for chart in training_charts(logs)}
    assert list(charts) == ["loss", "nme_inter_pupil", "nme_inter_ocular", "rate"]
    iterations = sorted({*range(20, 201, 20), 50, 100})
    assert all(chart["x"] == iterations for chart in charts.values())
    first, second = charts["loss"]["series"]
    assert first["y"] == [1 / at if at % 20 == 0 else None for at in iterations]
    assert second["y"] == [1 / at if at in (50, 100) else None for at in iterations]
    assert charts["loss"]["logarithmic"]
    assert not charts["rate"]["logarithmic"]


def test_a_loss_of_0_has_no_logarithm_and_what_was_never_measured_no_chart():
    charts = training_charts({"a": [LogRow(1, 1.0, 0.5), LogRow(2, 2.0, 0.0)]})
    assert [(chart["name"], chart["logarithmic"]) for chart in charts] == [("loss", False)]


def test_a_run_in_words():
    rows = [
        LogRow(100, 60.0, 0.5, 0.1, 9.0, 7.0),
        LogRow(200, 120.0, 0.25, 0.05, 6.0, 5.0),
        LogRow(300, 7200.0, 0.125, 0.025, 8.0, 6.0),
        LogRow(310, 7300.0, 0.12, None),
    ]
    header, ((*cells,),) = training_table({"run": rows})
    assert dict(zip(header, cells, strict=True)) == {
        "Run": "run",
        "Iterations": "310",
        "Time": "2.0 h",
        "Last loss": "0.12",
        "Last rate": "0.025",
        "Best NME": "6.00",
        "At iteration": "200",
        "Last NME": "8.00",
    }
    assert training_table({"new": [LogRow(1, 5.0)]})[1] == [["new", "1", "0.1 min", *["-"] * 5]]


def test_the_error_of_each_landmark_and_its_circle_are_those_by_hand(both):
    found = landmark_errors(both[0])
    faces = [face for face in both[0]["faces"].values() if face["predicted"]]
    assert found.faces == len(faces) == 13
    by_hand = []
    for face in faces:
        truth = np.array(face["truth"])
        eyes = np.hypot(*(truth[36:42].mean(axis=0) - truth[42:48].mean(axis=0)))
        by_hand.append(np.hypot(*(np.array(face["predicted"]) - truth).T) / eyes)
    np.testing.assert_allclose(found.errors, 100 * np.mean(by_hand, axis=0))
    eyes = np.hypot(*(found.shape[36:42].mean(axis=0) - found.shape[42:48].mean(axis=0)))
    np.testing.assert_allclose(found.radii, np.mean(by_hand, axis=0) * eyes)
    assert found.groups[0] == "contour"
    assert found.groups[40] == "eyes"


def test_without_landmarks_there_is_no_mean_face(both):
    assert landmark_errors({**both[0], "faces": {}}) is None
    assert landmark_errors({name: value for name, value in both[0].items() if name != "faces"}) is None


def test_bars_are_to_one_scale_and_methods_beside_each_other(both):
    tables = parts(both)
    assert list(tables) == ["data set", "landmarks", "yaw", "pitch", "box overlap", "face size"]
    highest = max(row["nme_inter_pupil_interval"][1] for one in both for row in one["breakdown"])
    rows = [row for one in tables.values() for row in one]
    assert max(row.bar[2] for row in rows) == pytest.approx(100)
    first, second = tables["data set"][:2]
    assert (first.part, first.evaluation, second.part, second.evaluation) == ("afw", 0, "afw", 1)
    (figures,) = [row for row in both[0]["breakdown"] if row["name"] == "afw"]
    assert first.bar[1] == pytest.approx(100 * figures["nme_inter_pupil"] / highest)
    assert (first.faces, first.missed) == (8, 1)


def test_a_part_whose_faces_were_all_missed_has_no_bar(root):
    everything = evaluation(
        root, "blind", (0, 0), missed=[f"300w/afw/image_{index}.png" for index in range(7)]
    )
    row = {"by": "yaw", "name": "strong", **everything["subsets"]["afw"], "nme_inter_pupil": None}
    assert parts([{**everything, "breakdown": [row]}])["yaw"][0].bar is None
