"""RELIABILITY 7: a token on every route; the list of them is the application's own, so that a new one is asked too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute

from service.core.caller import CALLER
from service.core.errors import ErrorKind
from service.rest.app import build_app
from tests.bearers import GOOD, REFUSED, accepted_tokens

from .calling import assert_problem, post
from .fake_engine import FakeEngine

UNKNOWN = ["/", "/nothing", "/v1", "/v1/nothing", "/v2/nothing", "/v2/repository/nothing", "/v1/models/", "//v1/encode"]


def leaves(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        # FastAPI keeps an included router as it is, with its routes below it.
        below = getattr(route, "original_router", None)
        yield from leaves(below.routes) if below else [route]


def all_calls() -> list[tuple[str, str]]:
    """A method and a path for each route of the application, and paths that are none."""
    routes = leaves(build_app(FakeEngine()).routes)
    calls = [(method, re.sub(r"\{\w+\}", "pbmc", route.path)) for route in routes for method in sorted(route.methods)]
    return calls + [(method, path) for path in UNKNOWN for method in ("GET", "POST", "OPTIONS")]


CALLS = all_calls()


@pytest.fixture
def app(engine: FakeEngine) -> FastAPI:
    return build_app(engine, accepted_tokens())


def header(value: str | None) -> dict[str, str]:
    return {} if value is None else {"Authorization": value}


def test_the_routes_are_all_there() -> None:
    """Should FastAPI change how it keeps routes, this notices that the list of calls is not what it was."""
    document = build_app(FakeEngine()).openapi()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert len(described) > 20
    assert {(method, re.sub(r"\{\w+\}", "pbmc", path)) for method, path in described} <= set(CALLS)
    assert {("GET", "/docs"), ("GET", "/openapi.json"), ("HEAD", "/openapi.json")} <= set(CALLS)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_nothing_is_answered_without_a_token(
    client: httpx.AsyncClient, engine: FakeEngine, method: str, path: str
) -> None:
    for value in REFUSED.values():
        answer = await client.request(method, path, headers=header(value), content=b"not read")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        if path.startswith("/v2"):
            assert answer.headers["content-type"] == "application/json"
            assert method == "HEAD" or answer.json().keys() == {"error"}
        elif method != "HEAD":
            assert_problem(answer, ErrorKind.UNAUTHENTICATED, 401)
    assert not engine.requests
    assert {(call.operation, call.outcome, call.caller) for call in engine.calls} == {
        ("authenticate", "unauthenticated", "")
    }
    assert len(engine.calls) == len(engine.recorder.finished) == len(REFUSED)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_token_opens_every_route(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path, headers=header(f"bearer {GOOD}"))
    assert answer.status_code != 401
    assert "www-authenticate" not in answer.headers


async def test_a_call_bears_its_callers_name(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert (await post(client, Authorization=f"Bearer {GOOD}")).status_code == 200
    assert (await post(client)).status_code == 401
    assert [call.caller for call in engine.calls] == ["alice", ""]
    assert CALLER.get() == ""


async def test_two_tokens_are_none(client: httpx.AsyncClient) -> None:
    value = f"Bearer {GOOD}"
    answer = await client.get("/v1/models", headers=[("Authorization", value), ("Authorization", value)])
    assert answer.status_code == 401


async def test_a_refused_body_is_not_read(app: FastAPI) -> None:
    sent = []

    async def receive() -> None:
        raise AssertionError("the body was asked for")

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/encode", "headers": [], "query_string": b"", "app": app}
    await app(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_what_is_not_http_goes_nowhere(app: FastAPI) -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError("something was asked or told")

    await app({"type": "websocket", "path": "/v1/encode", "headers": []}, nothing, nothing)


async def test_without_a_list_nobody_is_asked(engine: FakeEngine) -> None:
    transport = httpx.ASGITransport(build_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/v1/models", headers=header("Bearer whatever"))).status_code == 200
    assert [call.caller for call in engine.calls] == ["", ""]
