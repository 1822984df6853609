"""Levels of the instruction set: the variables that force one take effect, by what the libraries say."""

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import instruction_levels
from benchmarks.instruction_levels import check, choose, environment, in_use, parse
from facealign.engines.pycaffe import import_caffe
from facealign.errors import FaceAlignError

AVAILABLE = import_caffe().available_isas()


def test_the_level_is_the_best_or_the_one_asked_for():
    assert choose(None, ("baseline", "v3")) == "v3"
    assert choose("baseline", ("baseline", "v3")) == "baseline"
    for asked in ("v4", "avx2"):
        with pytest.raises(FaceAlignError, match=f"^--level {asked}: this processor has baseline, v3$"):
            choose(asked, ("baseline", "v3"))


def test_variables():
    assert environment("v3", "GenuineIntel", "x86_64")["OPENBLAS_CORETYPE"] == "Haswell"
    assert environment("v3", "AuthenticAMD", "x86_64")["OPENBLAS_CORETYPE"] == "Zen"
    assert environment("v4", "AuthenticAMD", "x86_64")["OPENBLAS_CORETYPE"] == "SkylakeX"
    caches = set()
    for level in ("baseline", "v3", "v4"):
        variables = environment(level, "GenuineIntel", "x86_64")
        assert variables["CAFFE_ISA"] == level
        caches.add(variables["TORCHINDUCTOR_CACHE_DIR"])
    assert len(caches) == 3
    # Elsewhere these names mean nothing.
    assert set(environment("baseline", "", "aarch64")) == {"CAFFE_ISA", "TORCHINDUCTOR_CACHE_DIR"}


@pytest.mark.parametrize("level", AVAILABLE)
def test_caffe_and_its_libraries_run_the_level_asked_for(level, monkeypatch):
    for name, value in environment(level, "GenuineIntel").items():
        monkeypatch.setenv(name, value)
    said = in_use({"": Path(sys.executable)})
    assert said["Caffe"] == level
    check(level, said)
    if os.uname().machine == "x86_64":
        core = {"baseline": "Nehalem", "v3": "Haswell", "v4": "SkylakeX"}[level]
        assert said["NumPy's OpenBLAS"] == core
        assert said["Caffe's OpenBLAS"] == core
        assert said["OpenCV"] == {"baseline": "SSE4.2", "v3": "AVX2", "v4": "AVX512-SKX"}[level]


def test_what_onednn_and_mkl_print_of_themselves():
    output = (
        "onednn_verbose,v1,info,cpu,runtime:OpenMP,nthr:2\n"
        "onednn_verbose,v1,info,cpu,isa:Intel AVX2\n"
        "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build 20240605 for Intel(R) 64 architecture Intel(R) "
        "Advanced Vector Extensions 2 (Intel(R) AVX2) enabled processors, Lnx 2.50GHz lp64 gnu_thread\n"
        "MKL_VERBOSE SGEMM(T,N,200,64,1024) 56.00ms\n"
    )
    said = parse(output + json.dumps({"PyTorch": "AVX2"}))
    assert said == {
        "PyTorch": "AVX2",
        "oneDNN": "Intel AVX2",
        "MKL": "Intel(R) Advanced Vector Extensions 2 (Intel(R) AVX2) enabled processors",
    }
    assert parse(json.dumps({"Caffe": "v3"})) == {"Caffe": "v3"}


@pytest.mark.parametrize(
    ("level", "library", "runs"),
    [
        ("v3", "PyTorch (peers)", "AVX512"),
        ("v3", "oneDNN", "Intel AVX-512 with Intel DL Boost"),
        ("v3", "OpenCV", "AVX512-SKX"),
        ("v3", "Caffe's OpenBLAS", "SkylakeX"),
        ("v3", "Caffe", "baseline"),
        ("v4", "Caffe", "v3"),
        ("baseline", "OpenCV", "AVX2"),
        ("baseline", "NumPy's OpenBLAS", "Zen"),
    ],
)
def test_a_library_that_runs_another_level_is_an_error(level, library, runs):
    with pytest.raises(
        FaceAlignError, match=f"^{library.replace('(', '.').replace(')', '.')} runs '.*' though level"
    ):
        check(level, {"Caffe": level} | {library: runs})


def test_libraries_at_their_level_are_none():
    check("v4", {"Caffe": "v4", "PyTorch": "AVX512", "NumPy's OpenBLAS": "SkylakeX"})
    check("v3", {"Caffe": "v3", "PyTorch": "AVX2", "oneDNN": "Intel AVX2", "Caffe's OpenBLAS": "Zen"})
    check("baseline", {"PyTorch": "DEFAULT", "oneDNN": "Intel SSE4.1", "NumPy's OpenBLAS": "Nehalem"})


def test_an_environment_that_cannot_say_is_an_error(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first >&2; echo 'Illegal instruction' >&2; exit 132\n")
    python.chmod(0o755)
    with pytest.raises(FaceAlignError, match=r"python: does not say .*\(Illegal instruction\)$"):
        in_use({"peers": python})
    assert in_use({"peers": tmp_path / "absent"}) == {}


def test_all_levels_of_x86_have_the_same_variables_but_the_best():
    """So that a library added at one level is not forgotten at the other."""
    forced = instruction_levels.FORCED
    assert set(forced["baseline"]) == set(forced["v3"])
    assert set(forced["v4"]) < set(forced["v3"])
