"""One example service for all tests of the client that need a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.server import RunningServer
from tests.saves import EXAMPLE_MODELS


@pytest.fixture(scope="session")
def example() -> Iterator[RunningServer]:
    """The example model, served on free ports."""
    with RunningServer(EXAMPLE_MODELS, "--threads", 1) as server:
        server.wait_until_ready()
        yield server
