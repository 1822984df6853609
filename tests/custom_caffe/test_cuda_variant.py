"""Which CUDA toolkit a GPU build takes, and what it tells CMake and the wheel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "custom_caffe"))

from builder import common, cuda, wheel  # noqa: E402

NVCC = """#!/bin/sh
case $1 in
--dryrun) echo '#$ TOP={top}' >&2 ;;
--version) echo 'Cuda compilation tools, release {version}, V{version}.1' ;;
esac
"""


def toolkit(root: Path, version: str, *headers: str, compiler: Path | None = None) -> Path:
    """A directory laid out as a CUDA toolkit, with a compiler that only tells its version and its place."""
    for name in headers:
        header = root / "include" / name
        header.parent.mkdir(parents=True, exist_ok=True)
        header.touch()
    nvcc = compiler or root / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True, exist_ok=True)
    nvcc.write_text(NVCC.format(top=root, version=version))
    nvcc.chmod(0o755)
    return root


def test_architectures_get_machine_code_each_and_ptx_for_the_last() -> None:
    assert cuda.architecture_list("80;90") == "80-real;90-real;90-virtual"
    assert cuda.architecture_list(" 75, 86 ") == "75-real;86-real;86-virtual"
    assert cuda.architecture_list("120a") == "120a-real;120a-virtual"


@pytest.mark.parametrize("text", ["", "8.0", "sm_80", "80;;ninety", "80;90-real"])
def test_other_architectures_are_refused(text: str) -> None:
    with pytest.raises(common.BuildError, match=r"expected compute capabilities such as 80;90"):
        cuda.architecture_list(text)


def test_the_toolkit_of_cuda_home_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path, "12.4", *cuda.HEADERS, "cudnn.h")))
    monkeypatch.setenv("CUDA_ARCHITECTURES", "86")
    variant = cuda.variant(cudnn=None, nccl=False)
    assert variant.settings["CMAKE_CUDA_COMPILER"] == str(tmp_path / "bin" / "nvcc")
    assert variant.settings["CMAKE_CUDA_ARCHITECTURES"] == "86-real;86-virtual"
    assert (variant.settings["USE_CUDNN"], variant.settings["USE_NCCL"]) == ("ON", "OFF")
    assert variant.facts["cuda"] == "12.4"
    # The libraries are the machine's own.
    assert variant.requirements == variant.library_path == ()
    assert wheel.distribution(variant).endswith(".cu12")


def test_an_nvcc_elsewhere_on_the_path_leads_to_its_toolkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = toolkit(tmp_path / "cuda", "11.8", *cuda.HEADERS, compiler=tmp_path / "bin" / "nvcc")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = cuda.find_toolkit()
    assert (found.nvcc, found.version, found.search) == (tmp_path / "bin" / "nvcc", (11, 8), (root,))


@pytest.mark.parametrize(
    ("version", "headers", "cudnn", "nccl", "message"),
    [
        ("12.4", cuda.HEADERS[:1], None, False, r"CUDA_HOME=.*: has no cublas_v2\.h"),
        ("10.2", cuda.HEADERS, None, False, r"CUDA 10\.2; 11\.8, 12 or 13 is needed"),
        ("13.0", cuda.HEADERS, True, False, r"no cudnn\.h beside CUDA 13\.0 .*install cuDNN"),
        ("13.0", cuda.HEADERS, False, True, r"no nccl\.h beside CUDA 13\.0 .*install NCCL"),
    ],
    ids=["a part missing", "too old", "no cuDNN", "no NCCL"],
)
def test_what_cannot_be_built_is_said_in_one_line(
    version: str,
    headers: tuple[str, ...],
    cudnn: bool | None,
    nccl: bool,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path, version, *headers)))
    # So that no header of the system's is found.
    monkeypatch.setattr(cuda, "SYSTEM_INCLUDE", tmp_path / "usr")
    with pytest.raises(common.BuildError, match=message) as caught:
        cuda.variant(cudnn=cudnn, nccl=nccl)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("flag", ["--nccl", "--cudnn", "--no-cudnn"])
def test_flags_of_the_gpu_build_alone_are_wrong_usage(flag: str) -> None:
    command = [sys.executable, ROOT / "custom_caffe" / "build.py", flag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "go with --gpu" in done.stderr


def test_the_packages_are_pinned_to_one_version_and_one_file() -> None:
    lines = [line for line in cuda.PACKAGES.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 9
    for line in lines:
        name, hashed = line.split(" --hash=sha256:")
        assert name.count("==") == 1
        assert len(bytes.fromhex(hashed)) == 32
