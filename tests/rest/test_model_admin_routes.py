"""The operators' calls: with the token they change what is served, without it nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.errors import ModelFileError
from service.core.catalog import Catalog
from service.core.health import Health
from service.core.repository import Repository
from service.rest.admin_call import AdminToken
from service.rest.admin_routes import build_operator_app
from service.rest.log_admin_routes import LogLevel
from tests.fakes import FakeEncoder

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CALLS = [("GET", "/admin/models"), ("POST", "/admin/models/m/load"), ("POST", "/admin/models/m/unload")]


def put(root: Path, version: str, content: str = "") -> None:
    path = root / version / "encoder.pt"
    path.parent.mkdir(parents=True)
    path.write_text(content)


def load(path: Path) -> FakeEncoder:
    if content := path.read_text():
        raise ModelFileError(content) if content == "bad" else RuntimeError(content)
    return FakeEncoder()


class Operators(httpx.AsyncClient):
    """A caller of the operators' application."""

    def __init__(self, root: Path, token: AdminToken | None) -> None:
        put(root, "m/1")
        self.catalog = Catalog(root, load)
        self.catalog.load_all()
        self.health = Health()
        self.health.mark_ready()
        log_level = LogLevel(("info",), lambda: "info", lambda level: None)
        app = build_operator_app(
            self.health, lambda accept: (b"", ""), Repository(self.catalog, self.health), log_level, token
        )
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://operator")


@pytest.fixture
async def operators(tmp_path: Path) -> AsyncIterator[Operators]:
    async with Operators(tmp_path, AdminToken(TOKEN)) as client:
        yield client


def line(version: str, state: str, reason: str = "") -> dict[str, Any]:
    return {"name": "m", "version": version, "state": state, "reason": reason}


async def test_load_list_unload(operators: Operators, tmp_path: Path) -> None:
    put(tmp_path, "m/2")
    answer = await operators.post("/admin/models/m/load", headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"models": [line("1", "ready"), line("2", "ready")]})
    assert answer.headers["x-request-id"]
    answer = await operators.post("/admin/models/m/unload", headers=BEARER)
    assert answer.json() == {"models": [line("1", "unloaded", "by request"), line("2", "unloaded", "by request")]}
    assert (await operators.get("/admin/models", headers=BEARER)).json() == answer.json()


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(
    "given",
    [
        None,
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        b"Bearer \xff\xfe",
    ],
)
async def test_without_the_token_nothing(
    operators: Operators, caplog: pytest.LogCaptureFixture, method: str, path: str, given: str | bytes | None
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await operators.request(method, path, headers={} if given is None else {"Authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert operators.catalog.resolve("m").version == "1"
    assert TOKEN not in answer.text + caplog.text + repr(vars(AdminToken(TOKEN)))


@pytest.mark.parametrize("given", [f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
async def test_the_scheme_is_read_as_http_has_it(operators: Operators, given: str) -> None:
    assert (await operators.get("/admin/models", headers={"Authorization": given})).status_code == 200


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_without_a_token_file_the_calls_are_off(tmp_path: Path, method: str, path: str) -> None:
    async with Operators(tmp_path, None) as operators:
        for headers in (BEARER, {"Authorization": "Bearer "}, {}):
            answer = await operators.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "--admin-token-file" in answer.json()["detail"]


async def test_what_cannot_be_done(operators: Operators, tmp_path: Path) -> None:
    async def refusal(call: str) -> tuple[int, str]:
        answer = await operators.post(f"/admin/models/{call}", headers=BEARER)
        return answer.status_code, answer.json()["code"]

    put(tmp_path, "m/2", "bad")
    put(tmp_path, "n/1", "a secret path")
    assert await refusal("m/load") == (422, "invalid")
    assert await refusal("n/load") == (500, "internal")
    assert await refusal("lost/load") == (404, "not_found")
    assert await refusal("%2e%2e/load") == (404, "not_found")
    assert await refusal("lost/unload") == (404, "not_found")
    index = (await operators.get("/admin/models", headers=BEARER)).json()["models"]
    assert index[:2] == [line("1", "ready"), line("2", "failed", "bad")]
    assert "secret" not in str(index)
    operators.health.mark_draining()
    assert await refusal("m/load") == (503, "unavailable")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/admin/models", 405),
        ("GET", "/admin/models/m/load", 405),
        ("POST", "/admin/models/m", 404),
        ("POST", "/admin/models/../m/load", 404),
        ("POST", "/admin/models/m%2F1/load", 404),
    ],
)
async def test_other_paths_and_methods(operators: Operators, method: str, path: str, status: int) -> None:
    assert (await operators.request(method, path, headers=BEARER)).status_code == status
