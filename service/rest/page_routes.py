"""The page for people, at `/` and `/page/…`: static files that know nothing of this service, and no calls of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.core.errors import ErrorKind, ServiceError
from service.rest.errors import problem
from service.rest.headers import accepts_gzip, holds
from service.rest.page import Page

SECURITY: Final[Mapping[str, str]] = {
    # Of scripts too, as a worker goes by the policy of its own answer. WebAssembly reads HDF5.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer of the page."""

OVER_TLS: Final[Mapping[str, str]] = {"Cross-Origin-Opener-Policy": "same-origin"}
"""Of those besides that go by https: over http browsers disregard it, and complain in the console of the page."""

_PIECE_BYTES: Final = 1 << 16


def page_routes(page: Page) -> list[Route]:
    """The routes of a page; they are not in the OpenAPI document, and what they answer is not recorded as a call."""
    turn = asyncio.Lock()

    async def answer(request: Request) -> Response:
        file = page.files.get(request.scope["path"])
        if file is None:
            return _missing(page, request)
        packed = await file.packed() if accepts_gzip(request.headers) else None
        etag = f'"{file.digest}"' if packed is None else f'"{file.digest}-gzip"'
        told = {
            **_security(request),
            "ETag": etag,
            "Cache-Control": file.cache_control,
            "Vary": "Accept-Encoding",
        }
        if holds(request.headers, etag):
            return Response(status_code=304, headers=told)
        content = file.content
        if packed is not None:
            content = packed
            told["Content-Encoding"] = "gzip"
        told["Content-Type"] = file.media_type
        if request.method == "HEAD":
            return Response(headers={**told, "Content-Length": str(len(content))})
        return _InPieces(content, told, turn)

    return [Route(path, answer, methods=["GET"], include_in_schema=False) for path in ("/", "/page/{name}")]


def _security(request: Request) -> dict[str, str]:
    return {**SECURITY, **(OVER_TLS if request.scope.get("scheme") == "https" else {})}


def _missing(page: Page, request: Request) -> Response:
    text = "the page has no such file; it may have been another version's: load the page again"
    if not page.files:
        text = "the page of this service was not built; /v1/models and /docs are there"
    response = problem(ServiceError(ErrorKind.NOT_FOUND, text), request.state.request_id)
    # No cache may keep it: the next replica, or this one after an update, may have the file.
    response.headers.update({**_security(request), "Cache-Control": "no-store"})
    return response


class _InPieces(Response):
    """An answer of which the server's buffer holds a piece: strangers may ask for it, and be slow to take it.

    Args:
        content: all of it.
        headers: of the answer.
        turn: of all answers of the page: each piece waits for it, and for one turn of the loop.
    """

    def __init__(self, content: bytes, headers: Mapping[str, str], turn: asyncio.Lock) -> None:
        super().__init__(content, headers=headers)
        self._turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, each piece once there is room, and one piece of all the page's answers in a turn of the loop."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        content = memoryview(self.body)
        for start in range(0, len(content), _PIECE_BYTES):
            # Sending waits for slow readers, so never with the turn: others would wait for them, too.
            async with self._turn:
                await asyncio.sleep(0)
            piece = bytes(content[start : start + _PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
