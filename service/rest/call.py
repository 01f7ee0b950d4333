"""One REST call, from its headers to its response: what the routes of all protocols share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from fastapi import Request, Response
from starlette.types import Receive

from service.core.engine import Engine
from service.core.errors import ErrorKind, ServiceError, invalid
from service.core.recorder import Call
from service.rest import headers
from service.rest.limits import decompress, read_body

T = TypeVar("T")

_LONGEST_PATH = 256
"""Of which a trace is told."""


async def answer_call(
    engine: Engine,
    refused: Callable[[Exception, str], Response],
    request: Request,
    operation: str,
    work: Callable[[Call], Awaitable[Response]],
    *,
    traced: bool = True,
) -> Response:
    """Run one call inside its record; its phases are told however it ends.

    Args:
        engine: records it.
        refused: what `work` raises and the request's id → the protocol's error.
        request: being answered.
        operation: as it is recorded.
        work: what is done.
        traced: whether the caller's trace is looked for.
    """
    request_id = request.state.request_id
    response: Response | None = None
    recorded = engine.call(
        transport="rest",
        operation=operation,
        request_id=request_id,
        carried=request.headers.getlist if traced else None,
    )
    try:
        with recorded as call:
            try:
                response = await work(call)
            except Exception as error:
                response = refused(error, request_id)
                raise  # for the record
            finally:
                if response is not None:
                    call.status = str(response.status_code)
    except Exception:
        if response is None:
            raise
    finally:
        if call.trace is not None:
            call.end_trace(*_traced_as(request, None if response is None else response.status_code))
    if timing := call.server_timing:
        response.headers["Server-Timing"] = timing
    if call.trace is not None:
        response.headers["traceresponse"] = call.trace.answer
    return response


async def with_body(
    engine: Engine,
    request: Request,
    call: Call,
    walk: Callable[[bytes | bytearray], Coroutine[None, None, Response]],
) -> Response:
    """Read a body with cells within the caller's deadline, and walk on with it as long as the caller is there.

    Raises:
        ServiceError: for its headers, its size or its compression; DEADLINE; CANCELLED; what `walk` raises.
    """
    encoding = headers.content_encoding(request.headers)
    timeout_s = headers.timeout_s(request.headers)
    call.priority = headers.priority(request.headers)
    if timeout_s is not None:
        call.deadline_s = call.started_s + timeout_s
    limit = engine.limits.max_request_bytes
    try:
        # Hardly any caller sets a deadline, and a timer costs as much as reading a small body.
        async with contextlib.nullcontext() if timeout_s is None else asyncio.timeout(timeout_s):
            body = await read_body(request, limit, call)
    except TimeoutError:
        raise ServiceError(ErrorKind.DEADLINE, "the deadline passed before the body had arrived") from None

    async def unpacked() -> Response:
        content = body
        if encoding != "identity":
            with call.phase("decode"):
                content = await asyncio.to_thread(decompress, body, encoding, limit)
            call.hold(len(content))
        call.n_bytes = len(content)
        return await walk(content)

    return await _unless_gone(request.receive, unpacked())


def check_named(field: str, of_path: str | None, of_body: str | None) -> None:
    """Refuse a body that names another model or version than the path; where either names none there is no other.

    Raises:
        ServiceError: INVALID, for `field` of the body.
    """
    if of_path is not None and of_body and of_body != of_path:
        invalid(f"{field} is another one than the path names; leave it out or name the same", field=field)


def _traced_as(request: Request, status: int | None) -> tuple[str, dict[str, str | int]]:
    """The name of a call's span and its attributes, by OpenTelemetry's conventions for HTTP servers.

    Of what the caller wrote only the path is told, and only where it is one of ours.
    """
    attributes: dict[str, str | int] = {"http.request.method": request.method, "url.scheme": request.scope["scheme"]}
    if status is not None:
        attributes["http.response.status_code"] = status
    route = request.scope.get("route")
    if route is None:
        return request.method, attributes
    attributes |= {"http.route": route.path, "url.path": request.scope["path"][:_LONGEST_PATH]}
    return f"{request.method} {route.path}", attributes


async def _unless_gone(receive: Receive, work: Coroutine[None, None, T]) -> T:
    """The result of `work`, which is cancelled if the caller hangs up first.

    Args:
        receive: of a request whose body has been read, so that only its end can come.
        work: what the caller waits for.

    Raises:
        ServiceError: `cancelled`, once the cancelled work has wound up.
    """
    waiting, gone = cast("asyncio.Task[Any]", asyncio.current_task()), False

    async def listen() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        waiting.cancel()

    listening = asyncio.create_task(listen())
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        waiting.uncancel()
        raise ServiceError(ErrorKind.CANCELLED, "the caller left before its answer was ready") from None
    finally:
        listening.cancel()
