"""Runtimes for ONNX files that need a package of their own: its import, and the number of threads."""

import importlib
import os
import sys
from types import ModuleType

import cv2

from facealign.errors import FaceAlignError


def import_runtime(name: str) -> ModuleType:
    """The module of a runtime's package, of the same name. Raises FaceAlignError when it is not installed.

    OpenVINO and onnxruntime would report their use to their makers when they are imported: they may not.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if not installed
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FaceAlignError(f"{name} cannot be imported ({error}); run `pip install {name}`") from error


def threads() -> int:
    """How many threads an engine runs in: as many as OpenCV, which our worker processes limit to one."""
    return max(1, cv2.getNumThreads())
