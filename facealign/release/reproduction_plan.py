"""Plan of the reproduction: the steps from annotated photos to the released weights and their figures.

The plan itself is data, in reproduction_plan.toml, which explains its keys.
"""

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from facealign.datasets.sample import Sample, turned_name
from facealign.datasets.split import split
from facealign.datasets.validation_300w import in_validation
from facealign.networks.recipes import recipe_named

FACES = 12_000
"""Number of faces for which the minutes of boxes and LMDBs are given."""
PLAN = Path(__file__).with_suffix(".toml")
OTHERS = "*"
"""In the weights: all folders that have none of their own."""
MODELS = "models"
"""The release of weights with figures."""


@dataclass(frozen=True)
class PlannedStep:
    """A step of the plan.

    command: verb and arguments of `facealign`; minutes: duration on MACHINE; result: file or folder that the
    step makes; needs: names of the steps it builds on; iterations: of a training, else 0; stage: name of the
    training's snapshots.
    """

    name: str
    command: tuple[str, ...]
    minutes: float
    result: Path
    needs: tuple[str, ...] = ()
    iterations: int = 0
    stage: str = ""


@dataclass(frozen=True)
class LmdbRow:
    """A row of the plan that makes LMDBs; the plan's file explains its keys."""

    lmdb: str
    minutes: float
    options: str = ""
    after: str | None = None
    teacher: Sequence[str] = ()
    points: str | None = None
    turned: str | None = None


@dataclass(frozen=True)
class PointsRow:
    """A row of the plan that annotates the photos; the plan's file explains its keys."""

    points: str
    cascade: tuple[str, str]
    minutes: float


@dataclass(frozen=True)
class TurnedRow:
    """A row of the plan that turns faces, and finds them; the plan's file explains its keys."""

    turned: str
    options: str
    minutes: float


@dataclass(frozen=True)
class RunRow:
    """A row of the plan that trains; the plan's file explains its keys."""

    run: str
    recipe: str
    data: str
    iterations: int
    minutes: float
    start: str | None = None
    folders: Sequence[str] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    options: str = ""
    release: str | None = None
    first: str | None = None


Row = LmdbRow | PointsRow | TurnedRow | RunRow
_KINDS: tuple[tuple[str, Callable[..., Row]], ...] = (
    ("lmdb", LmdbRow),
    ("run", RunRow),
    ("points", PointsRow),
    ("turned", TurnedRow),
)
"""Key of what a row makes, and the class of such rows: the first of these keys that a row has counts."""


def plan(
    photos: Path,
    work: Path,
    samples: Collection[Sample],
    scale: float = 1.0,
    mesh: Path | None = None,
) -> list[PlannedStep]:
    """The steps in order, the best weights first; all results go to `work`.

    samples: the faces in `photos`; scale: factor of all iterations, below 1 for a trial; mesh: an interpreter
    with mediapipe; without one no faces are turned, and the teacher's landmarks are the cascade's alone.
    """
    described = tomllib.loads(PLAN.read_text(encoding="utf-8"))
    rows: list[Row] = [next(kind for key, kind in _KINDS if key in row)(**row) for row in described["step"]]
    commands = _Commands(photos, work, samples, scale, mesh, described, rows)
    steps = [commands.boxes()]
    for row in rows:
        steps += commands.steps(row)
    return steps


def weights_of(folders: Collection[str], weights: Mapping[str, float]) -> list[str]:
    """Arguments of `facealign train --weigh` for photos in `folders`, which may lack a weight of their own.

    >>> weights_of(["afw", "mine"], {"afw": 12, "helen_256": 18, "*": 10})
    ['afw=12', '*=10']
    """
    present = {name: weight for name, weight in weights.items() if name in folders}
    if set(folders) - present.keys():
        present[OTHERS] = weights[OTHERS]
    return [f"{name}={weight}" for name, weight in present.items()]


