"""The C++ programs of custom_caffe/checks, compiled against the installed Caffe and run beside it."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT
from facealign.engines.pycaffe import import_caffe

CUSTOM_CAFFE = ROOT / "custom_caffe"
CHECKS = CUSTOM_CAFFE / "checks"


def include_option(directory: Path) -> str:
    """The compiler's option for headers, which `directory` gets by their names in Caffe's sources."""
    (directory / "caffe").mkdir()
    for part in ("threads", "kernels"):
        (directory / "caffe" / part).symlink_to(CUSTOM_CAFFE / part)
    return f"-I{directory}"


def compiled(name: str, directory: Path) -> Path:
    """NAME.cpp as a library in `directory`, with the installed libcaffe's kernels.

    A library, as libcaffe takes symbols from the Python that loads it. Raises CalledProcessError.
    """
    library, made = Path(str(import_caffe().__file__)).parent / "libcaffe.so.1.0.0", directory / f"{name}.so"
    with tempfile.TemporaryDirectory() as headers:
        command = [
            "g++",
            "-std=c++17",
            "-O2",
            "-shared",
            "-fPIC",
            include_option(Path(headers)),
            f"-I{CHECKS}",
        ]
        subprocess.run([*command, CHECKS / f"{name}.cpp", library, "-o", made], check=True)
    return made


def command(made: Path) -> list[str]:
    """What runs the main function of a compiled program."""
    return [sys.executable, "-c", f"import caffe, ctypes, sys; sys.exit(ctypes.CDLL({str(made)!r}).main())"]
