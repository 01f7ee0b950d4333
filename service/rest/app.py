"""The HTTP application of the callers' port."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.engine import Engine
from service.core.errors import ErrorKind, ServiceError
from service.core.request_id import request_id_from
from service.core.tokens import Tokens
from service.rest import bearer, headers, open_inference_schemas
from service.rest.bearer import BearerTokens
from service.rest.errors import error_of_path
from service.rest.lane import CellLane
from service.rest.open_inference_routes import open_inference_router
from service.rest.page import Page
from service.rest.page_routes import page_routes
from service.rest.repository_routes import repository_router
from service.rest.schemas import components
from service.rest.v1_routes import v1_router


def build_app(engine: Engine, tokens: Tokens | None = None, page: Page | None = None) -> FastAPI:
    """The REST service over an engine, as an ASGI application.

    Args:
        engine: answers.
        tokens: of which every call must bear one; None: none is asked for.
        page: for people, which is open to all; None: there is none.
    """
    app = _DescribedApp(
        title="totalvi-serve",
        summary="The encoder of a trained totalVI model: counts in, latent distributions and samples out.",
        version="1",
        redoc_url=None,
        redirect_slashes=False,
        # Looked up anew for each request whether anybody wants it, which costs as much as an answer's JSON.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=lambda route: route.name,
        exception_handlers={
            HTTPException: _answer_error,
            RequestValidationError: _answer_validation_error,
            Exception: _answer_error,
        },
    )
    with_cells = (v1_router(engine), open_inference_router(engine))
    # Middleware stands around what was added before it: a refused token goes no further, and bears its id, too.
    app.add_middleware(CellLane, routers=with_cells)
    if tokens is not None:
        app.add_middleware(
            BearerTokens, engine=engine, tokens=tokens, open_paths=() if page is None else page.files.keys()
        )
    app.add_middleware(RequestId)
    for router in (*with_cells, repository_router(engine)):
        app.include_router(router)
    if page is not None:
        app.router.routes.extend(page_routes(page))
    return app


class _DescribedApp(FastAPI):
    """FastAPI, with the schemas and headers that it cannot know of."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document = super().openapi()
        document["components"]["schemas"] |= components() | open_inference_schemas.components()
        document["components"]["headers"] = headers.ANSWERED
        document["components"]["securitySchemes"] = bearer.SCHEMES
        document["security"] = bearer.REQUIREMENTS
        return document


class RequestId:
    """Pure ASGI middleware: every request has an id in `request.state.request_id`, every answer bears it.

    Not a `BaseHTTPMiddleware`: that would hide a caller's hang-up from the routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_from(Headers(scope=scope).get("x-request-id", ""))
        scope.setdefault("state", {})["request_id"] = request_id
        own = (b"x-request-id", request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = message.get("headers", ())
                # Errors bear it already, since those of bugs are written further out.
                message["headers"] = sent if own in sent else [*sent, own]
            await send(message)

        await self.app(scope, receive, send_with_id)


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_of_path(request.url.path)(error, request.state.request_id)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    # No route declares a parameter that can fail; should one, FastAPI's words (which echo values) stay inside.
    refusal = ServiceError(ErrorKind.MALFORMED, "a path, query or header parameter is not of its type")
    return await _answer_error(request, refusal)
