"""Changed files of every kind through every reader: a result, or one line that names the file."""

import json
from pathlib import Path

import pytest

from facealign.concurrency.apart import CrashError, apart
from tests.faults.hostile_images import hostile_images
from tests.faults.invariant import COUNTS, facealign, holds, said
from tests.faults.reading import INPUT, MEMORY, READERS, READING, fuzz

FEW, MANY = 25, 600
"""Inputs for each reader, in the default suite and in that of faults."""


@pytest.fixture
def try_out(tmp_path, request):
    """A function of readers and a number of inputs for each, which are read in a process of their own."""
    number = request.config.getoption("--hypothesis-seed")

    def run(names, examples):
        try:
            counts = apart(fuzz, names, examples, int(number or 0), tmp_path, memory=MEMORY)
        except CrashError as error:
            reader = (tmp_path / READING).read_text()
            kept = (tmp_path / INPUT).read_bytes()
            pytest.fail(f"{reader}: {error}; the input: {kept[:3000]!r}")
        COUNTS["inputs"] += sum(counts.values())
        return counts

    return run


def test_a_few_inputs_of_every_kind(try_out):
    counts = try_out(list(READERS), FEW)
    assert min(counts.values()) >= FEW // 2


@pytest.mark.faults
@pytest.mark.parametrize("name", READERS)
def test_many_inputs(name, try_out):
    assert try_out([name], MANY)[name] >= MANY // 2


@pytest.mark.faults
def test_hostile_images_are_aligned_or_skipped_one_by_one(tmp_path):
    (tmp_path / "images").mkdir()
    files = dict(hostile_images())
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
    done = holds(
        facealign("align", "images", "--engine", "onnx", "--output", "out"), tmp_path, ["out"], memory=2 << 30
    )
    assert done.code == 0
    aligned = json.loads((tmp_path / "out" / "landmarks.json").read_text())["images"]
    lines = [line for line in said(done.stderr) if line.startswith(("skipped: ", "passed over: "))]
    named = [name for name in files if any(f"images/{name}:" in line for line in lines)]
    assert len(named) == len(lines)
    assert sorted([*named, *(Path(one["file"]).name for one in aligned)]) == sorted(files)
    assert len(named) > 20
    COUNTS["inputs"] += len(files)
