"""One gRPC call, from its metadata to its status: what all methods share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import grpc

from service.core.engine import Engine
from service.core.errors import ErrorKind, ServiceError
from service.core.priority import Priority, read_priority
from service.core.recorder import Call, outcome_of
from service.core.request_id import request_id_from
from service.rpc.errors import STATUS_CODES, abort, trailers

T = TypeVar("T")

Walk: TypeAlias = Callable[[bytes, Call], Awaitable[bytes]]
"""From a serialised request to a serialised answer; it times its own phases and raises `ServiceError`."""

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Sends a serialised message, and waits until its reader has room for it."""

StreamWalk: TypeAlias = Callable[[AsyncIterator[bytes], Write, Call], Awaitable[None]]
"""From serialised requests to serialised answers, as a `Walk` does."""


def unary_method(engine: Engine, operation: str, walk: Walk) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The method that answers with `walk`, recorded as `operation`.

    It takes and gives serialised messages: parsed by grpc itself, a malformed one would end as `UNKNOWN` with the
    parser's words, and neither direction's time would be seen.
    """

    async def answer(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        async def work(call: Call) -> bytes:
            call.n_bytes = len(body)
            call.hold(len(body))
            return await walk(body, call)

        return await _answered(engine, operation, context, work)

    return grpc.unary_unary_rpc_method_handler(answer)


def stream_method(engine: Engine, operation: str, walk: StreamWalk) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The method that answers a stream with a stream by `walk`: one call, recorded as `operation`, bulk unless it says.

    grpc tells a caller's leaving first as the end of its messages: one that leaves while nothing of its own is under
    way may be recorded as one that ended its stream.
    """

    async def answer(bodies: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        async def write(body: bytes) -> None:
            try:
                await context.write(body)
            except grpc.aio.InternalError:
                # The caller's leaving is in grpc's core already, and on its way to cancel this task.
                raise ServiceError(ErrorKind.CANCELLED, "the caller left before its answers were written") from None

        await _answered(engine, operation, context, lambda call: walk(bodies, write, call), Priority.BULK)

    return grpc.stream_stream_rpc_method_handler(answer)


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's first `x-request-id` where it is a sane one, else a new one."""
    given = next((value for key, value in metadata if key == "x-request-id"), "")
    return request_id_from(given if isinstance(given, str) else "")


def priority_of(metadata: Iterable[tuple[str, str | bytes]], default: Priority) -> Priority:
    """The caller's first `x-request-priority`.

    Raises:
        ServiceError: MALFORMED where it is neither `interactive` nor `bulk`.
    """
    given = next((value for key, value in metadata if key == "x-request-priority"), None)
    return read_priority(given, "x-request-priority", default)


async def _answered(
    engine: Engine,
    operation: str,
    context: grpc.aio.ServicerContext[Any, Any],
    work: Callable[[Call], Awaitable[T]],
    priority: Priority = Priority.INTERACTIVE,
) -> T:
    """What `work` returns; what it raises becomes the call's status. Recorded, and trailers tell of it either way."""
    metadata = context.invocation_metadata() or ()
    request_id = request_id_of(metadata)
    try:
        with engine.call(
            transport="grpc", operation=operation, request_id=request_id, timeout_s=context.time_remaining()
        ) as call:
            try:
                call.priority = priority_of(metadata, priority)
                answer = await work(call)
            except BaseException as error:
                call.status = STATUS_CODES[outcome_of(error)].name
                raise
            call.status = "OK"
    except Exception as error:
        await abort(context, error, request_id, server_timing=call.server_timing)
    context.set_trailing_metadata(trailers(request_id, call.server_timing))
    return answer
