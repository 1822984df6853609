"""The table of runtimes: what it counts, and one pin for what two environments have."""

import importlib.metadata
from pathlib import Path

import pytest

from benchmarks.hardware import cpuinfo
from benchmarks.measure import Measurement
from benchmarks.peers import requirements
from benchmarks.runtime_rows import ROWS, forward
from benchmarks.runtimes import BEGIN, DOCS, bytes_of, needed, size_of, time_text
from facealign.inference.model_zoo import default_weights

ROOT = Path(__file__).parents[2]


def row(name):
    (found,) = [row for row in ROWS if row.name == name]
    return found


def test_a_package_counts_with_what_it_needs():
    closure = needed("openvino")
    assert {"openvino", "openvino-telemetry", "numpy"} <= closure
    assert "numpy" in needed("facealign")
    assert "openvino" not in needed("facealign")  # an extra
    (module,) = [
        file
        for file in importlib.metadata.files("ncnn")
        if file.suffix == ".so" and file.name.startswith("ncnn")
    ]
    assert bytes_of("ncnn") > module.locate().stat().st_size > 10_000_000


def test_sizes_are_those_of_the_files():
    weights = default_weights("onnx")
    assert size_of(row("our Caffe, float32"), weights) == weights.with_suffix(".caffemodel").stat().st_size
    assert size_of(row("OpenVINO, float32"), weights) == weights.stat().st_size
    half, whole = (size_of(row(f"ncnn, {precision}"), weights) for precision in ("float16", "float32"))
    assert half < 0.52 * whole


def test_ratios_are_to_the_first_row_in_each_round():
    rounds = {row.name: (0.002, 0.004, 0.008) for row in ROWS} | {ROWS[0].name: (0.001, 0.002, 0.004)}
    measured = {name: Measurement("forward", name, times) for name, times in rounds.items()}
    assert time_text(measured, ROWS[0]) == "2.00 (1.00)"
    assert time_text(measured, ROWS[1]) == "4.00 (2.00)"


@pytest.mark.parametrize(
    ("name", "instructions"), [("OpenVINO, bfloat16", "avx512_bf16"), ("ncnn, float16", "f16c")]
)
def test_lower_precisions_are_lower(name, instructions):
    """Where the processor has them, the outputs are near those in float32, and not the same."""
    weights = str(default_weights("onnx"))
    lower = forward(ROWS.index(row(name)), weights, 2)()["fc4"]
    exact = forward(ROWS.index(row("OpenCV, float32")), weights, 2)()["fc4"]
    apart = abs(lower - exact).max()
    assert apart < 0.05
    assert (apart > 1e-5) == (instructions in cpuinfo().split())


def test_what_two_environments_have_is_pinned_alike():
    ours = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    peers = dict(line.split("==") for line in requirements((ROOT / "benchmarks" / "peers.txt").read_text()))
    assert {name: peers[name] for name in peers if name in ours} == {
        name: ours[name] for name in peers if name in ours
    }


def test_the_docs_have_the_place_for_the_table():
    assert BEGIN in DOCS.read_text(encoding="utf-8")
