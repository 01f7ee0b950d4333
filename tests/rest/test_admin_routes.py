from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.core.catalog import Catalog
from service.core.health import Health
from service.core.repository import Repository
from service.rest.admin_routes import build_operator_app
from service.rest.log_admin_routes import LogLevel
from tests.fakes import FakeEncoder

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[httpx.AsyncClient]:
    repository = Repository(Catalog(Path("nowhere"), lambda path: FakeEncoder()), health)
    log_level = LogLevel(("info",), lambda: "info", lambda level: None)
    app = build_operator_app(
        health, lambda accept: (f"cells_total 7 {accept}\n".encode(), CONTENT_TYPE), repository, log_level
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator") as client:
        yield client


async def statuses(client: httpx.AsyncClient) -> tuple[int, ...]:
    return tuple([(await client.get(f"/{probe}")).status_code for probe in ("livez", "readyz", "startupz")])


async def test_the_probes_follow_health(client: httpx.AsyncClient, health: Health) -> None:
    assert await statuses(client) == (200, 503, 503)
    health.mark_ready()
    assert await statuses(client) == (200, 200, 200)
    health.mark_draining()
    assert await statuses(client) == (200, 503, 200)
    health.mark_failed("the device is lost")
    assert await statuses(client) == (503, 503, 200)
    assert (await client.get("/livez")).json() == {"state": "failed", "reason": "the device is lost"}


async def test_a_holding_probe_says_ok(client: httpx.AsyncClient) -> None:
    answer = await client.get("/livez")
    assert answer.text == "ok"


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/readyz", 503), ("/metrics", 200)])
async def test_head(client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.head(path)).status_code == status


async def test_metrics(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.text == "cells_total 7 application/openmetrics-text\n"
    assert answer.headers["content-type"] == CONTENT_TYPE


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).status_code == 404
    assert (await client.post("/livez")).status_code == 405
