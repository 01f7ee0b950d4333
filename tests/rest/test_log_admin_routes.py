"""The operators' calls on the log: told and changed with the token, within the levels that there are."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.core.catalog import Catalog
from service.core.health import Health
from service.core.repository import Repository
from service.rest.admin_call import AdminToken
from service.rest.admin_routes import build_operator_app
from service.rest.log_admin_routes import MOST_BYTES, LogLevel
from service.settings import LEVELS
from tests.fakes import FakeEncoder

TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATH = "/admin/log-level"


class Operators(httpx.AsyncClient):
    """A caller of the operators' application, whose log is a variable."""

    def __init__(self, token: AdminToken | None) -> None:
        self.level = "info"
        health = Health()
        repository = Repository(Catalog(Path("nowhere"), lambda path: FakeEncoder()), health)
        log_level = LogLevel(LEVELS, lambda: self.level, self.change)
        app = build_operator_app(health, lambda accept: (b"", ""), repository, log_level, token)
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://operator")

    def change(self, level: str) -> None:
        self.level = level


@pytest.fixture
async def operators() -> AsyncIterator[Operators]:
    async with Operators(AdminToken(TOKEN)) as client:
        yield client


async def test_it_is_told_and_changed(operators: Operators) -> None:
    assert (await operators.get(PATH, headers=BEARER)).json() == {"level": "info"}
    answer = await operators.put(PATH, headers=BEARER, content=b'{"level": "debug"}')
    assert (answer.status_code, answer.json(), operators.level) == (200, {"level": "debug"}, "debug")
    assert answer.headers["x-request-id"]
    assert (await operators.get(PATH, headers=BEARER)).json() == {"level": "debug"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"debug", 400),
        (b'{"level": "debug"', 400),
        (b"\xff", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"level": "DEBUG"}', 422),
        (b'{"level": 10}', 422),
        (b'{"level": ["debug"]}', 422),
        (b'{"level": {"a": 1}}', 422),
        (b'{"level": "critical"}', 422),
        (b'{"level": "debug"' + b" " * MOST_BYTES + b"}", 413),
    ],
)
async def test_what_is_no_level_changes_nothing(operators: Operators, body: bytes, status: int) -> None:
    answer = await operators.put(PATH, headers=BEARER, content=body)
    assert (answer.status_code, operators.level) == (status, "info")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_only_with_the_token(operators: Operators, method: str) -> None:
    body = b'{"level": "debug"}'
    for given in ({}, {"Authorization": f"Bearer {TOKEN}x"}):
        answer = await operators.request(method, PATH, headers=given, content=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    async with Operators(None) as off:
        answer = await off.request(method, PATH, headers=BEARER, content=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert off.level == "info"
    assert operators.level == "info"


async def test_other_methods(operators: Operators) -> None:
    assert (await operators.post(PATH, headers=BEARER)).status_code == 405


@pytest.mark.parametrize(("before", "after"), [("error", "warning"), ("warning", "error"), ("info", "debug")])
def test_a_change_is_logged_while_the_log_can_show_it(
    before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger()
    caplog.set_level(before.upper())
    caplog.handler.setLevel(logging.NOTSET)
    log_level = LogLevel(
        LEVELS,
        lambda: logging.getLevelName(root.level).lower(),
        lambda level: root.setLevel(level.upper()),
    )
    log_level.set(after)
    assert caplog.messages == [f"the log level is {after} from here on; it was {before}"]
    log_level.set(after)
    assert len(caplog.messages) == 1, "nothing has changed"
