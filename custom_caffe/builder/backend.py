"""The PEP 517 hooks, so that `pip wheel ./custom_caffe` and `pip install ./custom_caffe` work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from builder import packages, wheel
from builder.common import BuildError
from builder.compile import Interpreter


def build_wheel(
    wheel_directory: str,
    config_settings: Mapping[str, object] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the wheel, or take it if it is up to date, and put it into wheel_directory; returns its name."""
    try:
        interpreter = Interpreter.ask(sys.executable)
        if wheel.is_stale(interpreter):
            packages.require()
        built = wheel.ensure_wheel(interpreter)
    except BuildError as error:
        raise SystemExit(f"caffe build: error: {error}") from error
    shutil.copy2(built, Path(wheel_directory) / built.name)
    return built.name


def build_sdist(sdist_directory: str, config_settings: Mapping[str, object] | None = None) -> str:
    """There is no source distribution: the wheel is built from the repository."""
    raise SystemExit("caffe build: error: only wheels are built; use 'pip wheel ./custom_caffe'")
