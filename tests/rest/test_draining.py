from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from service.core.health import Health
from service.rest.draining import CloseWhileDraining


@pytest.fixture
def health() -> Health:
    return Health()


async def connection_of(health: Health, headers: dict[str, str] | None = None) -> list[str]:
    app = CloseWhileDraining(PlainTextResponse("ok", headers=headers), health)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return (await client.get("/")).headers.get_list("connection")


async def test_connections_are_kept_until_the_process_drains(health: Health) -> None:
    assert await connection_of(health) == []
    health.mark_ready()
    assert await connection_of(health) == []
    health.mark_draining()
    assert await connection_of(health) == ["close"]
    assert await connection_of(health, {"Connection": "keep-alive"}) == ["close"]
    health.mark_failed("the worker died")
    assert await connection_of(health) == ["close"]


async def test_other_scopes_pass(health: Health) -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(await receive())

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    health.mark_draining()
    await CloseWhileDraining(app, health)({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup"}]
