"""The log of a training run: rows come back, a line that a crash cut short does not."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign.errors import FaceAlignError
from facealign.training.log import LogRow, append_row, plot_log, read_log, write_log

ROWS = [
    LogRow(0, 0.0, nme_inter_pupil=56.25, nme_inter_ocular=40.5),
    LogRow(20, 8.5, 1.75, 0.001),
    LogRow(40, 16.25, 0.875, 0.0009),
    LogRow(40, 16.25, nme_inter_pupil=8.123, nme_inter_ocular=5.5),
    LogRow(1_000_000, 1e6, 1e-9, 0.0),
]
numbers = st.none() | st.floats(0, 1e9)
rows = st.builds(
    LogRow,
    iteration=st.integers(0, 10**9),
    seconds=st.floats(0, 1e8),
    loss=numbers,
    rate=numbers,
    nme_inter_pupil=numbers,
    nme_inter_ocular=numbers,
)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "log.csv"
    write_log(path, ROWS[:2])
    for row in ROWS[2:]:
        append_row(path, row)
    assert read_log(path) == ROWS
    assert path.read_text().splitlines()[:3] == [
        "iteration,seconds,loss,rate,nme_inter_pupil,nme_inter_ocular",
        "0,0,,,56.25,40.5",
        "20,8.5,1.75,0.001,,",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]


@settings(deadline=None)
@given(st.lists(rows, max_size=8))
def test_any_rows_come_back_to_eight_digits(tmp_path_factory, given_rows):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_log(path, given_rows)
    found = read_log(path)
    assert [row.iteration for row in found] == [row.iteration for row in given_rows]
    for one, other in zip(found, given_rows, strict=True):
        pairs = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
        for value, expected in pairs:
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-7))


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    write_log(tmp_path / "log.csv", [LogRow(7, np.float64(1.5), float(np.mean([1.0, 2.0])), np.float32(0.5))])
    assert read_log(tmp_path / "log.csv") == [LogRow(7, 1.5, 1.5, 0.5)]


def test_only_rows_up_to_an_iteration(tmp_path):
    write_log(tmp_path / "log.csv", ROWS)
    assert read_log(tmp_path / "log.csv", until=40) == ROWS[:4]
    assert read_log(tmp_path / "log.csv", until=39) == ROWS[:2]
    assert read_log(tmp_path / "log.csv", until=-1) == []


def test_no_file_is_no_rows(tmp_path):
    assert read_log(tmp_path / "log.csv") == []


@pytest.mark.parametrize("last", [ROWS[2], ROWS[3]], ids=["training", "validation"])
def test_a_last_line_cut_short_anywhere_is_left_out(tmp_path, last):
    """A number may have lost its last digits, and would still be one."""
    path = tmp_path / "log.csv"
    write_log(path, [*ROWS[:2], last])
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for size in range(start, len(whole)):
        path.write_bytes(whole[:size])
        assert read_log(path) == ROWS[:2]
    path.write_bytes(whole)
    assert read_log(path) == [*ROWS[:2], last]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"iteration,seconds",
        b"a,b\n1,2\n",
        b"iteration,seconds,loss,rate,nme_inter_pupil\n",
        b"\x89PNG\r\n\x1a\n\x00\xff\xfe",
        b"iteration,seconds,loss,rate,nme_inter_pupil,nme_inter_ocular",
    ],
)
def test_what_is_no_log_is_refused(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(FaceAlignError, match=r"log\.csv: not a (training log|text file)") as caught:
        read_log(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "line", ["20,1.5,x,,,", "20,1.5", ",1.5,2,,,", "20,,2,,,", "nan,1,2,,,", "inf,1,2,,,"]
)
def test_a_damaged_line_within_is_named(tmp_path, line):
    path = tmp_path / "log.csv"
    write_log(path, ROWS[:3])
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FaceAlignError, match=r"log\.csv, line 3: ") as caught:
        read_log(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_log_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "log.csv"
    write_log(path, ROWS)

    def broken():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_log(path, broken())
    assert read_log(path) == ROWS
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("plotted", [ROWS, [], ROWS[:1], ROWS[1:2], [LogRow(9, 1.0, nme_inter_pupil=np.nan)]])
@pytest.mark.filterwarnings("error")
def test_the_plot_is_a_png_of_any_rows(tmp_path, plotted):
    plot_log(tmp_path / "log.png", plotted, "mobilenet_v2/stage1")
    assert (tmp_path / "log.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert cv2.imread(str(tmp_path / "log.png")).shape == (495, 990, 3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.png"]


def colours(path):
    """Share of pixels that are blue as the loss's line, and orange as the validation's."""
    picture = cv2.imread(str(path)).astype(int)
    return [(np.abs(picture - colour).max(axis=2) < 30).mean() for colour in ((180, 119, 31), (14, 127, 255))]


def test_the_plot_shows_losses_and_errors(tmp_path):
    losses = [LogRow(20 * i, i, 2.0 / i, 0.001) for i in range(1, 50)]
    errors = [LogRow(200 * i, i, nme_inter_pupil=30 - 5 * i) for i in range(5)]
    for name, plotted in (("none", []), ("losses", losses), ("errors", errors), ("both", losses + errors)):
        plot_log(tmp_path / f"{name}.png", plotted, "run")
    none, loss, error, both = (
        colours(tmp_path / f"{name}.png") for name in ("none", "losses", "errors", "both")
    )
    assert loss[0] > 2 * none[0]
    assert error[1] > 2 * none[1]
    assert both[0] > 2 * none[0]
    assert both[1] > 2 * none[1]
