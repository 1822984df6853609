"""The curves of a report as columns of numbers, and the tables that say the same in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from facealign.evaluation import metrics
from facealign.evaluation.ced_plot import NORMALISER_NAMES, curves
from facealign.evaluation.metrics import NORMALISERS
from facealign.evaluation.report_tables import Table, figure_text
from facealign.training.log import LogRow

LIMIT, STEPS = 12.0, 240
"""Largest error of the CED curves, %, and their number of steps."""
LIMITS_IN_WORDS = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Errors, %, of the CED's table."""
COLUMNS = {
    "loss": "Training loss",
    "nme_inter_pupil": "Validation NME, % of the inter-pupil distance",
    "nme_inter_ocular": "Validation NME, % of the inter-ocular distance",
    "rate": "Learning rate",
}
"""Column of a log -> title of its chart."""


def ced_charts(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The CED curves, a chart for each normaliser: {"name", "title", "x", "series": [{"label", "y"}]}.

    y: the fraction of the faces, in %, whose error is at most x %.
    """
    errors_at = np.linspace(0, LIMIT, STEPS + 1)
    charts = []
    for normaliser in NORMALISERS:
        series = [
            {
                "label": f"{label} ({len(errors)} faces)",
                "y": (100 * metrics.ced(errors, errors_at)).round(2).tolist(),
            }
            for label, errors in curves(evaluations, normaliser)
            if len(errors)
        ]
        name = NORMALISER_NAMES[normaliser]
        charts.append(
            {
                "name": normaliser,
                "choice": name,
                "x": errors_at.round(3).tolist(),
                "x_label": f"error, % of the {name} distance",
                "y_label": "faces, %",
                "series": series,
            }
        )
    return charts


def ced_table(evaluations: Sequence[Mapping[str, Any]], normaliser: str) -> Table:
    """The CED in words: a row for each curve, the fraction of its faces within some errors."""
    rows = [
        [
            f"{label} ({len(errors)} faces)",
            *[f"{100 * value:.1f} %" for value in metrics.ced(errors, np.array(LIMITS_IN_WORDS))],
        ]
        for label, errors in curves(evaluations, normaliser)
        if len(errors)
    ]
    return ["Faces within an error of", *[f"{limit:g} %" for limit in LIMITS_IN_WORDS]], rows


def training_charts(logs: Mapping[str, Sequence[LogRow]]) -> list[dict[str, Any]]:
    """Charts of training logs over the iterations, a curve for each run; empty columns are left out.

    logs: name of the run -> its rows. A curve is None at iterations at which it was not measured.
    """
    iterations = sorted({row.iteration for rows in logs.values() for row in rows})
    charts = []
    for column, title in COLUMNS.items():
        series = []
        for name, rows in logs.items():
            values = {row.iteration: getattr(row, column) for row in rows}
            if any(value is not None for value in values.values()):
                series.append({"label": name, "y": [values.get(iteration) for iteration in iterations]})
        if series:
            charts.append(
                {
                    "name": column,
                    "title": title,
                    "x": iterations,
                    "x_label": "iteration",
                    "y_label": title,
                    "logarithmic": column == "loss" and _positive(series),
                    "series": series,
                }
            )
    return charts


def _positive(series: Sequence[Mapping[str, Any]]) -> bool:
    return all(value is None or value > 0 for one in series for value in one["y"])


def training_table(logs: Mapping[str, Sequence[LogRow]]) -> Table:
    """The runs in words: how long, the last loss and rate, the best and the last validation NME."""
    header = ["Run", "Iterations", "Time", "Last loss", "Last rate", "Best NME", "At iteration", "Last NME"]
    return header, [[name, *_summary(rows)] for name, rows in logs.items()]


def _summary(rows: Sequence[LogRow]) -> list[str]:
    losses = [row.loss for row in rows if row.loss is not None]
    rates = [row.rate for row in rows if row.rate is not None]
    measured = [(row.nme_inter_pupil, row.iteration) for row in rows if row.nme_inter_pupil is not None]
    best, at = min(measured, default=(None, None))
    return [
        str(rows[-1].iteration),
        _duration(rows[-1].seconds),
        f"{losses[-1]:.4g}" if losses else "-",
        f"{rates[-1]:.3g}" if rates else "-",
        figure_text(best),
        "-" if at is None else str(at),
        figure_text(measured[-1][0] if measured else None),
    ]


def _duration(seconds: float) -> str:
    """
    >>> _duration(90), _duration(9000)
    ('1.5 min', '2.5 h')
    """
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
