"""The file of results and the tables: against values worked out by hand."""

import math

import pytest

from benchmarks.__main__ import BEGIN, END, insert
from benchmarks.hardware import Machine, cpu_model
from benchmarks.measure import Measurement
from benchmarks.peers import requirements
from benchmarks.results import COLUMNS, from_csv, to_csv
from benchmarks.targets import Target, milliseconds, outcome, recall, results_table, targets_table
from facealign.errors import FaceAlignError

TASK = "training iteration, 2 threads"


def measured(name, *milliseconds, task=TASK, note=""):
    return Measurement(task, name, tuple(value / 1e3 for value in milliseconds), 12.5, note)


def test_csv_round_trip():
    measurements = [
        measured("stock Caffe", 400, 402.5, 380),
        Measurement("detection", "absent, alas", (), note='said "no"'),
        measured("facealign", 1 / 3, 0.5, note="recall 1.00"),
    ]
    head = {"cpu": "Some CPU @ 3: fast", "cores": "2"}
    found, found_head = from_csv(to_csv(measurements, head))
    assert found_head == head
    assert [(one.task, one.name, one.note) for one in found] == [
        (one.task, one.name, one.note) for one in measurements
    ]
    for one, expected in zip(found, measurements, strict=True):
        assert one.rounds == pytest.approx(expected.rounds, rel=1e-5)
        assert one.memory == pytest.approx(expected.memory, nan_ok=True)


def test_csv_is_for_people_and_spreadsheets_too():
    lines = to_csv([measured("PyTorch", 1, 2, 3, 4, 5)], {"cpu": "two\nlines"}).splitlines()
    assert lines[0] == "# cpu: two lines"
    assert lines[1] == ",".join(COLUMNS)
    assert lines[2] == f'"{TASK}",PyTorch,3000,2000,4000,12.5,,1000 2000 3000 4000 5000'


def test_csv_of_something_else_is_refused():
    with pytest.raises(ValueError, match="expected the columns task, name"):
        from_csv("# cpu: x\nimage,nme\n1,2\n")


TARGET = Target("training", TASK, "PyTorch", 0.5)


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "reached"),
    [
        ([10, 20, 40], [20, 40, 80], 0.5, True),
        ([10, 20, 41], [20, 40, 80], 0.5, True),
        ([10, 21, 41], [20, 40, 80], 0.5125, False),
    ],
)
def test_a_target_is_reached_by_the_median_ratio(ours, theirs, ratio, reached):
    found = outcome(TARGET, [measured("facealign", *ours), measured("PyTorch", *theirs)])
    assert found.ratio[1] == pytest.approx(ratio)
    assert found.reached is reached


def test_the_fastest_of_our_engines_counts_but_not_against_itself():
    measurements = [
        measured("facealign: Caffe", 30, 30),
        measured("facealign: ONNX in OpenCV", 20, 20),
        measured("onnxruntime", 40, 40),
    ]
    assert outcome(Target("", TASK, "onnxruntime", 1), measurements).ratio[1] == 0.5
    assert outcome(Target("", TASK, "facealign: ONNX in OpenCV", 1), measurements).ratio[1] == 1.5


def test_growth_is_that_of_one_engine_between_two_tasks():
    target = Target("growth", "64 faces", "facealign", 1.05, against_task="1 face")
    measurements = [
        measured("facealign: Caffe", 8, 10, 12, task="64 faces"),
        measured("facealign: ONNX in OpenCV", 11, 11, 11, task="64 faces"),
        measured("facealign: ONNX in OpenCV", 1, 1, 1, task="1 face"),
        measured("facealign: Caffe", 20, 20, 20, task="1 face"),
    ]
    found = outcome(target, measurements)
    assert found.ratio == pytest.approx((9 / 20, 10 / 20, 11 / 20))
    assert found.reached


def test_a_rate_and_a_recall_have_to_be_reached_too():
    rate = Target("", TASK, "peer", 0.5, per_second=1000)
    assert outcome(rate, [measured("facealign", 0.9, 0.9), measured("peer", 2, 2)]).reached
    assert not outcome(rate, [measured("facealign", 1.1, 1.1), measured("peer", 9, 9)]).reached
    found = Target("", TASK, "peer", 0.5, recall=True)
    peer = measured("peer", 2, 2, note="recall 0.95 of 20 faces")
    assert outcome(found, [measured("facealign", 1, 1, note="recall 0.95"), peer]).reached
    assert not outcome(found, [measured("facealign", 1, 1, note="recall 0.90"), peer]).reached
    assert not outcome(found, [measured("facealign", 1, 1), peer]).reached
    assert recall(peer) == 0.95


@pytest.mark.parametrize(
    ("measurements", "said"),
    [
        ([], "facealign: not measured"),
        ([measured("facealign", 1, 1)], "PyTorch: not measured"),
        ([measured("facealign", 1, 1), measured("PyTorch", note="not installed")], "PyTorch: not installed"),
        ([measured("facealign", note="gone"), measured("PyTorch", 1, 1)], "facealign: gone"),
    ],
)
def test_what_was_not_measured_is_not_reached_and_says_why(measurements, said):
    found = outcome(TARGET, measurements)
    assert found.missing == said
    assert not found.reached
    assert math.isnan(found.ratio[1])
    assert said in targets_table(measurements)


def test_tables():
    measurements = [
        measured("facealign", 10, 20, 30),
        measured("PyTorch", 100, 100, 100),
        measured("stock Caffe", note="a | b"),
    ]
    row = targets_table(measurements).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == ["PyTorch", "20.0 ms", "100 ms", "0.200 (0.150 to 0.250)", "at most 0.5", "yes"]
    assert results_table(measurements).splitlines()[2:] == [
        f"| {TASK} | facealign | 20.0 ms (15.0 ms to 25.0 ms) | 12 MB |  |",
        "|  | PyTorch | 100 ms (100 ms to 100 ms) | 12 MB |  |",
        "|  | stock Caffe | not measured | 12 MB | a \\| b |",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3804, "380 ms"),
        (0.0123456, "12.3 ms"),
        (0.00037456, "0.375 ms"),
        (2e-5, "0.0200 ms"),
        (math.nan, ""),
    ],
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def test_docs_keep_what_is_around_the_figures():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert insert(text, "new\n\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert insert(insert(text, "once"), "new") == insert(text, "new")
    with pytest.raises(FaceAlignError, match="lacks the lines"):
        insert("nothing", "new")


def test_machine():
    intel = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\nprocessor\t: 1\n"
    assert cpu_model(intel) == "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    assert Machine(cpu_model(intel), 4, 16).slug == "intel_xeon_cpu_e5_2680_v4_2.40ghz_4_cores"
    nameless = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    assert Machine(cpu_model(nameless), 2, 24).slug == "amd_epyc_family_25_model_17_2_cores"
    assert cpu_model("") == "unknown CPU"


def test_requirements():
    assert requirements("# head\n\ntorch==2.13.0\nlmdb==3.0.0  # why\n") == ["torch==2.13.0", "lmdb==3.0.0"]
