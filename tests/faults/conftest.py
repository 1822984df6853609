"""The closing lines of a session that looked for faults."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.invariant import COUNTS

FOUND = Path(__file__).with_name("found.txt")
"""Faults that were mended, a line each: what found it, and what it was.

"review" is reading the code for them; "report" a report of one, from which tests were made.
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COUNTS:
        found = Counter(line.partition(":")[0] for line in FOUND.read_text(encoding="utf-8").splitlines())
        mended = ", ".join(f"{number} by {how}" for how, number in found.items())
        counted = ", ".join(f"{number} {what}" for what, number in sorted(COUNTS.items()))
        terminalreporter.write_line(f"faults: {counted}; faults found and mended: {mended} ({FOUND.name})")
