"""How a failure of the core looks to a gRPC caller."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]
    BadRequest,
    ErrorInfo,
    RequestInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from service.core.errors import ErrorKind, ServiceError, for_caller
from service.core.recorder import Call

STATUS_CODES: Final[Mapping[ErrorKind, grpc.StatusCode]] = {
    ErrorKind.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    ErrorKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorKind.CANCELLED: grpc.StatusCode.CANCELLED,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
}

DOMAIN: Final = "totalvi-serve"

# A status travels in HTTP/2 trailers, of which clients take 8 KiB in all. The message is in there three times, once
# percent-encoded (up to threefold) and twice in base64; the field twice, in base64.
_LONGEST_MESSAGE = 1024
_LONGEST_FIELD = 256


def rich_status(error: ServiceError, request_id: str) -> Status:
    """The code, the message and the details that `totalvi_v1.proto` promises for `error`."""
    message = _cut(error.detail, _LONGEST_MESSAGE)
    metadata = {name: str(count) for name, count in error.counts.items()}
    details = [RequestInfo(request_id=request_id)]
    if error.index is not None:
        metadata["index"] = str(error.index)
    if error.field is not None:
        metadata["field"] = _cut(error.field, _LONGEST_FIELD)
        violation = BadRequest.FieldViolation(field=metadata["field"], description=message)
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(_milliseconds(error.retry_after_s))
        details.append(RetryInfo(retry_delay=delay))
    details.append(ErrorInfo(reason=error.kind.value, domain=DOMAIN, metadata=metadata))

    status = Status(code=STATUS_CODES[error.kind].value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def trailers(call: Call) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of every call; phases where any was entered, its trace where it has one."""
    timing = (("server-timing", call.server_timing),) if call.phase_s else ()
    traced = () if call.trace is None else (("traceresponse", call.trace.answer),)
    return (("x-request-id", call.request_id), *timing, *traced)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, call: Call) -> NoReturn:
    """End a call with `error`; of one that is no `ServiceError`, or an internal one, only the request id leaves."""
    error = for_caller(error, call.request_id)
    status = rich_status(error, call.request_id)
    metadata = [*trailers(call), ("grpc-status-details-bin", status.SerializeToString())]
    if error.retry_after_s is not None:
        metadata.append(("grpc-retry-pushback-ms", str(_milliseconds(error.retry_after_s))))
    await context.abort(STATUS_CODES[error.kind], status.message, tuple(metadata))


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _cut(text: str, n_bytes: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= n_bytes:
        return encoded.decode()
    return encoded[: n_bytes - len("…".encode())].decode(errors="ignore") + "…"
