"""A server for the tests of this folder."""

import pytest

from tests.serve.running import running


@pytest.fixture(scope="session")
def server():
    """`facealign serve` with its defaults, but one worker."""
    with running("--workers", "1") as started:
        yield started
