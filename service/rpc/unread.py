"""Refuses calls before their messages are read, while the memory for messages is nearly full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import grpc

from service.core.engine import Engine
from service.core.recorder import Call
from service.rpc.call import Write, stream_method

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class Methods(grpc.GenericRpcHandler):
    """The methods of a service; those with cells are refused unread while `Engine.bodies` is tight.

    grpc reads the whole message of a unary call before it asks for an answer, and of a stream what it is asked for. So
    the refusal is a stream, from which nothing is read; on the wire there is no difference.

    Args:
        engine: of the service.
        service: its full name.
        handlers: by the name of the method.
        with_cells: names of the methods and the operations they are recorded as.
    """

    def __init__(
        self, engine: Engine, service: str, handlers: Mapping[str, Handler], with_cells: Mapping[str, str]
    ) -> None:
        self._bodies = engine.bodies
        self._handlers = {f"/{service}/{name}": handler for name, handler in handlers.items()}
        self._refusals = {
            f"/{service}/{name}": _refusal(engine, f"{service}/{name}", operation)
            for name, operation in with_cells.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call; None: there is no such method."""
        method = handler_call_details.method
        if self._bodies.is_tight and method in self._refusals:
            return self._refusals[method]
        return self._handlers.get(method)


def _refusal(engine: Engine, method: str, operation: str) -> Handler:
    async def refuse(bodies: AsyncIterator[bytes], write: Write, call: Call) -> None:
        raise engine.bodies.refusal()

    return stream_method(engine, method, operation, refuse)
