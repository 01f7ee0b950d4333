"""How HTTP connections end while the process goes down."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.health import Health, ServingState

_ENDING = (ServingState.DRAINING, ServingState.FAILED)


class CloseWhileDraining:
    """Pure ASGI middleware: each answer of a process that drains, or has failed, closes its connection.

    A kept one would be cut under its next call. It stands around the whole application, the answers to bugs included.
    """

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._health.state in _ENDING:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing)
