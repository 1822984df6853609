"""Import of pycaffe: without its log, and with a one-line error when it is missing."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from facealign.errors import FaceAlignError


def import_caffe() -> ModuleType:
    """The module `caffe`, with its log of every layer silenced.

    Raises FaceAlignError when it is not installed, or CAFFE_ISA names instructions that this processor lacks.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import caffe
    except ImportError as error:
        raise FaceAlignError(f"pycaffe cannot be imported ({error}); run `make caffe`") from error
    except ValueError as error:
        raise FaceAlignError(str(error)) from error
    module: ModuleType = caffe
    if not hasattr(module, "Net"):  # a folder named caffe on the path, not the package
        raise FaceAlignError("pycaffe is not installed; run `make caffe`")
    return module


@contextlib.contextmanager
def caffe_errors(where: Path | str) -> Iterator[None]:
    """What Caffe raises in this block as a FaceAlignError of one line that begins with `where`."""
    try:
        yield
    except RuntimeError as error:
        raise FaceAlignError(f"{where}: Caffe: {' '.join(str(error).split())}") from error


def single_threaded_blas() -> None:
    """Limit OpenBLAS to one thread, unless the user has set a number: the matrix products here are small.

    Has an effect only before Caffe is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def why_no_gpu() -> str | None:
    """Reason why the installed Caffe cannot use a GPU, or None. Raises FaceAlignError without Caffe."""
    caffe = import_caffe()
    info = Path(str(caffe.__file__)).parent / "build_info.json"
    if not info.is_file() or not json.loads(info.read_text(encoding="utf-8")).get("gpu"):
        return "this Caffe was built without CUDA (`make caffe-gpu` builds one with it)"
    return None if caffe.device_count() > 0 else "there is no CUDA device, or no driver for it"
