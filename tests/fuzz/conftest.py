"""A service in this process, which must be as good after each test as before, and its right answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.clients import json_body
from tests.end_to_end.server import export
from tests.fuzz.corpus import CELLS
from tests.fuzz.in_process import Answer, InProcess
from tests.fuzz.over_sockets import OverSockets

PATH = f"/v1/models/{synthetic.NAME}/encode"


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory that holds the synthetic model alone."""
    models = tmp_path_factory.mktemp("fuzzed_models")
    export({synthetic.NAME: synthetic.RECIPE.write(tmp_path_factory.mktemp("fuzzed_save"))}, models)
    return models


@pytest.fixture(scope="package")
def service(models: Path) -> Iterator[InProcess]:
    """A ready service."""
    with InProcess(models) as running:
        yield running


def good(service: InProcess | OverSockets) -> Answer:
    """The answer to the good request."""
    body = json.dumps(json_body(CELLS)).encode()
    answer = service.http("POST", PATH, {"content-type": "application/json"}, body)
    assert answer.status == 200
    return answer


@pytest.fixture(autouse=True)
def _unharmed(service: InProcess) -> Iterator[None]:
    """After each test the next good request is right, to the last bit, and nothing was left behind."""
    before = good(service).body
    yield
    assert good(service).body == before
    service.assert_unharmed()
