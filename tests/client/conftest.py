"""A real server, and every way to ask it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.ways import WAYS, Way, open_way
from tests.end_to_end import synthetic
from tests.end_to_end.conftest import synthetic_models
from tests.end_to_end.server import RunningServer
from tests.saves import EXAMPLE_MODELS, ROOT

__all__ = ["synthetic_models"]

MAX_REQUEST_CELLS = 400
"""So that a matrix over the limit is soon made."""


@pytest.fixture(scope="session")
def served_models(tmp_path_factory: pytest.TempPathFactory, synthetic_models: Path) -> Path:
    """The synthetic model in two versions, and the example model `pbmc`."""
    models = tmp_path_factory.mktemp("served_models")
    for version in ("1", "2"):
        shutil.copytree(synthetic_models / synthetic.NAME / "1", models / synthetic.NAME / version)
    shutil.copytree(ROOT / "examples" / "models" / "pbmc", models / "pbmc")
    return models


@pytest.fixture(scope="session")
def service(served_models: Path) -> Iterator[RunningServer]:
    """A server of `served_models`, ready, which takes at most `MAX_REQUEST_CELLS` cells a call."""
    flags = ("--max-request-cells", MAX_REQUEST_CELLS, "--drain-delay-s", "0")
    with RunningServer(served_models, *flags) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="session")
def example() -> Iterator[RunningServer]:
    """A server of the example model alone, as `make serve` serves it."""
    with RunningServer(EXAMPLE_MODELS, "--threads", 1) as running:
        yield running.wait_until_ready()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Each way to ask, by its name."""
    return str(request.param)


@pytest.fixture
def client(way: str, service: RunningServer) -> Iterator[Way]:
    """A client of `service`, by each way."""
    with open_way(way, service.http_port, service.grpc_port) as found:
        yield found
