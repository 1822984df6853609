"""The closing lines of a session that looked for faults."""

from pathlib import Path

import pytest

from tests.faults.invariant import COUNTS

FOUND = Path(__file__).with_name("found.txt")
"""Faults that these tests found and that were mended, a line each."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COUNTS:
        found = len(FOUND.read_text(encoding="utf-8").splitlines())
        counted = ", ".join(f"{number} {what}" for what, number in sorted(COUNTS.items()))
        terminalreporter.write_line(f"faults: {counted}; {found} faults found and mended ({FOUND.name})")
