"""Requests with cells pass by the framework's routing, and nobody can tell."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from service.rest.v1_routes import v1_router

from .fake_engine import FakeEngine

BODY = b'{"gene_counts":[[1,2]]}'
PATHS = ["/v1/encode", "/v1/models/pbmc/encode", "/v1/models/pbmc/versions/2/encode", "/v1/models/pbmc/validate"]


@pytest.fixture
def routed(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that the framework's router saw."""
    seen: list[str] = []
    handle = app.router.app

    async def noting(scope, receive, send):
        seen.append(scope["path"])
        await handle(scope, receive, send)

    monkeypatch.setattr(app.router, "app", noting)
    monkeypatch.setattr(type(app.router), "__call__", lambda self, *call: noting(*call))
    return seen


@pytest.mark.parametrize("path", PATHS)
async def test_cells_are_not_routed(client: httpx.AsyncClient, routed: list[str], path: str) -> None:
    answer = await client.post(path, content=BODY, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"]
    assert "decode" in answer.headers["server-timing"]
    assert routed == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/encode", 405),
        ("POST", "/v1/encode/", 404),
        ("POST", "/v1/models//encode", 404),
        ("POST", "/v1/models/a/b/encode", 404),
        ("POST", "/v1/models/a/versions/1/encode/x", 404),
        ("GET", "/v1/models", 200),
    ],
)
async def test_all_else_is(client: httpx.AsyncClient, routed: list[str], method: str, path: str, status: int) -> None:
    assert (await client.request(method, path, content=BODY)).status_code == status
    assert routed == [path]


async def test_names_are_decoded_as_the_router_would(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    headers = {"Content-Type": "application/json"}
    await client.post("/v1/models/a%20b/versions/1/encode", content=BODY, headers=headers)
    assert engine.requests[-1][1:] == ("a b", "1")


async def test_a_bug_is_answered_as_one(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.error = RuntimeError("a bug")
    answer = await client.post("/v1/encode", content=BODY, headers={"Content-Type": "application/json"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "a bug" not in answer.text


def test_the_routes_with_cells_are_the_posts() -> None:
    router = v1_router(FakeEngine())  # type: ignore[arg-type]
    posts = {route.path for route in router.routes if route.methods == {"POST"}}  # type: ignore[attr-defined]
    assert posts == {
        f"/v1{model}/{operation}"
        for model in ("", "/models/{model}", "/models/{model}/versions/{version}")
        for operation in ("encode", "validate")
    }
