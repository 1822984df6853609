"""Which figures may be published, and where to: a file for each processor and level, and the docs."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.comparisons import comparisons_table, results_table
from benchmarks.measure import ROOT, Measurement
from facealign.errors import FaceAlignError
from facealign.io.atomic import replacing
from facealign.io.markdown import table

RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of the figures -->"
WRITTEN = ("benchmarks/results", "docs/benchmarks.md", "docs/runtimes.md")
"""What a run writes; changes in these are no reason against the next."""


def commit(root: Path = ROOT) -> str:
    """The commit that the figures are of. Raises FaceAlignError when none is: what to do about it."""
    try:
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *_excluded())
        name = _git(root, "rev-parse", "--short=10", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise FaceAlignError("no git commit here, of which the figures would be") from error
    if changed:
        paths = ", ".join(line[3:] for line in changed.splitlines())
        raise FaceAlignError(f"not committed, so the figures are of no commit: {paths}")
    return name


def write(
    measurements: Sequence[Measurement],
    head: Mapping[str, str],
    name: str,
    directory: Path = RESULTS,
    docs: Path = DOCS,
) -> Path:
    """Write NAME.csv into the directory, and the docs' tables from all that are there; the former's path."""
    path = directory / f"{name}.csv"
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(results.to_csv(measurements, head), encoding="utf-8")
    text = insert(docs.read_text(encoding="utf-8"), figures(sorted(directory.glob("*.csv"))))
    with replacing(docs) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return path


def figures(files: Sequence[Path]) -> str:
    """The generated part of the docs: a section for each file of results."""
    sections = [_section(*results.read(path), path.name) for path in files]
    return "\n".join(sections) or "No figures yet: `make bench` writes them."


def _section(measurements: Sequence[Measurement], head: Mapping[str, str], file: str) -> str:
    """Machine, commit and figures of one run. Raises FaceAlignError if the head does not say of what."""
    missing = [name for name in ("cpu", "cores", "level", "commit") if name not in head]
    if missing:
        raise FaceAlignError(f"benchmarks/results/{file}: names no {', '.join(missing)}; measure it anew")
    return "\n".join(
        [
            f"## {head['cpu']}, {head['cores']} cores, level {head['level']}",
            "",
            f"Both tables are of commit {head['commit']};",
            f"[`{file}`](../benchmarks/results/{file}) has every round.",
            "",
            comparisons_table(measurements),
            results_table(measurements),
            table(["Measured on", ""], [[name, value] for name, value in head.items()]),
        ]
    )


def commit_or_warning() -> str | None:
    """The commit that the figures are of; None, and a warning, when they cannot be published."""
    try:
        return commit()
    except FaceAlignError as error:
        print(f"figures are printed, not written: {error}", file=sys.stderr)
        return None


def insert(text: str, generated: str, begin: str = BEGIN, docs: Path = DOCS) -> str:
    """`text` with what is between the line `begin` and END replaced.

    docs: names the text in errors. Raises FaceAlignError unless each marker is there once.
    """
    if text.count(begin) != 1 or text.count(END) != 1 or text.index(begin) > text.index(END):
        raise FaceAlignError(f"{docs.relative_to(ROOT)}: lacks the lines {begin!r} and {END!r}; restore them")
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{generated.strip()}\n\n{END}{rest.split(END)[1]}"


def _excluded() -> list[str]:
    return [f":(exclude){path}" for path in WRITTEN]


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout
