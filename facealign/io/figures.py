"""Plots as PNG files: no display needed, written whole or not at all, same bytes for the same data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing


@contextmanager
def figure_in(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib Figure of `size` (width, height; inches) to draw on; written to `path` at the end.

    Raises FaceAlignError when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FaceAlignError(f"{path}: the plot needs matplotlib; pip install 'facealign[train]'") from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png", metadata={"Software": ""})
