"""One gRPC call, from its metadata to its status: what all methods share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import grpc

from service.core.engine import Engine
from service.core.recorder import Call
from service.core.request_id import request_id_from
from service.rpc.errors import abort, trailers

Walk: TypeAlias = Callable[[bytes, Call], Awaitable[bytes]]
"""From a serialised request to a serialised answer; it times its own phases and raises `ServiceError`."""


def unary_method(engine: Engine, operation: str, walk: Walk) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The method that answers with `walk`, recorded as `operation`.

    It takes and gives serialised messages: parsed by grpc itself, a malformed one would end as `UNKNOWN` with the
    parser's words, and neither direction's time would be seen.
    """

    async def answer(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        request_id = request_id_of(context.invocation_metadata() or ())
        try:
            with engine.call(
                transport="grpc", operation=operation, request_id=request_id, timeout_s=context.time_remaining()
            ) as call:
                call.n_bytes = len(body)
                reply = await walk(body, call)
        except Exception as error:
            await abort(context, error, request_id, server_timing=call.server_timing)
        context.set_trailing_metadata(trailers(request_id, call.server_timing))
        return reply

    return grpc.unary_unary_rpc_method_handler(answer)


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's first `x-request-id` where it is a sane one, else a new one."""
    given = next((value for key, value in metadata if key == "x-request-id"), "")
    return request_id_from(given if isinstance(given, str) else "")
