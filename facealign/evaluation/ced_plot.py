"""Plot of cumulative error distributions (CED)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facealign.datasets.sample import POOLED
from facealign.evaluation.figures import VALIDATION
from facealign.evaluation.metrics import NORMALISERS
from facealign.io.figures import figure_in

NORMALISER_NAMES = {"inter_pupil": "inter-pupil", "inter_ocular": "inter-ocular"}


def plot_ced(path: Path, evaluations: Sequence[Mapping[str, Any]], limit: float = 10.0) -> None:
    """Draw the cumulative error distributions (both normalisers) up to `limit` % into a PNG.

    One curve per subset. For one evaluation: the validation part, common, challenging and full, or, without
    any of these, its folders. For several evaluations: the widest subset of each.
    Raises FaceAlignError when matplotlib is not installed.
    """
    with figure_in(path, (11, 4.5)) as figure:
        for index, normaliser in enumerate(NORMALISERS):
            axes = figure.add_subplot(1, 2, index + 1)
            for label, errors in curves(evaluations, normaliser):
                finite = np.sort(errors[np.isfinite(errors)])
                found = np.arange(1, len(finite) + 1) / len(errors)
                axes.step([0.0, *finite], [0.0, *found], where="post", label=f"{label} (n = {len(errors)})")
            axes.set(
                xlim=(0, limit),
                ylim=(0, 1),
                xlabel=f"NME, % of the {NORMALISER_NAMES[normaliser]} distance",
                ylabel="fraction of the images",
            )
            axes.grid(alpha=0.3)
            axes.legend(loc="lower right", fontsize="small")


def curves(
    evaluations: Sequence[Mapping[str, Any]], normaliser: str
) -> list[tuple[str, np.ndarray[Any, np.dtype[np.float64]]]]:
    """(label, errors in %) of each curve of the CED plot; the error of a missed face is infinite."""
    result = []
    for evaluation in evaluations:
        members = evaluation["members"]
        pooled = [name for name in POOLED if name in members]
        names = [name for name in (VALIDATION,) if name in members] + pooled or list(members)
        if len(evaluations) > 1:
            names = ["full"] if "full" in members else names[:1] if VALIDATION in members else names
        for name in names:
            found = [evaluation["errors"][path] for path in members[name]]
            errors = np.array([np.inf if error is None else error[normaliser] for error in found])
            label = name if len(evaluations) == 1 else f"{evaluation['settings']['method']}: {name}"
            result.append((label, errors))
    return result
