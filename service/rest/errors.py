"""The one map from `ErrorKind` to HTTP, and the RFC 9457 problem that carries an error to the caller."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.core.errors import ErrorKind, ServiceError, for_caller
from service.rest.headers import described

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
    status: int | None = None
    headers = {"X-Request-Id": request_id}
    if isinstance(error, HTTPException):
        status = error.status_code
        headers |= error.headers or {}
        error = _of_router(error)
    error = for_caller(error, request_id)
    if error.kind in _RETRIABLE:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))

    mapped_status, title = HTTP_STATUS[error.kind]
    status = status or mapped_status
    body: dict[str, Any] = {
        "type": f"urn:totalvi-serve:error:{error.kind.value}",
        "title": title,
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
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = HTTP_STATUS[kind]
        retry = ("Retry-After",) if kind in _RETRIABLE else ()
        responses[status] = {"description": title, "content": content, "headers": described(*headers, *retry)}
    responses["default"] = {
        "description": "Any other error",
        "content": content,
        "headers": described(*headers),
    }
    return responses
