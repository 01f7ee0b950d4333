"""REST: questions as HTTP requests with protobuf bodies, over httpx, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import math
import ssl
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import httpx

from totalvi_client.errors import (
    BY_CODE,
    TOO_LATE,
    DeadlineExceeded,
    Forbidden,
    InputError,
    Overloaded,
    ServiceError,
    TooLarge,
    TotalviError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
)
from totalvi_client.question import Answer, Method, Question, read_timing
from totalvi_client.target import USER_AGENT, Target

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"

_CONNECT_S: Final = 10.0
"""A host that takes longer is not there; another attempt may reach another one."""

_ENCODED_S: Final = 300.0
_TOLD_S: Final = 30.0
"""Without a deadline: a server that is silent for so long has vanished, whatever its connection says. What it only has
to look up it tells sooner."""

_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=60.0)
"""Connections are kept for less than the server's own 75 s, so that it is not the server that closes them."""

_OF_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    413: TooLarge,
    429: Overloaded,
    503: Unavailable,
}
"""What statuses mean that come from something before the service, or from it before it has read the request."""

_BETWEEN: Final = (408, 502, 504)
"""Something between has no answer of the service."""


class RestTransport:
    """Asks over HTTP, for any number of threads. Args: target: where."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client = _made(httpx.Client, target)

    def ask(self, question: Question, timeout_s: float | None) -> Answer:
        """The answer.

        Raises:
            TotalviError: there is none.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        timeouts = _timeouts(question, timeout_s)

        def tighten(event: str, _: Any) -> None:
            # httpx's timeouts are each step's own; what is left is less at each.
            if end is not None and event.endswith(".started"):
                left_s = max(end - time.monotonic(), 0.001)
                timeouts.update(read=left_s, write=left_s, pool=left_s, connect=min(left_s, _CONNECT_S))

        request = self._client.build_request(
            **_request(self._target, question, timeout_s), extensions={"timeout": timeouts, "trace": tighten}
        )
        try:
            response = self._client.send(request, stream=True)
            try:
                body = _read(response, end, question)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise _failure(error, question, late=end is not None and time.monotonic() >= end - 0.01) from error
        return _answer(response.status_code, response.headers, body, question)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncRestTransport:
    """The same on an event loop. Args: target: where."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client = _made(httpx.AsyncClient, target)

    async def ask(self, question: Question, timeout_s: float | None) -> Answer:
        """The answer.

        Raises:
            TotalviError: there is none.
        """
        request = self._client.build_request(
            **_request(self._target, question, timeout_s), extensions={"timeout": _timeouts(question, timeout_s)}
        )
        try:
            response = await asyncio.wait_for(self._client.send(request), timeout_s)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise _late(question) from error
        except httpx.HTTPError as error:
            raise _failure(error, question, late=False) from error
        return _answer(response.status_code, response.headers, response.content, question)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def read_retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds of a `Retry-After` header, which has them or a date (RFC 9110, 10.2.3); None: it has neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.timezone.utc)
    return max(0.0, date.timestamp() - now())


def _made(kind: type[ClientT], target: Target) -> ClientT:
    try:
        return kind(
            base_url=target.address,
            headers={"User-Agent": f"{USER_AGENT} httpx/{httpx.__version__}"},
            verify=_trust(target),
            limits=_LIMITS,
            follow_redirects=False,
            # The machine itself is not reached through its proxies, whatever the environment says.
            trust_env=not target.is_local,
        )
    except httpx.InvalidURL as error:
        raise InputError(f"the address of a server cannot be read: {error}") from None


def _trust(target: Target) -> ssl.SSLContext | bool:
    if target.ca_file is None and target.certificate is None:
        return True
    try:
        context = (
            httpx.create_ssl_context()
            if target.ca_file is None
            else ssl.create_default_context(cafile=str(target.ca_file))
        )
        if target.certificate is not None:
            context.load_cert_chain(*map(str, target.certificate))
    except OSError as error:
        raise InputError(f"the certificates cannot be used: {error}") from None
    return context


def _timeouts(question: Question, timeout_s: float | None) -> dict[str, float]:
    if timeout_s is None:
        timeout_s = _ENCODED_S if question.method in (Method.ENCODE, Method.VALIDATE) else _TOLD_S
    return {"connect": min(timeout_s, _CONNECT_S), "read": timeout_s, "write": timeout_s, "pool": timeout_s}


def _request(target: Target, question: Question, timeout_s: float | None) -> dict[str, Any]:
    """Method, path, headers and body."""
    headers = {"X-Request-Id": question.request_id}
    if (bearer := target.bearer()) is not None:
        headers["Authorization"] = bearer
    if question.method not in (Method.ENCODE, Method.VALIDATE):
        return {"method": "GET", "url": _path(question), "headers": headers | {"Accept": _JSON}}
    headers |= {"Content-Type": _PROTOBUF, "Accept": _PROTOBUF}
    if timeout_s is not None:
        headers["X-Request-Timeout-Ms"] = str(max(1, math.floor(timeout_s * 1000)))
    if question.priority is not None:
        headers["X-Request-Priority"] = question.priority
    # The message itself names the model and the version.
    return {
        "method": "POST",
        "url": f"/v1/{question.method.name.lower()}",
        "headers": headers,
        "content": question.body,
    }


def _path(question: Question) -> str:
    if question.method is Method.LIMITS:
        return "/v1/limits"
    if question.method is Method.MODELS:
        return "/v1/models"
    version = "" if question.version is None else f"/versions/{urllib.parse.quote(question.version, safe='')}"
    return f"/v1/models/{urllib.parse.quote(question.model, safe='')}{version}"


def _read(response: httpx.Response, end: float | None, question: Question) -> bytes:
    chunks = []
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        if end is not None and time.monotonic() >= end:
            raise _late(question)
    return b"".join(chunks)


def _answer(status: int, headers: httpx.Headers, body: bytes, question: Question) -> Answer:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    request_id = headers.get("x-request-id", question.request_id)
    if status == 200 and media_type in (_PROTOBUF, _JSON):
        return Answer(body, media_type == _JSON, request_id, read_timing(headers.get("server-timing", "")))
    raise _refusal(status, media_type, headers, body, request_id)


def _refusal(status: int, media_type: str, headers: httpx.Headers, body: bytes, request_id: str) -> TotalviError:
    retry_after_s = read_retry_after(headers.get("retry-after"))
    if media_type == _PROBLEM and (problem := _problem(body)) is not None:
        code, field, index, counts = (problem.get(name) for name in ("code", "field", "index", "counts"))
        return BY_CODE.get(str(code), ServiceError)(
            str(problem["detail"]),
            code=str(code),
            field=field if isinstance(field, str) else None,
            index=index if isinstance(index, int) else None,
            counts=counts if isinstance(counts, dict) else None,
            request_id=str(problem.get("request_id", request_id)),
            retry_after_s=retry_after_s,
            status=status,
        )
    said = f"HTTP status {status} from something that is not the service itself"
    if status in _OF_STATUS:
        return _OF_STATUS[status](said, request_id=request_id, retry_after_s=retry_after_s, status=status)
    if status in _BETWEEN:
        return Unreachable(said, request_id=request_id)
    if 300 <= status < 400:
        said += ", which sends the caller elsewhere: use the address that it names"
    elif status == 200:
        said = "the answer is neither a message nor JSON: is this the REST address of a totalvi-serve?"
    return UnexpectedAnswer(said, request_id=request_id, status=status)


def _problem(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "detail" in found and "code" in found else None


def _failure(error: httpx.HTTPError, question: Question, *, late: bool) -> TotalviError:
    if late and isinstance(error, httpx.TimeoutException):
        return _late(question)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return Untrusted(f"no connection that both sides trust: {cause}", request_id=question.request_id)
        cause = cause.__cause__ or cause.__context__
    said = str(error) or type(error).__name__
    return Unreachable(f"no answer from the server: {said}", request_id=question.request_id)


def _late(question: Question) -> DeadlineExceeded:
    return DeadlineExceeded(TOO_LATE, request_id=question.request_id)
