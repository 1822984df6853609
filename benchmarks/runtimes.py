"""Size, time and error of the released networks in each runtime and precision: the table of docs/runtimes.md.

The int8 files are made first, by facealign quantise. Errors are those of facealign evaluate on 300-W's
validation part, boxes by MTCNN. Times are of stage 3, in one thread, on the processor: others' work does not
count. Without changes that are not committed the table goes into docs/runtimes.md.
"""

import argparse
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.hardware import machine
from benchmarks.measure import ROOT, Measurement, Peer, interleave, ratio
from benchmarks.publishing import commit, commit_or_warning, insert
from benchmarks.runtime_rows import ROWS, Row
from facealign.arrays import FloatArray, Image
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.datasets.validation_300w import in_validation
from facealign.detection.mtcnn import MtcnnDetector
from facealign.engines.ncnn_export import export_ncnn
from facealign.errors import FaceAlignError
from facealign.evaluation.measure import detected_box, measure
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.landmark_network import SecondStageNetwork
from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.io.atomic import replacing
from facealign.io.markdown import table

DOCS = ROOT / "docs" / "runtimes.md"
BEGIN = "<!-- figures: written by make runtimes -->"
MADE = ROOT / "build" / "runtimes"
BATCH = 64
ROUNDS = 9
HEADER = (
    "Runtime",
    "Precision",
    "File, MB",
    "Package, MB",
    "1 face, ms",
    f"Each of {BATCH}, ms",
    "NME, stage 3",
    "NME, cascade",
)


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="ROOT", help="300-W tree, or one with 300w/"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    arguments = parser.parse_args(command)
    if arguments.rounds < 2:
        parser.error("--rounds: expected 2 or more, for there to be a spread")
    return arguments


def main() -> None:
    arguments = arguments_of()
    of = commit_or_warning()
    text = compared(arguments.data, arguments.rounds, of)
    print(text)
    if of is not None and commit() == of:
        docs = insert(DOCS.read_text(encoding="utf-8"), text, BEGIN, DOCS)
        with replacing(DOCS) as unfinished:
            unfinished.write_text(docs, encoding="utf-8")
        print(f"written: {DOCS.relative_to(ROOT)}", file=sys.stderr)


def compared(data: Path, rounds: int, of: str | None) -> str:
    """The table and what it is of; data: with 300-W's photos, both parts; of: the commit.

    Raises FaceAlignError when the validation faces are missing, and when a runtime cannot be measured.
    """
    samples = [sample for sample in faces_in(data).samples if in_validation(sample)]
    if not samples:
        raise FaceAlignError(f"{data}: none of 300-W's validation faces")
    float32 = default_weights("onnx"), default_cascade("onnx")
    int8 = quantised(float32[0], data), quantised(float32[1], data)
    weights = {row: int8 if row.int8 else float32 for row in ROWS}
    found = Found(samples)
    errors = {row: errors_of(row, weights[row], found) for row in ROWS}
    times = [timed({row: weights[row][0] for row in ROWS}, faces, rounds) for faces in (1, BATCH)]
    rows = [
        [
            row.runtime,
            row.precision,
            f"{size_of(row, weights[row][0]) / 1e6:.2f}",
            installed(row.package),
            *(time_text(measured, row) for measured in times),
            *(f"{100 * error:.2f}" for error in errors[row]),
        ]
        for row in ROWS
    ]
    here = machine()
    return (
        table(HEADER, rows)
        + f"\n{f'Commit {of}' if of else 'No commit'}; {here.cpu}, {here.cores} cores; {len(samples)} faces; "
        f"medians of {rounds} rounds; {versions()}.\n"
    )


def quantised(weights: Path, data: Path) -> Path:
    """The int8 file of an ONNX file, made anew."""
    output = MADE / f"{weights.stem}_int8.onnx"
    command = ["quantise", "--weights", str(weights), "--data", str(data), "--output", str(output)]
    done = subprocess.run([sys.executable, "-m", "facealign", *command], stdout=sys.stderr, check=False)
    if done.returncode:
        raise FaceAlignError(f"{output}: facealign quantise failed; see above")
    return output


class Found:
    """Validation samples, and the boxes that MTCNN finds once."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self._detect = detected_box(MtcnnDetector.open("onnx").detect)
        self._boxes: dict[str, FloatArray | None] = {}

    def box(self, sample: Sample, image: Image) -> FloatArray | None:
        if sample.relative not in self._boxes:
            self._boxes[sample.relative] = self._detect(sample, image)
        return self._boxes[sample.relative]


def errors_of(row: Row, weights: Sequence[Path], found: Found) -> list[float]:
    """Mean inter-pupil errors of the first cascade stage alone, and of both; weights: of the two stages."""
    (engine, spec), (other, second) = (row.open(file) for file in weights)
    result = []
    for aligner in (
        FaceAligner(None, engine, spec),
        FaceAligner(None, engine, spec, second=SecondStageNetwork(other, second)),
    ):
        measured = measure(found.samples, found.box, aligner.landmarks_in, strict=True)
        result.append(
            float(np.mean([error["inter_pupil"] for error in measured.errors.values() if error is not None]))
        )
    return result


def timed(weights: Mapping[Row, Path], faces: int, rounds: int) -> dict[str, Measurement]:
    """Measurements by the rows' names."""
    peers = [
        Peer(
            row.name,
            "benchmarks.runtime_rows:forward",
            {"row": ROWS.index(row), "weights": str(file), "faces": faces},
            units=faces,
            processor_time=True,
        )
        for row, file in weights.items()
    ]
    found = interleave(f"forward, {faces}", peers, threads=1, rounds=rounds)
    for one in found:
        if not one.rounds:
            raise FaceAlignError(f"{one.name}: not measured: {one.note}")
    return {one.name: one for one in found}


def time_text(measured: Mapping[str, Measurement], row: Row) -> str:
    """Milliseconds, and their ratio to the first row's, taken in each round."""
    own = measured[row.name]
    return f"{1e3 * own.seconds:.2f} ({ratio(own, measured[ROWS[0].name])[1]:.2f})"


def size_of(row: Row, weights: Path) -> int:
    """Bytes of what the runtime reads."""
    if row.kind == "caffe":
        return weights.with_suffix(".caffemodel").stat().st_size
    if row.runtime == "ncnn":
        import onnx

        text, stored = export_ncnn(onnx.load(str(weights)), str(weights), half=row.precision == "float16")
        return len(text.encode()) + len(stored)
    return weights.stat().st_size


def installed(package: str) -> str:
    """Megabytes of a package's files and of those of the packages that it needs and facealign does not."""
    return f"{sum(map(bytes_of, needed(package) - needed('facealign') | {package})) / 1e6:.0f}"


def needed(package: str) -> set[str]:
    """A package and all that it needs, extras apart, as far as they are installed."""
    names, todo = set[str](), [package]
    while todo:
        name = todo.pop().lower().replace("_", "-")
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in names:
            names.add(name)
            todo += [re.split(r"[^\w.-]", one)[0] for one in requirements if "extra ==" not in one]
    return names


def bytes_of(package: str) -> int:
    """Of the files that pip installed for a package."""
    return sum(file.size or 0 for file in importlib.metadata.files(package) or [])


def versions() -> str:
    """Of the runtimes."""
    named = dict.fromkeys(row.package for row in ROWS)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in named)


if __name__ == "__main__":
    from facealign.console import run

    run(main)
