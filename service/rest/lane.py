"""Requests with cells go straight to their endpoints, past the routing of the framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from re import Pattern
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint: TypeAlias = Callable[..., Awaitable[Response]]


class CellLane:
    """Pure ASGI middleware: a POST to one of some routes is answered by its endpoint at once; all else passes.

    FastAPI takes some 300 microseconds to find a route, solve the dependencies that ours have not and look after a body
    that ours read themselves: for a call of one cell as much as everything else. Its routes are the same, so that
    the OpenAPI document, other methods and mounted applications know nothing of this.

    Args:
        app: takes what is not for the lane.
        routers: whose POST routes are in the lane; their endpoints must ask for the request and path parameters alone.
    """

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._lane: list[tuple[Pattern[str], APIRoute]] = [
            (route.path_regex, route)
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and route.methods == {"POST"}
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        found = self._find(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        route, parameters = found
        scope["route"] = route  # as the framework's own routing would
        endpoint: Endpoint = route.endpoint
        response = await endpoint(Request(scope, receive), **parameters)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[APIRoute, dict[str, Any]] | None:
        path = scope["path"]
        for pattern, route in self._lane:
            if match := pattern.match(path):
                return route, match.groupdict()
        return None
