"""The variant with CUDA, and the toolkit it is compiled with: the machine's, or one from PyPI."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.common import HERE, BuildError, build_directory, capture, say
from builder.variants import Variant

PACKAGES = HERE / "cuda-packages.txt"
HEADERS = ("cuda_runtime.h", "cublas_v2.h", "curand.h")
"""Headers of the parts that Caffe uses; toolkits are installed in parts."""
SYSTEM_INCLUDE = Path("/usr/include")
SUPPORTED = (11, 12, 13)
ARCHITECTURES = "80;90"


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit.

    nvcc: its compiler.
    version: major and minor number.
    packaged: whether it is the one from PyPI; the libraries of a wheel then come from the same packages.
    search: where its parts, and cuDNN's and NCCL's, are.
    """

    nvcc: Path
    version: tuple[int, int]
    packaged: bool
    search: tuple[Path, ...]

    def header(self, name: str) -> Path | None:
        """The header of this name in the toolkit or, for a toolkit of the system, where the system's are."""
        places = [root / part for root in self.search for part in ("include", "targets/x86_64-linux/include")]
        if not self.packaged:
            places += [SYSTEM_INCLUDE, *sorted(SYSTEM_INCLUDE.glob("*-linux-gnu"))]
        return next((place / name for place in places if (place / name).exists()), None)


def variant(*, cudnn: bool | None, nccl: bool) -> Variant:
    """Caffe with CUDA.

    cudnn: with cuDNN or without; None: with it if the toolkit has it.
    nccl: for training on several GPUs.
    CUDA_ARCHITECTURES in the environment: compute capabilities such as "80;90". Code for later ones is made
    by the driver from that for the last.

    Raises BuildError when a part asked for is missing or the toolkit is none of those supported.
    """
    toolkit = find_toolkit()
    major, minor = toolkit.version
    if major not in SUPPORTED:
        raise BuildError(f"{toolkit.nvcc}: CUDA {major}.{minor}; 11.8, 12 or 13 is needed (set CUDA_HOME)")
    if cudnn is None:
        cudnn = toolkit.header("cudnn.h") is not None
    for wanted, name, header in ((cudnn, "cuDNN", "cudnn.h"), (nccl, "NCCL", "nccl.h")):
        if wanted and toolkit.header(header) is None:
            raise BuildError(
                f"no {header} beside CUDA {major}.{minor} ({toolkit.nvcc}): "
                f"install {name}, or build without it"
            )
    architectures = architecture_list(os.environ.get("CUDA_ARCHITECTURES") or ARCHITECTURES)
    libraries = [
        ("nvidia-cublas", f"=={major}.*"),
        ("nvidia-cuda-runtime", f"=={major}.*"),
        ("nvidia-curand", "==10.*"),
    ]
    paths = [f"nvidia/cu{major}/lib"]
    if cudnn:
        libraries.append((f"nvidia-cudnn-cu{major}", "==9.*"))
        paths.append("nvidia/cudnn/lib")
    if nccl:
        libraries.append((f"nvidia-nccl-cu{major}", "==2.*"))
        paths.append("nvidia/nccl/lib")
    say(
        f"CUDA {major}.{minor} ({toolkit.nvcc}), {'cuDNN' if cudnn else 'no cuDNN'}, "
        f"{'NCCL' if nccl else 'no NCCL'}, compute capabilities {architectures}"
    )
    return Variant(
        "gpu",
        suffix=f".cu{major}",
        settings={
            "CPU_ONLY": "OFF",
            "CMAKE_CUDA_COMPILER": str(toolkit.nvcc),
            "CMAKE_CUDA_ARCHITECTURES": architectures,
            "USE_CUDNN": "ON" if cudnn else "OFF",
            "USE_NCCL": "ON" if nccl else "OFF",
        },
        search=tuple(str(place) for place in toolkit.search),
        facts={
            "gpu": True,
            "cuda": f"{major}.{minor}",
            "cudnn": cudnn,
            "nccl": nccl,
            "architectures": architectures,
        },
        requirements=tuple(name + bound for name, bound in libraries) if toolkit.packaged else (),
        library_path=tuple(f"../{path}" for path in paths) if toolkit.packaged else (),
    )


