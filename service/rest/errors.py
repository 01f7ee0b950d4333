"""The one map from `ErrorKind` to HTTP, and the RFC 9457 problem that carries an error to the caller."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.core.errors import ErrorKind, ServiceError, for_caller
from service.rest.headers import JSON, described

PROBLEM_TYPE = "application/problem+json"

HTTP_STATUS: dict[ErrorKind, tuple[int, str]] = {
    ErrorKind.MALFORMED: (400, "The request cannot be decoded"),
    ErrorKind.UNAUTHENTICATED: (401, "A valid token is needed"),
    ErrorKind.FORBIDDEN: (403, "The token does not allow this"),
    ErrorKind.NOT_FOUND: (404, "There is no such thing here"),
    ErrorKind.TOO_LARGE: (413, "The request is over a published limit"),
    ErrorKind.UNSUPPORTED: (415, "The media type, encoding or method is not supported"),
    ErrorKind.INVALID: (422, "The request cannot be encoded"),
    ErrorKind.OVERLOADED: (429, "The queue is full"),
    # nginx's number for a caller that left; nobody is there to read it, but access logs show it.
    ErrorKind.CANCELLED: (499, "The caller left"),
    ErrorKind.INTERNAL: (500, "Internal error"),
    ErrorKind.UNAVAILABLE: (503, "Not serving at the moment"),
    ErrorKind.DEADLINE: (504, "The deadline passed"),
}
"""Kind → HTTP status and the title of its problem type."""

_RETRIABLE = (ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE)


def problem(error: Exception, request_id: str) -> Response:
    """The answer to a failed request.

    Args:
        error: a `ServiceError`, an `HTTPException` of the router, or else a bug, of which nothing is told.
        request_id: of the request; `internal` answers point to the log with it.

    Returns:
        `application/problem+json`, with `Retry-After` (whole seconds, at least 1) where trying again may help.
    """
    error, status, headers = _refusal(error, request_id)
    body: dict[str, Any] = {
        "type": f"urn:totalvi-serve:error:{error.kind.value}",
        "title": HTTP_STATUS[error.kind][1],
        "status": status,
        "detail": error.detail,
        "code": error.kind.value,
        "request_id": request_id,
    }
    if error.field is not None:
        body["field"] = error.field
    if error.index is not None:
        body["index"] = error.index
    if error.counts:
        body["counts"] = error.counts
    return Response(orjson.dumps(body), status, headers, PROBLEM_TYPE)


def open_inference_error(error: Exception, request_id: str) -> Response:
    """The answer of `/v2` to a failed request: what the protocol has for it, with the headers of `problem`."""
    error, status, headers = _refusal(error, request_id)
    if error.kind is ErrorKind.INVALID:
        status = 400
    return Response(orjson.dumps({"error": error.detail}), status, headers, JSON)


def error_of_path(path: str) -> Callable[[Exception, str], Response]:
    """What writes the errors of a path: each protocol has its own."""
    return open_inference_error if f"{path}/".startswith("/v2/") else problem


def _refusal(error: Exception, request_id: str) -> tuple[ServiceError, int, dict[str, str]]:
    """What a caller is told, the status and the headers."""
    status: int | None = None
    headers = {"X-Request-Id": request_id}
    if isinstance(error, HTTPException):
        status = error.status_code
        headers |= error.headers or {}
        error = _of_router(error)
    error = for_caller(error, request_id)
    if error.kind is ErrorKind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.kind in _RETRIABLE:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))
    return error, status or HTTP_STATUS[error.kind][0], headers


def _of_router(error: HTTPException) -> ServiceError:
    """What the router refuses, in the service's kinds: an unknown path, or a method that a path does not have."""
    if error.status_code == 404:
        return ServiceError(ErrorKind.NOT_FOUND, "there is nothing at this path; /openapi.json lists what there is")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "none")
        return ServiceError(ErrorKind.UNSUPPORTED, f"this path does not take the method; it takes: {allowed}")
    kind = ErrorKind.MALFORMED if error.status_code < 500 else ErrorKind.INTERNAL
    return ServiceError(kind, "the request could not be read")


def documented(*kinds: ErrorKind, headers: Collection[str] = ()) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for the errors a route answers; `default` stands for any other.

    Args:
        kinds: of the errors.
        headers: that they bear beside those of every error.
    """
    return _documented(kinds, headers, {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}})


def documented_open_inference(*kinds: ErrorKind, headers: Collection[str] = ()) -> dict[int | str, dict[str, Any]]:
    """The same for a route of `/v2`."""
    content = {JSON: {"schema": {"$ref": "#/components/schemas/InferError"}}}
    return _documented([kind for kind in kinds if kind is not ErrorKind.INVALID], headers, content)


def _documented(
    kinds: Collection[ErrorKind], headers: Collection[str], content: dict[str, Any]
) -> dict[int | str, dict[str, Any]]:
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = HTTP_STATUS[kind]
        own = ["Retry-After"] if kind in _RETRIABLE else []
        own += ["WWW-Authenticate"] if kind is ErrorKind.UNAUTHENTICATED else []
        responses[status] = {"description": title, "content": content, "headers": described(*headers, *own)}
    responses["default"] = {
        "description": "Any other error",
        "content": content,
        "headers": described(*headers),
    }
    return responses
