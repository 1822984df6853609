"""Changed files of every kind through every reader: a result, or one line that names the file."""

import pytest

from facealign.concurrency.apart import CrashError, apart
from tests.faults.invariant import COUNTS
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
