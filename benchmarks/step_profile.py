"""Where an iteration of training spends its time, and how far its kernels are from what a core can do.

    CAFFE_SYMBOLS=1 make caffe                                # names in libcaffe, which perf shows
    .venv/bin/python -m benchmarks.step_profile [--level v3] [--threads 2]

Needs Linux's perf (Debian: linux-perf) and g++.
"""

import argparse
import csv
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import caffe_nets
from benchmarks.caffe_types import Net
from benchmarks.check_programs import command, compiled
from benchmarks.measure import quartiles
from benchmarks.training import WORK, prepare
from facealign.console import run
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError

SECONDS = 10.0
GROUPS = (
    ("products (1x1 convolutions, the stem, inner products)", r"Tile<|Columns<|Multiply|AddPatches"),
    ("depthwise filters", r"Correlat"),
    ("normalisation, activation, their gradients and sums", r"Affine|Combin|Moments|ProductsOf|SumParts"),
    ("noise", r"Noise|Normal\b"),
    ("Adam", r"Adam"),
)
"""Of functions, by their names."""
REST = "all else: copies, transposes, Python"


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_profile", description=__doc__)
    parser.add_argument("--level", help="instruction level; default: the best that the processor has")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    return parser.parse_args(command)


def shares(report: str) -> dict[str, float]:
    """Percent of the time by group, of what `perf report` says of the functions, a line each.

    Raises ValueError when it says nothing.
    """
    found = dict.fromkeys([name for name, _ in GROUPS] + [REST], 0.0)
    total = 0.0
    for line in report.splitlines():
        parts = re.match(r"\s*(\d+\.\d+)%\s+(.*)", line)
        if parts is None:
            continue
        group = next((name for name, names in GROUPS if re.search(names, parts[2])), REST)
        found[group] += float(parts[1])
        total += float(parts[1])
    if total == 0:
        raise ValueError("no function in the report")
    return {name: 100 * value / total for name, value in found.items()}


def multiply_adds(net: Net) -> tuple[int, int]:
    """Of products and of depthwise filters in an iteration, by the shapes of a training net in Caffe.

    Forward, and backward for weights and inputs; the first convolution of a block is computed twice, as its
    results are not kept, and the net's own first has no gradient of its input.
    """
    products = filters = 0
    for index, name in enumerate(net._layer_names):
        if name not in net.params:
            continue
        weights, output = net.params[name][0].data, net._blobs[net._top_ids(index)[0]].data
        kind = net.layers[index].type
        if kind == "ConvolutionDepthwise":
            filters += 3 * weights.size * output.shape[0] * output[0, 0].size
        elif kind in ("Convolution", "InnerProduct"):
            pixels = output[0, 0].size if output.ndim == 4 else 1
            number = int(name.removeprefix("Convolution")) if name.startswith("Convolution") else 0
            passes = 2 if name == "conv1" else 4 if number % 2 == 1 else 3
            products += passes * weights.size * output.shape[0] * pixels
    return products, filters


def kernel_speeds(level: str) -> list[dict[str, str]]:
    """The rows that custom_caffe/checks/kernel_speed.cpp prints, compiled against the installed Caffe."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            command(compiled("kernel_speed", Path(directory))),
            env={**os.environ, "CAFFE_ISA": level},
            capture_output=True,
            text=True,
            check=True,
        )
    return list(csv.DictReader(done.stdout.splitlines()))


def profile(threads: int) -> tuple[float, dict[str, float], tuple[int, int]]:
    """An iteration in ms (lower quartile), shares by group, multiply-adds of products and of filters."""
    if shutil.which("perf") is None:
        raise FaceAlignError("perf is not installed (Debian: linux-perf)")
    folder = Path(prepare())
    solver = caffe_nets.stage2_solver(folder, stock=False, noise=True)
    iteration = caffe_nets.iteration_of(solver, dict(np.load(folder / "reference.npz")))
    for _ in range(5):
        iteration()
    record = WORK / "perf.data"
    perf = subprocess.Popen(
        ["perf", "record", "--quiet", "--output", record, "--pid", str(os.getpid())],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    begun = [time.monotonic()]
    while begun[-1] - begun[0] < SECONDS:
        iteration()
        begun.append(time.monotonic())
    perf.send_signal(signal.SIGINT)
    perf.wait()
    report = subprocess.run(
        ["perf", "report", "--stdio", "--no-children", "--sort", "symbol", "--input", record],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Tile<" not in report:
        raise FaceAlignError("libcaffe has no names of functions: CAFFE_SYMBOLS=1 make caffe")
    low, _, _ = quartiles(np.diff(begun).tolist())
    return 1e3 * low, shares(report), multiply_adds(solver.net)


def table(
    milliseconds: float, found: Mapping[str, float], work: Sequence[int], peak: float, threads: int
) -> str:
    """The profile as Markdown; peak: GFLOP/s of a core; work: multiply-adds of the first two groups."""
    rows = ["| What | Share | ms | GFLOP | Of the peak |", "|---|---|---|---|---|"]
    for (name, share), macs in zip(found.items(), [*work, *[0] * len(found)], strict=False):
        spent, flop = milliseconds * share / 100, 2e-9 * macs
        done = f"{flop:.2f} | {100 * flop / (spent / 1e3) / (peak * threads):.0f} %" if macs else "|"
        rows.append(f"| {name} | {share:.0f} % | {spent:.1f} | {done} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    arguments = arguments_of()
    os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads), "1"
    caffe = import_caffe()
    level = arguments.level or caffe.available_isas()[-1]
    try:
        caffe.set_isa(level)
    except ValueError as error:
        raise FaceAlignError(f"--level {error}") from error
    speeds = kernel_speeds(level)
    peak = next(float(row["gflops"]) for row in speeds if row["kernel"] == "peak")
    milliseconds, found, work = profile(arguments.threads)
    print(f"level {level}, {arguments.threads} thread(s), an iteration {milliseconds:.1f} ms, ", end="")
    print(f"a core's peak {peak:.0f} GFLOP/s\n")
    print(table(milliseconds, found, work, peak, arguments.threads))
    print("| Kernel | Shape | us | GFLOP/s | Of the peak | GB/s |\n|---|---|---|---|---|---|")
    for row in speeds:
        cells = [row["kernel"], row["shape"], row["microseconds"], row["gflops"]]
        print(f"| {' | '.join(cells)} | {100 * float(row['of peak']):.0f} % | {row['gigabytes']} |")


if __name__ == "__main__":
    run(main)
