"""The callers' tokens on every path of their port, known or not, the documentation included; not the page's files."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NoReturn

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.engine import Engine
from service.core.errors import ServiceError
from service.core.recorder import Call
from service.core.tokens import Tokens
from service.rest.call import answer_call
from service.rest.errors import error_of_path

SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Where the server was given a list of tokens."}
}
REQUIREMENTS: list[dict[str, list[str]]] = [{}, {"bearer": []}]
"""The security of every path, as OpenAPI describes it: a token, or none, as the server was started."""


class BearerTokens:
    """Pure ASGI middleware: what bears no valid token is refused before anything is read of it, and recorded.

    Args:
        app: takes what bears one.
        engine: records refusals.
        tokens: that are valid.
        open_paths: that GET and HEAD may have without one: a browser that opens a page has none to show. They are
            compared as they are, and are the application's own routes.
    """

    def __init__(self, app: ASGIApp, *, engine: Engine, tokens: Tokens, open_paths: Collection[str] = ()) -> None:
        self._app = app
        self._engine = engine
        self._tokens = tokens
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":  # the server sends no other; none would be told of a caller
            return
        if scope["path"] in self._open_paths and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        try:
            self._tokens.admit(given)
        except ServiceError as error:
            await self._refuse(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refuse(self, error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(call: Call) -> NoReturn:
            raise error

        refused, request = error_of_path(scope["path"]), Request(scope)
        # Strangers choose no traces.
        response = await answer_call(self._engine, refused, request, "authenticate", work, traced=False)
        await response(scope, receive, send)
