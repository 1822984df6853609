"""The report as one HTML page that needs no network: evaluations and training logs in, the text out."""

import base64
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import facealign
from facealign.arrays import FloatArray
from facealign.datasets.sample import POOLED
from facealign.errors import FaceAlignError
from facealign.evaluation.figures import HELD_OUT, VALIDATION
from facealign.evaluation.report_tables import (
    comparison,
    faces_text,
    figure_text,
    shows_300w,
    side_by_side,
    skipped_text,
    subset_table,
)
from facealign.report.charts import ced_charts, ced_table, training_charts, training_table
from facealign.report.faces import ShownFace
from facealign.report.landmark_errors import CLASSES, SIDE, landmark_errors
from facealign.report.libraries import library
from facealign.report.parts import parts
from facealign.training.log import LogRow

HERE = Path(__file__).parent
FACE_SIDE = 200
"""Side of a face's drawing, in units of its SVG."""


def page(
    evaluations: Sequence[Mapping[str, Any]],
    faces: Sequence[ShownFace] = (),
    photos: Mapping[str, bytes] | None = None,
    logs: Mapping[str, Sequence[LogRow]] | None = None,
    seed: int = 0,
) -> str:
    """The text of the page.

    faces: those to show, by `shown_faces` of these evaluations; photos: path -> JPEG file of a face's frame;
    logs: name of a training run -> its rows, one or more; seed: of the random faces, as it is said there.
    The same figures give the same text. Raises FaceAlignError when Jinja2 is not installed.
    """
    runs = logs or {}
    charts = {"ced": ced_charts(evaluations) if evaluations else [], "training": training_charts(runs)}
    uplot = library("uPlot")
    text: str = _template().render(
        version=facealign.__version__,
        methods=method_names(evaluations),
        evaluations=evaluations,
        headlines=[_headline(evaluation) for evaluation in evaluations],
        notes=_notes(evaluations),
        side_by_side=side_by_side(evaluations),
        reported=comparison(evaluations) if shows_300w(evaluations) else None,
        inter_ocular=comparison(evaluations, "inter_ocular"),
        subsets=[subset_table(evaluation) for evaluation in evaluations],
        skipped_text=skipped_text,
        skipped=[[_in_words(one) for one in evaluation.get("skipped", [])] for evaluation in evaluations],
        ced_tables={chart["name"]: ced_table(evaluations, chart["name"]) for chart in charts["ced"]},
        landmarks=[landmark_errors(evaluation) for evaluation in evaluations],
        classes=CLASSES,
        side=SIDE,
        parts=parts(evaluations),
        faces=faces,
        photos={name: base64.b64encode(file).decode() for name, file in (photos or {}).items()},
        folders=sorted({face.folder for face in faces}),
        face_side=FACE_SIDE,
        seed=seed,
        charts=charts,
        training=training_table(runs) if runs else None,
        uplot=uplot,
        scripts=[uplot.files["uPlot.iife.min.js"], _text("report.js")],
        styles=[uplot.files["uPlot.min.css"], _text("report.css")],
        data=json.dumps(charts, separators=(",", ":")).replace("<", "\\u003c"),
    )
    return text


@functools.cache
def _template() -> Any:
    """The page's template. Raises FaceAlignError when Jinja2 is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise FaceAlignError("the page needs Jinja2; pip install 'facealign[report]'") from error
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"dots": _dots, "gaps": _gaps, "figure": figure_text}
    return environment.get_template("page.html.jinja")


def _text(name: str) -> str:
    return (HERE / "static" / name).read_text(encoding="utf-8")


def method_names(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name of each evaluation's method; a number follows names that occur more than once.

    >>> method_names([{"settings": {"method": name}} for name in ("a", "b", "a")])
    ['a (1)', 'b', 'a (2)']
    """
    names = [str(evaluation["settings"]["method"]) for evaluation in evaluations]
    total, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return result


def _headline(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The subset by which an evaluation is known, and its figures."""
    subsets = evaluation["subsets"]
    name = next((one for one in (VALIDATION, HELD_OUT, *reversed(POOLED)) if one in subsets), None)
    name = name or next(iter(subsets), None)
    if name is None:
        return {"subset": None}
    return {"subset": name, "faces": faces_text(evaluation, name), "figures": subsets[name]}


def _notes(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know before comparing: incomplete parts, files of an earlier version."""
    notes = []
    for name, evaluation in zip(method_names(evaluations), evaluations, strict=True):
        if VALIDATION in evaluation.get("incomplete", {}):
            count = faces_text(evaluation, VALIDATION)
            notes.append(
                f"{name}: not the whole validation part, but {count} faces: compare it with no other."
            )
        if "faces" not in evaluation:
            notes.append(
                f"{name}: this evaluation was made by an earlier version and has no landmarks: nothing is "
                "drawn of its faces, and its figures by box overlap and face size are missing. Run facealign "
                "evaluate again."
            )
    return notes


def _in_words(skipped: Any) -> str:
    """A file that could not be used, and why."""
    if isinstance(skipped, Mapping) and "file" in skipped and "reason" in skipped:
        file, reason = str(skipped["file"]), str(skipped["reason"])
        return reason if file in reason else f"{file}: {reason}"
    return str(skipped)


def _dots(points: FloatArray, frame: FloatArray) -> str:
    """Landmarks (68, 2) as a path of SVG: a line of no length, whose round ends are a dot, for each."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in _placed(points, frame))


def _gaps(truth: FloatArray, predicted: FloatArray, frame: FloatArray) -> str:
    """Lines from true to predicted landmarks as a path of SVG."""
    return "".join(
        f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"
        for (a, b), (c, d) in zip(_placed(truth, frame), _placed(predicted, frame), strict=True)
    )


def _placed(points: FloatArray, frame: FloatArray) -> FloatArray:
    """Points of the photo in the drawing of a frame (4,)."""
    placed: FloatArray = (points - frame[:2]) * (FACE_SIDE / (frame[2] - frame[0]))
    return placed
