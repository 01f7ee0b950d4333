"""What the service reads from request headers, and what it tells OpenAPI of those it answers."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import Headers

from service.core.errors import ErrorKind, ServiceError, malformed
from service.core.priority import Priority, read_priority

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
OCTETS = "application/octet-stream"
INFERENCE_HEADER_LENGTH = "Inference-Header-Content-Length"
MEDIA_TYPES = (JSON, PROTOBUF)
"""What cells, and the answers to them, come and go in."""

_EITHER = " or ".join(MEDIA_TYPES)
_QUALITY = re.compile(r"0(\.[0-9]*)?|1(\.0*)?")
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_BYTES = re.compile(r"[0-9]{1,18}")
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
    INFERENCE_HEADER_LENGTH: {
        "description": "Bytes of the JSON before the binary data; absent where there are none.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Retry-After": {
        "description": "Seconds after which trying again may help.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string", "const": "Bearer"}},
    "traceresponse": {
        "description": "Where the call was traced: version, trace id, span id and flags, as `traceparent` has them.",
        "schema": {"type": "string"},
        "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
    "ETag": {"description": "Digest of the body, for `If-None-Match`.", "schema": {"type": "string"}},
}
"""The response headers of our own, as OpenAPI describes them."""


def parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's word for a request header."""
    return {"in": "header", "name": name, "description": description, "required": False, "schema": schema}


OF_CELLS: list[dict[str, Any]] = [
    parameter("Content-Encoding", "How the body is compressed.", {"enum": ["identity", "gzip", "zstd"]}),
    parameter("X-Request-Id", "Echoed and logged; made where absent.", {"type": "string", "maxLength": 128}),
    parameter("X-Request-Timeout-Ms", "The deadline, in milliseconds from arrival.", {"type": "number"}),
    parameter(
        "X-Request-Priority",
        "Whose turn the cells take: `interactive` before `bulk`, which still has one batch in four while it waits.",
        {"enum": ["interactive", "bulk"], "default": "interactive"},
    ),
    parameter("traceparent", "The caller's trace (W3C Trace Context), where the server traces.", {"type": "string"}),
    parameter("tracestate", "What others have added to the trace.", {"type": "string"}),
]
"""The request headers of every route with cells, as OpenAPI describes them."""


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


def priority(headers: Headers) -> Priority:
    """Whose turn the caller's cells take, from `X-Request-Priority`.

    Raises:
        ServiceError: `malformed` where it is neither `interactive` nor `bulk`.
    """
    return read_priority(headers.get("x-request-priority"), "X-Request-Priority")


def inference_header_length(headers: Headers) -> int | None:
    """Bytes of the JSON before binary data, from `Inference-Header-Content-Length`; None: the body is JSON alone.

    Raises:
        ServiceError: `malformed` where the header is no number of bytes.
    """
    given = headers.get(INFERENCE_HEADER_LENGTH)
    if given is None:
        return None
    if not _BYTES.fullmatch(given):
        malformed("Inference-Header-Content-Length must be a whole number of bytes")
    return int(given)


def content_encoding(headers: Headers) -> str:
    """How the body is compressed: `identity`, `gzip` or `zstd`.

    Raises:
        ServiceError: `unsupported` for anything else, several encodings included.
    """
    given = ",".join(headers.getlist("content-encoding")).strip().lower() or "identity"
    if given not in _ENCODINGS:
        raise ServiceError(ErrorKind.UNSUPPORTED, "Content-Encoding must be one of identity, gzip and zstd")
    return _ENCODINGS[given]


def body_type(headers: Headers) -> str:
    """The media type of the request's body: one of `MEDIA_TYPES`, its parameters left aside.

    Raises:
        ServiceError: `unsupported` for any other.
    """
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in MEDIA_TYPES:
        raise ServiceError(ErrorKind.UNSUPPORTED, f"Content-Type must be {_EITHER}")
    return given


def answer_type(headers: Headers, own: str) -> str:
    """The media type of the answer: what `Accept` likes best (RFC 9110, 12.5.1).

    Args:
        headers: of the request.
        own: the request's own type, which decides where `Accept` likes both as much or says nothing.

    Raises:
        ServiceError: `unsupported` where `Accept` rules all of `MEDIA_TYPES` out.
    """
    accepted = ",".join(headers.getlist("accept"))
    if accepted in ("", own, "*/*"):
        return own
    qualities = _qualities(accepted)
    best = max((own, *MEDIA_TYPES), key=lambda name: _quality(name, qualities))
    if not _quality(best, qualities):
        # HTTP has 406 for this; API 6 has one kind and one status for all media types.
        raise ServiceError(ErrorKind.UNSUPPORTED, f"the answer is {_EITHER}, which Accept rules out")
    return best


def accepts_gzip(headers: Headers) -> bool:
    """Whether the answer may be compressed with gzip, and the caller likes that no less than if it is not."""
    qualities = _qualities(",".join(headers.getlist("accept-encoding")))
    gzip = next((qualities[name] for name in ("gzip", "x-gzip", "*") if name in qualities), 0.0)
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def holds(headers: Headers, etag: str) -> bool:
    """Whether the caller says by `If-None-Match` that it has what has this tag (RFC 9110, 13.1.2)."""
    held = [tag.strip().removeprefix("W/") for tag in ",".join(headers.getlist("if-none-match")).split(",")]
    return etag in held or "*" in held


def _qualities(accept: str) -> dict[str, float]:
    """The quality of each range of an `Accept` header, or coding of an `Accept-Encoding`; what is none counts as 1."""
    qualities = {}
    for media_range in filter(None, map(str.strip, accept.lower().split(","))):
        name, *parameters = [part.strip() for part in media_range.split(";")]
        given = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "")
        qualities[name] = float(given) if _QUALITY.fullmatch(given) else 1.0
    return qualities or {"*/*": 1.0}


def _quality(name: str, qualities: dict[str, float]) -> float:
    """The quality of a media type: that of the most specific range that holds it."""
    return next((qualities[range_] for range_ in (name, "application/*", "*/*") if range_ in qualities), 0.0)
