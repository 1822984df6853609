"""The level of the instruction set that all participants are held to, and what each says that it runs.

Run in the Python of an environment (`python -m benchmarks.instruction_levels`), this prints what its
libraries say. Only the standard library is imported at the top.
"""

import contextlib
import ctypes
import importlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import ROOT
from facealign.errors import FaceAlignError

FORCED = {
    # A level below the best, so each library has to be kept from what else the processor has.
    "baseline": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
        "OPENCV_CPU_DISABLE": "AVX,FP16,AVX2,AVX512-SKX",
        "OPENCV_IPP": "sse42",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v2",
    },
    "v3": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENCV_CPU_DISABLE": "AVX512-SKX",
        "OPENCV_IPP": "avx2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
    },
    # Each picks its best by itself; but an old OpenBLAS takes a new processor for a lesser one.
    "v4": {"OPENBLAS_CORETYPE": "SkylakeX"},
}
"""Environment that holds the libraries to a level of x86-64; the psABI's names of the levels.

The lowest level of PyTorch, OpenBLAS and NumPy is a little above baseline: x86-64-v2, with SSE 4.2.
"""
AMD_CORES = {"Haswell": "Zen"}
"""OpenBLAS's name on AMD's processors."""
ABOVE = {
    "baseline": r"avx|haswell|zen|skylake|cooper|sapphire|\bv[34]\b",
    "v3": r"avx-?_?512|skylake|cooper|sapphire|\bv4\b",
}
"""What no library may say of itself at a level."""
UNFORCED = "at the processor's best level: it has no switch"
"""Note of a peer that cannot be held to a lower level."""


def choose(asked: str | None, available: Sequence[str]) -> str:
    """The level asked for, else the best; `available`: those of the processor, the best one last.

    Raises FaceAlignError when the processor lacks it.
    """
    if asked is None:
        return available[-1]
    if asked not in available:
        raise FaceAlignError(f"--level {asked}: this processor has {', '.join(available)}")
    return asked


def environment(level: str, vendor: str, machine: str = platform.machine()) -> dict[str, str]:
    """Variables that hold Caffe and the peers to `level`; vendor: as /proc/cpuinfo has it."""
    variables = {"CAFFE_ISA": level} | (FORCED[level] if machine == "x86_64" else {})
    if vendor == "AuthenticAMD" and "OPENBLAS_CORETYPE" in variables:
        core = variables["OPENBLAS_CORETYPE"]
        variables["OPENBLAS_CORETYPE"] = AMD_CORES.get(core, core)
    # Code generated at one level must not be found at another.
    cache = ROOT / "build" / "bench" / f"inductor_{level}"
    return variables | {"TORCHINDUCTOR_CACHE_DIR": str(cache)}


def in_use(pythons: Mapping[str, Path]) -> dict[str, str]:
    """What the libraries of all environments say that they run, under this process's environment."""
    found: dict[str, str] = {}
    for name, python in pythons.items():
        if not python.is_file():  # whoever measures its peers names it
            continue
        done = subprocess.run(
            [python, "-m", "benchmarks.instruction_levels"],
            cwd=ROOT,
            env=os.environ | {"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1", "GLOG_minloglevel": "2"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise FaceAlignError(f"{python}: does not say what its libraries run ({reason})")
        found |= {f"{library}{name and f' ({name})'}": said for library, said in parse(done.stdout).items()}
    return found


def parse(output: str) -> dict[str, str]:
    """From what a report prints: its last line, and what oneDNN and MKL print of themselves before."""
    said: dict[str, str] = json.loads(output.splitlines()[-1])
    for library, pattern in (
        ("oneDNN", r"^onednn_verbose,.*,cpu,isa:(.*)$"),
        ("MKL", r"^MKL_VERBOSE .* for Intel\(R\) .*?architecture (.*?),? Lnx"),
    ):
        if line := re.search(pattern, output, re.MULTILINE):
            said[library] = line[1].replace(",", "")
    return said


def check(level: str, said: Mapping[str, str]) -> None:
    """Raise FaceAlignError when a library says that it runs more than `level`, or Caffe anything else."""
    pattern = ABOVE.get(level)
    for library, runs in said.items():
        above = pattern and re.search(pattern, runs, re.IGNORECASE)
        if above or (library == "Caffe" and runs != level):
            raise FaceAlignError(f"{library} runs {runs!r} though level {level} was asked for")


def report() -> dict[str, str]:
    """What the libraries of this Python run; those it lacks are left out."""
    said: dict[str, str] = {}
    with contextlib.suppress(ImportError):
        said["Caffe"] = importlib.import_module("caffe").isa()
    with contextlib.suppress(ImportError):
        cv2 = importlib.import_module("cv2")
        features = [one for one in cv2.getCPUFeaturesLine().split() if not one.endswith("?")]
        said["OpenCV"] = features[-1].removeprefix("*")
        if hasattr(cv2, "ipp") and cv2.ipp.useIPP():
            said["IPP"] = re.sub(r"^ippIP | \(.*", "", cv2.ipp.getIppVersion())
    with contextlib.suppress(ImportError):
        torch = importlib.import_module("torch")
        said["PyTorch"] = torch.backends.cpu.get_cpu_capability()
        # oneDNN and MKL print what they run with their first call; small convolutions do not get to oneDNN.
        torch.nn.Conv2d(16, 16, 3)(torch.zeros(4, 16, 64, 64))
        torch.nn.Linear(64, 64)(torch.zeros(64, 64))
    importlib.import_module("numpy")
    for path in _loaded("openblas"):
        owners = {"numpy": "NumPy", "opencv": "OpenCV"}
        owner = next((name for word, name in owners.items() if word in path), "Caffe")
        said[f"{owner}'s OpenBLAS"] = _core_name(path)
    return said


def _loaded(word: str) -> list[str]:
    """Paths of the libraries in this process whose file names hold the word."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
    return sorted(path for path in paths if word in Path(path).name)


def _core_name(path: str) -> str:
    library = ctypes.CDLL(path)
    for name in ("openblas_get_corename", "scipy_openblas_get_corename64_", "scipy_openblas_get_corename"):
        with contextlib.suppress(AttributeError):
            function = getattr(library, name)
            function.restype = ctypes.c_char_p
            said: bytes = function()
            return said.decode()
    return "unknown"


if __name__ == "__main__":
    print(json.dumps(report()))
