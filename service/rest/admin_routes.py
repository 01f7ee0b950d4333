"""The HTTP application of the operators' port: probes, metrics, and what operators may change."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from service.core.health import Health
from service.core.repository import Repository
from service.rest.admin_call import AdminToken
from service.rest.log_admin_routes import LogLevel, log_admin_routes
from service.rest.model_admin_routes import model_admin_routes


def build_operator_app(
    health: Health,
    metrics_text: Callable[[str], tuple[bytes, str]],
    repository: Repository,
    log_level: LogLevel,
    token: AdminToken | None = None,
) -> Starlette:
    """Probes, metrics and `/admin`, as an ASGI application.

    Args:
        health: what the probes tell: 200 with `ok`, or 503 with the state and its reason as JSON.
        metrics_text: from a request's `Accept` to the exposition of all metrics and its content type.
        repository: that operators change.
        log_level: that they change.
        token: of the operators who may; None: nobody may.
    """

    async def livez(request: Request) -> Response:
        """Whether the process is worth keeping."""
        return _probe(health, health.live)

    async def readyz(request: Request) -> Response:
        """Whether new requests should be sent here."""
        return _probe(health, health.ready)

    async def startupz(request: Request) -> Response:
        """Whether it has been ready once."""
        return _probe(health, health.started)

    async def metrics(request: Request) -> Response:
        """All metrics, for Prometheus."""
        text, content_type = metrics_text(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    routes = [Route(f"/{answer.__name__}", answer) for answer in (livez, readyz, startupz, metrics)]
    return Starlette(routes=[*routes, *model_admin_routes(repository, token), *log_admin_routes(log_level, token)])


def _probe(health: Health, holds: bool) -> Response:
    if holds:
        return PlainTextResponse("ok")
    return JSONResponse({"state": health.state.value, "reason": health.reason}, status_code=503)
