"""The file of results and the tables: against values worked out by hand."""

import math

import pytest

from benchmarks.comparisons import Comparison, compare, comparisons_table, milliseconds, results_table
from benchmarks.hardware import Machine, cpu_model, vendor
from benchmarks.measure import Measurement
from benchmarks.peers import requirements
from benchmarks.results import COLUMNS, from_csv, to_csv
from benchmarks.targets import Target, reached, recall, verdicts

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


COMPARISON = Comparison("training", TASK, "PyTorch")
TARGET = Target(COMPARISON, {"v4": 0.5, "v3": 0.6})


@pytest.mark.parametrize(
    ("ours", "theirs", "ratio", "at_v4", "at_v3"),
    [
        ([10, 20, 40], [20, 40, 80], 0.5, True, True),
        ([10, 20, 41], [20, 40, 80], 0.5, True, True),
        ([10, 21, 41], [20, 40, 80], 0.5125, False, True),
    ],
)
def test_a_target_is_reached_by_the_median_ratio(ours, theirs, ratio, at_v4, at_v3):
    found = compare(COMPARISON, [measured("facealign", *ours), measured("PyTorch", *theirs)])
    assert found.ratio[1] == pytest.approx(ratio)
    assert reached(TARGET, "v4", found) is at_v4
    assert reached(TARGET, "v3", found) is at_v3
    with pytest.raises(ValueError, match="no target at level baseline: training"):
        reached(TARGET, "baseline", found)


def test_the_fastest_of_our_engines_counts_but_not_against_itself():
    measurements = [
        measured("facealign: Caffe", 30, 30),
        measured("facealign: ONNX in OpenCV", 20, 20),
        measured("onnxruntime", 40, 40),
    ]
    assert compare(Comparison("", TASK, "onnxruntime"), measurements).ratio[1] == 0.5
    assert compare(Comparison("", TASK, "facealign: ONNX in OpenCV"), measurements).ratio[1] == 1.5


def test_growth_is_that_of_one_engine_between_two_tasks():
    growth = Comparison("growth", "64 faces", "facealign", against_task="1 face")
    measurements = [
        measured("facealign: Caffe", 8, 10, 12, task="64 faces"),
        measured("facealign: ONNX in OpenCV", 11, 11, 11, task="64 faces"),
        measured("facealign: ONNX in OpenCV", 1, 1, 1, task="1 face"),
        measured("facealign: Caffe", 20, 20, 20, task="1 face"),
    ]
    found = compare(growth, measurements)
    assert found.ratio == pytest.approx((9 / 20, 10 / 20, 11 / 20))
    assert reached(Target(growth, 1.05), "baseline", found)


def test_a_rate_and_a_recall_have_to_be_reached_too():
    def at(target, *measurements):
        return reached(target, "v3", compare(target.comparison, measurements))

    rate = Target(Comparison("", TASK, "peer"), 0.5, per_second=1000)
    assert at(rate, measured("facealign", 0.9, 0.9), measured("peer", 2, 2))
    assert not at(rate, measured("facealign", 1.1, 1.1), measured("peer", 9, 9))
    found = Target(Comparison("", TASK, "peer"), 0.5, recall=True)
    peer = measured("peer", 2, 2, note="recall 0.95 of 20 faces")
    assert at(found, measured("facealign", 1, 1, note="recall 0.95"), peer)
    assert not at(found, measured("facealign", 1, 1, note="recall 0.90"), peer)
    assert not at(found, measured("facealign", 1, 1), peer)
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
    found = compare(COMPARISON, measurements)
    assert found.missing == said
    assert not reached(TARGET, "v4", found)
    assert math.isnan(found.ratio[1])
    assert f"not measured: {said}" in comparisons_table(measurements, [COMPARISON])
    assert cells(verdicts("v4", measurements, [TARGET])) == [
        ["training", "PyTorch", said, "at most 0.5", "not measured"]
    ]


def cells(table):
    """Those of a Markdown table's rows, without its head."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_tables():
    measurements = [
        measured("facealign", 10, 20, 30),
        measured("PyTorch", 100, 100, 100),
        measured("stock Caffe", note="a | b"),
    ]
    ratio = "0.200 (0.150 to 0.250)"
    assert cells(comparisons_table(measurements, [COMPARISON])) == [
        ["training", "PyTorch", "20.0 ms", "100 ms", ratio]
    ]
    many = Comparison("training", TASK, "PyTorch", rate=True)
    assert cells(comparisons_table(measurements, [many]))[0][2] == "20.0 ms, 50 a second"
    assert cells(verdicts("v3", measurements, [TARGET])) == [
        ["training", "PyTorch", ratio, "at most 0.6", "yes"]
    ]
    assert cells(verdicts("baseline", measurements, [TARGET])) == []
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


def test_machine():
    intel = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\nprocessor\t: 1\n"
    assert cpu_model(intel) == "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    assert Machine(cpu_model(intel), 4, 16).slug == "intel_xeon_cpu_e5_2680_v4_2.40ghz_4_cores"
    nameless = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    assert Machine(cpu_model(nameless), 2, 24).slug == "amd_epyc_family_25_model_17_2_cores"
    assert cpu_model("") == "unknown CPU"
    assert vendor(f"processor\t: 0\nvendor_id\t: AuthenticAMD\n{nameless}") == "AuthenticAMD"
    assert vendor(nameless) == ""


def test_requirements():
    assert requirements("# head\n\ntorch==2.13.0\nlmdb==3.0.0  # why\n") == ["torch==2.13.0", "lmdb==3.0.0"]