class _Commands:
    """Rows of the plan as commands, for these photos and this folder; see `plan` for the arguments."""

    def __init__(
        self,
        photos: Path,
        work: Path,
        samples: Collection[Sample],
        scale: float,
        mesh: Path | None,
        described: Mapping[str, Any],
        rows: Sequence[Row],
    ) -> None:
        self.photos, self.work, self.scale, self.mesh = photos, work, scale, mesh
        self.options: Mapping[str, str] = described["options"]
        self.weights: Mapping[str, float] = described["weights"]
        self.runs = {row.run: row for row in rows if isinstance(row, RunRow)}
        self.folders = {sample.subset for sample in samples if not sample.is_test}
        trained_on = split(list(samples), 0.0, 0)[0] if mesh is not None else []
        self.turned_folders = {
            PurePosixPath(turned_name(sample.relative, 1)).parent.as_posix() for sample in trained_on
        }
        self.lmdbs = {row.lmdb: row for row in rows if isinstance(row, LmdbRow)}
        self.validation_is_fixed = any(map(in_validation, samples))
        self.share = len(samples) / FACES
        self.boxes_file = work / "boxes.json"

    def boxes(self) -> PlannedStep:
        command = ("detect-faces", "--data", str(self.photos), "--output", str(self.boxes_file))
        return PlannedStep("boxes", command, 3 * self.share, self.boxes_file)

    def steps(self, row: Row) -> list[PlannedStep]:
        if isinstance(row, RunRow):
            return self.run(row)
        if isinstance(row, LmdbRow):
            return [self.lmdb(row)]
        return [self.points(row)] if isinstance(row, PointsRow) else self.turned(row)

    def points(self, row: PointsRow) -> PlannedStep:
        output = self.work / row.points
        command = (
            *("annotate", "--photos", str(self.photos), "--boxes", str(self.boxes_file)),
            *("--output", str(output), "--cascade", *(str(self._released(run)) for run in row.cascade)),
            *(("--no-mesh",) if self.mesh is None else ("--mesh", str(self.mesh))),
        )
        needs = ("boxes", *(f"{run}: release" for run in row.cascade))
        return PlannedStep(row.points, command, row.minutes * self.share, output, needs)

    def turned(self, row: TurnedRow) -> list[PlannedStep]:
        """Turned faces, and the boxes of all faces with them; none without the face mesh."""
        if self.mesh is None:
            return []
        output, boxes = self.work / row.turned, self._boxes_with(row.turned)
        command = (
            *("turn-faces", "--data", str(self.photos), "--output", str(output)),
            *("--mesh", str(self.mesh), *self._words(row.options)),
        )
        found = ("detect-faces", "--data", str(self.photos), str(output), "--output", str(boxes))
        return [
            PlannedStep(row.turned, command, row.minutes * self.share, output),
            PlannedStep(f"{row.turned}: boxes", found, 6 * self.share, boxes, (row.turned,)),
        ]

    def lmdb(self, row: LmdbRow) -> PlannedStep:
        output = self.work / row.lmdb
        after = [row.after] if row.after else []
        turned = [row.turned] if row.turned and self.mesh is not None else []
        boxes = self._boxes_with(turned[0]) if turned else self.boxes_file
        command = (
            *("make-lmdb", "--data", str(self.photos), *(str(self.work / name) for name in turned)),
            *("--boxes", str(boxes), "--output", str(output), *self._words(row.options)),
            *(word for run in after for word in ("--after", str(self._released(run)))),
            *(("--teacher", *(str(self._released(run)) for run in row.teacher)) if row.teacher else ()),
            *(("--teacher-points", str(self.work / row.points)) if row.points else ()),
        )
        needs = (
            f"{turned[0]}: boxes" if turned else "boxes",
            *((row.points,) if row.points else ()),
            *(f"{run}: release" for run in dict.fromkeys((*after, *row.teacher))),
        )
        return PlannedStep(row.lmdb, command, row.minutes * self.share, output, needs)

    def _boxes_with(self, turned: str) -> Path:
        """Boxes of the photos and of a folder of turned faces."""
        return self.work / f"boxes_{turned}.json"

    def run(self, row: RunRow) -> list[PlannedStep]:
        """The training of a row and, if it says so, its figures and its release."""
        directory, iterations = self._directory(row), self._iterations(row)
        command: tuple[str, ...] = (
            *("train", "--recipe", row.recipe, "--data", str(self.work / row.data)),
            *("--run", str(directory), "--iterations", str(iterations)),
            *(("--weights", str(self._trained(row.start))) if row.start else ()),
            *self._drawn(row),
            *self._words(row.options),
        )
        needs = (row.data, *((row.start,) if row.start else ()))
        stage = recipe_named(row.recipe).stage
        minutes = row.minutes * self.scale
        steps = [PlannedStep(row.run, command, minutes, directory, needs, iterations, stage)]
        if row.release is None:
            return steps
        command = ("release", "--run", str(directory), "--data", str(self.work / row.data))
        if row.release == MODELS:
            steps.append(self._figures(row))
            command += ("--evaluation", str(steps[-1].result))
        made = self._released(row.run)
        command += ("--output", str(made.parent))
        needs = tuple(step.name for step in steps)
        return [*steps, PlannedStep(f"{row.run}: release", command, 0.1, made, needs)]

    def _figures(self, row: RunRow) -> PlannedStep:
        output = self.work / "evaluations" / f"{recipe_named(row.recipe).snapshot_name}.json"
        command = (
            *("evaluate", "--data", str(self.photos)),
            *(("--weights", str(self._released(row.first)), "--cascade") if row.first else ("--weights",)),
            *(str(self._trained(row.run)), "--json", str(output)),
            # Without 300-W's fixed part, the LMDBs name the validation faces.
            *(() if self.validation_is_fixed else ("--validation-of", str(self.work / row.data))),
        )
        needs = (row.run, *((f"{row.first}: release",) if row.first else ()))
        return PlannedStep(f"{row.run}: figures", command, 0.5, output, needs)

    def _words(self, options: str) -> list[str]:
        return options.format_map(self.options).split()

    def _drawn(self, row: RunRow) -> Sequence[str]:
        """Options to augment on the fly from the row's folders, or from all where none of them is here."""
        if not row.folders:
            return ()
        present = self.folders.intersection(row.folders) or self.folders
        if self.lmdbs[row.data].turned is not None:
            present = present | (self.turned_folders & row.weights.keys())
        return ("--on-the-fly", "--weigh", *weights_of(present, {**self.weights, **row.weights}))

    def _directory(self, row: RunRow) -> Path:
        return self.work / "runs" / row.run

    def _iterations(self, row: RunRow) -> int:
        return max(1, round(row.iterations * self.scale))

    def _trained(self, run: str) -> Path:
        """The last weights of a run."""
        row = self.runs[run]
        name = f"{recipe_named(row.recipe).stage}_iter_{self._iterations(row)}.caffemodel"
        return self._directory(row) / name

    def _released(self, run: str) -> Path:
        """The ONNX file that a run's release makes."""
        row = self.runs[run]
        assert row.release is not None, run
        return self.work / row.release / f"{recipe_named(row.recipe).snapshot_name}.onnx"
