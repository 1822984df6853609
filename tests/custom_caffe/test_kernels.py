"""The arithmetic of our Caffe at every level of the instruction set, and how the level is picked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from scipy import stats

from benchmarks.check_programs import CHECKS, CUSTOM_CAFFE, command, compiled, include_option

LEVELS = ("baseline", "v3", "v4")


def check(command: list[str | Path], levels: tuple[str, ...]) -> None:
    """Run the program: every kernel at every level, none with a wrong number."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = re.findall(r"^(\w+) (.+): (\d+) of (\d+) wrong$", done.stdout, re.MULTILINE)
    assert [line for line in lines if line[2] != "0"] == []
    assert done.returncode == 0, done.stderr
    kernels = {kernel for _, kernel, _, _ in lines}
    assert len(kernels) > 10
    assert {(level, kernel) for level, kernel, _, _ in lines} == {(a, b) for a in levels for b in kernels}
    assert all(int(compared) > 1000 for *_, compared in lines)


def test_every_kernel_at_every_level(tmp_path: Path) -> None:
    check(command(compiled("kernels", tmp_path)), caffe.available_isas())


@pytest.mark.arm
def test_every_kernel_on_64_bit_arm(tmp_path: Path) -> None:
    program, sources = tmp_path / "kernels", sorted((CUSTOM_CAFFE / "kernels").glob("*.cpp"))
    compiler = [
        "aarch64-linux-gnu-g++",
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Werror",
        "-static",
        include_option(tmp_path),
    ]
    subprocess.run([*compiler, *sources, CHECKS / "kernels.cpp", "-o", program], check=True)
    check(["qemu-aarch64", program], ("baseline",))


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_is_picked_by_the_environment(level: str, run_python: Any) -> None:
    done = run_python("import caffe; print(caffe.isa())", CAFFE_ISA=level)
    if level in caffe.available_isas():
        assert (done.returncode, done.stdout) == (0, f"{level}\n")
    else:
        assert "expected an instruction set that this processor has: baseline" in done.stderr


def test_one_that_is_not_there_is_one_line(run_python: Any, tmp_path: Path) -> None:
    names = ", ".join(caffe.available_isas())
    said = f"CAFFE_ISA=v9: expected an instruction set that this processor has: {names}"
    done = run_python("import caffe", CAFFE_ISA="v9")
    assert done.stderr.splitlines()[-1] == f"ValueError: {said}"
    done = subprocess.run(
        [Path(sys.executable).parent / "caffe", "device_query", "-gpu", "all"],
        env={**os.environ, "CAFFE_ISA": "v9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"caffe: {said}\n")
    with pytest.raises(ValueError, match=r"^v9: expected an instruction set"):
        caffe.set_isa("v9")


def test_levels_are_of_the_processor_and_the_widest_runs(run_python: Any) -> None:
    available = caffe.available_isas()
    assert available == LEVELS[: len(available)]
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())
    assert ("v3" in available) == ({"avx2", "fma", "bmi2", "movbe"} <= flags)
    assert ("v4" in available) == ({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= flags)
    environment = {name: value for name, value in os.environ.items() if name != "CAFFE_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", "import caffe; print(caffe.isa())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{available[-1]}\n"


def test_the_log_names_it_once(run_python: Any) -> None:
    code = (
        'import caffe\nopen(\'net.prototxt\', \'w\').write(\'layer { name: "x" type: "Input" top: "x"'
        " input_param { shape { dim: 1 } } }')\n"
        "for _ in range(2): caffe.Net('net.prototxt', caffe.TEST)"
    )
    done = run_python(code, CAFFE_ISA="baseline", GLOG_minloglevel="0")
    assert done.stderr.count("Kernels of the instruction set baseline") == 1


def test_normal_numbers_are_normal_and_unlike_each_other(make_net: Any) -> None:
    net = make_net(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2000000 } } }'
        ' layer { name: "noise" type: "Noise" bottom: "data" top: "noisy" noise_param { gaussian_std: 1 } }',
        seed=3,
    )
    net.blobs["data"].data[...] = 1
    net.forward()
    drawn = net.blobs["noisy"].data.astype(float) - 1
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    for apart in (1, 2, 8, 16, 17, 32, 512, 16384):  # places that share their making
        assert abs(np.mean(drawn[:-apart] * drawn[apart:])) < 5 / np.sqrt(len(drawn))
        assert abs(np.mean(drawn[:-apart] ** 2 * drawn[apart:] ** 2) - 1) < 0.02