def architecture_list(text: str) -> str:
    """What CMake takes for compute capabilities such as "80;90": machine code for each, PTX for the last.

    Raises BuildError when text is something else.
    """
    numbers = re.split(r"[;, ]+", text.strip())
    if not all(re.fullmatch(r"[0-9]{2,3}[af]?", number) for number in numbers):
        raise BuildError(f"CUDA_ARCHITECTURES={text}: expected compute capabilities such as 80;90")
    return ";".join([*(f"{number}-real" for number in numbers), f"{numbers[-1]}-virtual"])


def find_toolkit() -> Toolkit:
    """The toolkit in CUDA_HOME, or that of the nvcc on the PATH, or one from PyPI.

    Raises BuildError when CUDA_HOME does not hold a whole one.
    """
    home = os.environ.get("CUDA_HOME")
    if home:
        toolkit = _installed(Path(home) / "bin/nvcc")
        if missing := _missing(toolkit):
            raise BuildError(f"CUDA_HOME={home}: has no {missing[0]}; install that part, or unset CUDA_HOME")
        return toolkit
    if nvcc := shutil.which("nvcc"):
        toolkit = _installed(Path(nvcc))
        missing = _missing(toolkit)
        if not missing:
            return toolkit
        say(f"{nvcc}: no {missing[0]} beside it: taking CUDA from PyPI instead")
    return _packaged()


def _missing(toolkit: Toolkit) -> list[str]:
    return [name for name in HEADERS if toolkit.header(name) is None]


def _installed(nvcc: Path) -> Toolkit:
    return Toolkit(nvcc, _version(nvcc), False, (_root(nvcc),))


def _root(nvcc: Path) -> Path:
    """The directory a compiler itself takes for its toolkit's: nvcc on the PATH may be a link or a script."""
    command = [str(nvcc), "--dryrun", "-x", "cu", "-c", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^#\$ TOP=(.*)$", done.stderr, re.MULTILINE)
    return Path(found[1]).resolve() if found else nvcc.parent.parent


def _version(nvcc: Path) -> tuple[int, int]:
    found = re.search(r"release (\d+)\.(\d+)", capture([nvcc, "--version"]))
    if found is None:
        raise BuildError(f"{nvcc}: does not tell its version")
    return int(found[1]), int(found[2])


def _packaged() -> Toolkit:
    """The toolkit of cuda-packages.txt, installed into the build directory."""
    root = build_directory() / f"cuda-{hashlib.sha256(PACKAGES.read_bytes()).hexdigest()[:12]}"
    if not root.exists():
        say("installing CUDA from PyPI (1.1 GB)")
        unfinished = root.with_name(f"{root.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        capture([*pip, "--no-deps", "--require-hashes", "--target", unfinished, "--requirement", PACKAGES])
        for libraries in unfinished.glob("nvidia/*/lib"):
            _link_for_linker(libraries)
        unfinished.rename(root)
    parts = sorted(place.parent for place in root.glob("nvidia/*/include"))
    # The toolkit itself first: it is its directory that CMake derives from the compiler.
    parts.sort(key=lambda part: not (part / "bin/nvcc").exists())
    nvcc = parts[0] / "bin/nvcc"
    return Toolkit(nvcc, _version(nvcc), True, tuple(parts))


def _link_for_linker(libraries: Path) -> None:
    """Give each libNAME.so.N the name libNAME.so, and the directory the name lib64: packages have neither."""
    for library in libraries.glob("lib*.so.*"):
        name = library.with_name(library.name.split(".so.")[0] + ".so")
        if not name.exists():
            name.symlink_to(library.name)
    lib64 = libraries.with_name("lib64")
    if not lib64.exists():
        lib64.symlink_to(libraries.name)
