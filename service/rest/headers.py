"""What the service reads from request headers, and what it tells OpenAPI of those it answers."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers

from service.core.errors import ErrorKind, ServiceError, malformed

JSON = "application/json"

_MILLISECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_ENCODINGS = {"identity": "identity", "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}

ANSWERED: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's, or one that was made; the log has the call under it.",
        "required": True,
        "schema": {"type": "string", "maxLength": 128},
    },
    "Server-Timing": {
        "description": "Milliseconds of decode, queue, compute and encode, as far as the call came.",
        "schema": {"type": "string"},
        "example": "decode;dur=0.214, queue;dur=0.031, compute;dur=1.520, encode;dur=0.118",
    },
    "Retry-After": {
        "description": "Seconds after which trying again may help.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ETag": {"description": "Digest of the body, for `If-None-Match`.", "schema": {"type": "string"}},
}
"""The response headers of our own, as OpenAPI describes them."""


def described(*names: str) -> dict[str, dict[str, str]]:
    """OpenAPI `headers` of an answer: those named, and the request id that every answer bears."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def timeout_s(headers: Headers) -> float | None:
    """Seconds that the caller will wait, from `X-Request-Timeout-Ms`; zero and below mean that it no longer does.

    Raises:
        ServiceError: `malformed` where the header is not a plain decimal number.
    """
    given = headers.get("x-request-timeout-ms")
    if given is None:
        return None
    if not _MILLISECONDS.fullmatch(given):
        malformed("X-Request-Timeout-Ms must be a decimal number of milliseconds, at most 15 digits before the point")
    return float(given) / 1000


def content_encoding(headers: Headers) -> str:
    """How the body is compressed: `identity`, `gzip` or `zstd`.

    Raises:
        ServiceError: `unsupported` for anything else, several encodings included.
    """
    given = ",".join(headers.getlist("content-encoding")).strip().lower() or "identity"
    if given not in _ENCODINGS:
        raise ServiceError(ErrorKind.UNSUPPORTED, "Content-Encoding must be one of identity, gzip and zstd")
    return _ENCODINGS[given]


def require_json(headers: Headers) -> None:
    """Refuse a request whose body is not JSON or whose caller does not take JSON.

    Raises:
        ServiceError: `unsupported`.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise ServiceError(ErrorKind.UNSUPPORTED, f"Content-Type must be {JSON}")
    if not _admits_json(",".join(headers.getlist("accept"))):
        raise ServiceError(ErrorKind.UNSUPPORTED, f"the answer is {JSON}, which Accept rules out")


def _admits_json(accept: str) -> bool:
    """Whether an `Accept` header allows JSON; the most specific range decides (RFC 9110, 12.5.1)."""
    allowed = {}
    for media_range in accept.lower().split(","):
        name, *parameters = [part.strip() for part in media_range.split(";")]
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        allowed[name] = quality.strip("0.") != ""
    return next((allowed[name] for name in (JSON, "application/*", "*/*") if name in allowed), not accept.strip())
