"""What the service reads from request headers."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers

from service.core.errors import ErrorKind, ServiceError, malformed

JSON = "application/json"

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_MILLISECONDS = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_ENCODINGS = {"identity": "identity", "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}


def request_id(headers: Headers) -> str:
    """The caller's `X-Request-Id`, or a new one where that is not 1 to 128 visible ASCII characters."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


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
