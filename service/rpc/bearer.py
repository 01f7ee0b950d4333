"""The callers' tokens on every method, known or not, reflection included; but not on health."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health

from service.core.engine import Engine
from service.core.errors import ServiceError
from service.core.recorder import Call
from service.core.tokens import Tokens
from service.rpc.call import Write, stream_method

OPEN: Final = f"/{health.SERVICE_NAME}/"
"""Orchestrators and balancers ask for health, have no token to show, and learn no more than that one bit."""


class BearerTokens(grpc.aio.ServerInterceptor):
    """Refuses what bears no valid token before its messages are read, and records it."""

    def __init__(self, engine: Engine, tokens: Tokens) -> None:
        self._engine = engine
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method that is to answer the call: its own where there is one, or one that refuses it."""
        if not handler_call_details.method.startswith(OPEN):
            metadata = handler_call_details.invocation_metadata or ()
            try:
                self._tokens.admit([str(value) for key, value in metadata if key == "authorization"])
            except ServiceError as error:
                return self._refusing(error)
        return await continuation(handler_call_details)

    def _refusing(self, error: ServiceError) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def refuse(bodies: AsyncIterator[bytes], write: Write, call: Call) -> None:
            raise error

        # Of whatever kind the method is: a stream's handler is called before the first message is read.
        # Strangers choose no traces.
        return stream_method(self._engine, "_OTHER", "authenticate", refuse, traced=False)
