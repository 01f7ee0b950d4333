"""One gRPC call, from its metadata to its status: what all methods share."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
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


def unary_method(engine: Engine, method: str, operation: str, walk: Walk) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The method that answers with `walk`, traced as `method` (`service/Method`) and recorded as `operation`.

    It takes and gives serialised messages: parsed by grpc itself, a malformed one would end as `UNKNOWN` with the
    parser's words, and neither direction's time would be seen.
    """

    async def answer(body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        async def work(call: Call) -> bytes:
            call.n_bytes = len(body)
            call.hold(len(body))
            return await walk(body, call)

        return await _answered(engine, method, operation, context, work)

    return grpc.unary_unary_rpc_method_handler(answer)


def unary_methods(
    engine: Engine, service: str, walks: Mapping[str, tuple[str, Walk]]
) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    """The unary methods of a service, by their names, from the operations that they are recorded as and their walks."""
    return {
        name: unary_method(engine, f"{service}/{name}", operation, walk) for name, (operation, walk) in walks.items()
    }


def stream_method(
    engine: Engine, method: str, operation: str, walk: StreamWalk, *, traced: bool = True
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """The method that answers a stream with a stream by `walk`: one call, bulk unless it says, named as a unary one.

    `traced`: whether the caller's trace is looked for.
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

        async def work(call: Call) -> None:
            await walk(bodies, write, call)

        await _answered(engine, method, operation, context, work, Priority.BULK, traced=traced)

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
    method: str,
    operation: str,
    context: grpc.aio.ServicerContext[Any, Any],
    work: Callable[[Call], Awaitable[T]],
    priority: Priority = Priority.INTERACTIVE,
    *,
    traced: bool = True,
) -> T:
    """What `work` returns; what it raises becomes the call's status. Recorded, and trailers tell of it either way."""
    metadata = context.invocation_metadata() or ()
    request_id = request_id_of(metadata)
    recorded = engine.call(
        transport="grpc",
        operation=operation,
        request_id=request_id,
        timeout_s=context.time_remaining(),
        carried=functools.partial(_texts, metadata) if traced else None,
    )
    try:
        with recorded as call:
            try:
                call.priority = priority_of(metadata, priority)
                answer = await work(call)
            except BaseException as error:
                call.status = STATUS_CODES[outcome_of(error)].name
                raise
            call.status = "OK"
    except Exception as error:
        await abort(context, error, call)
    finally:
        if call.trace is not None:
            facts = {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": call.status}
            call.end_trace(method, facts)
    context.set_trailing_metadata(trailers(call))
    return answer


def _texts(metadata: Iterable[tuple[str, str | bytes]], name: str) -> list[str]:
    return [value for key, value in metadata if key == name and isinstance(value, str)]
