"""`grpc.health.v1.Health`, straight from the core's health.

Not `grpc_health.v1.health.aio.HealthServicer`: there a watcher that leaves takes the others' notifications along, and
one that does not read holds up every change of the state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service.core.health import Health, ServingState


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Tells the one state of the process, for each of the services named.

    Made on the event loop that serves it; the state may change on any thread.
    """

    def __init__(self, health: Health, services: Collection[str]) -> None:
        self._health = health
        self._services = frozenset(services)
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        health.subscribe(self._wake_watchers)

    async def Check(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> HealthCheckResponse:
        """The state now; `NOT_FOUND` for another service."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[HealthCheckResponse]:
        """The state now and after every change, until the caller leaves; `SERVICE_UNKNOWN` for another service."""
        told = None
        while True:
            changed = self._changed  # held before the state is read, so that no change falls in between
            status = self._status(request.service)
            if status != told:
                yield HealthCheckResponse(status=status)
                told = status
            await changed.wait()

    def _status(self, service: str) -> HealthCheckResponse.ServingStatus:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._health.ready else HealthCheckResponse.NOT_SERVING

    def _wake_watchers(self, state: ServingState) -> None:
        def wake() -> None:
            self._changed.set()
            self._changed = asyncio.Event()

        # A closed loop has no watchers left, and the thread that brings the news is not to suffer for it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(wake)
