from __future__ import annotations

import json
import ssl

import httpx
import pytest

from totalvi_client.errors import (
    BY_CODE,
    DeadlineExceeded,
    Forbidden,
    Overloaded,
    ServiceError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
)
from totalvi_client.question import Method, Question, read_timing
from totalvi_client.rest import _answer, _failure, _request, _timeouts, read_retry_after
from totalvi_client.target import read_target

ENCODE = Question(Method.ENCODE, b"body", priority="bulk", request_id="mine")
PROTOBUF = {"content-type": "application/x-protobuf"}


def refusal(status: int, headers: dict[str, str], body: bytes = b"") -> Exception:
    with pytest.raises((ServiceError, UnexpectedAnswer, Unreachable)) as caught:
        _answer(status, httpx.Headers(headers), body, ENCODE)
    assert caught.value.request_id == headers.get("x-request-id", "mine")
    return caught.value


def test_what_is_sent() -> None:
    target = read_target("https://example.org", token="Secret-0123456789")
    sent = _request(target, ENCODE, 1.5)
    assert (sent["method"], sent["url"], sent["content"]) == ("POST", "/v1/encode", b"body")
    assert sent["headers"] == {
        "X-Request-Id": "mine",
        "Authorization": "Bearer Secret-0123456789",
        "Content-Type": "application/x-protobuf",
        "Accept": "application/x-protobuf",
        "X-Request-Timeout-Ms": "1500",
        "X-Request-Priority": "bulk",
    }
    plain = _request(read_target("http://127.0.0.1"), Question(Method.VALIDATE, b"x", request_id="q"), None)
    assert plain["url"] == "/v1/validate"
    assert plain["headers"].keys() == {"X-Request-Id", "Content-Type", "Accept"}
    assert _request(target, ENCODE, 0.0001)["headers"]["X-Request-Timeout-Ms"] == "1"


@pytest.mark.parametrize(
    ("question", "path"),
    [
        (Question(Method.LIMITS), "/v1/limits"),
        (Question(Method.MODELS), "/v1/models"),
        (Question(Method.MODEL, model="pbmc"), "/v1/models/pbmc"),
        (Question(Method.MODEL, model="a/b c", version="2"), "/v1/models/a%2Fb%20c/versions/2"),
    ],
)
def test_paths(question: Question, path: str) -> None:
    assert _request(read_target("http://127.0.0.1"), question, 1)["url"] == path


def test_an_answer() -> None:
    headers = httpx.Headers(PROTOBUF | {"x-request-id": "theirs", "server-timing": "queue;dur=0.5, compute;dur=2"})
    found = _answer(200, headers, b"x", ENCODE)
    assert (found.body, found.is_json, found.request_id) == (b"x", False, "theirs")
    assert found.timing == {"queue": 0.5, "compute": 2.0}


@pytest.mark.parametrize("code", [*BY_CODE, "new_one"])
def test_the_services_own_errors(code: str) -> None:
    problem = {
        "type": f"urn:totalvi-serve:error:{code}",
        "title": "x",
        "status": 422,
        "detail": "what is wrong",
        "code": code,
        "request_id": "theirs",
        "field": "gene_counts",
        "index": 3,
        "counts": {"offenders": 2},
    }
    headers = {"content-type": "application/problem+json", "retry-after": "3", "x-request-id": "theirs"}
    error = refusal(422, headers, json.dumps(problem).encode())
    assert isinstance(error, ServiceError)
    assert type(error) is BY_CODE.get(code, ServiceError)
    assert (error.code, error.detail, error.field, error.index) == (code, "what is wrong", "gene_counts", 3)
    assert (error.counts, error.retry_after_s, error.status) == ({"offenders": 2}, 3, 422)
    assert str(error) == "what is wrong (request theirs)"


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (401, Unauthenticated, False),
        (403, Forbidden, False),
        (404, UnexpectedAnswer, False),
        (408, Unreachable, True),
        (413, TooLarge, False),
        (429, Overloaded, True),
        (500, UnexpectedAnswer, False),
        (502, Unreachable, True),
        (503, Unavailable, True),
        (504, Unreachable, True),
        (302, UnexpectedAnswer, False),
        (200, UnexpectedAnswer, False),
    ],
)
@pytest.mark.parametrize("body", [b"<html>", b"", b"{}"])
def test_answers_of_something_between(status: int, kind: type[Exception], again: bool, body: bytes) -> None:
    error = refusal(status, {"content-type": "text/html"}, body)
    assert type(error) is kind
    assert error.may_retry is again  # type: ignore[attr-defined]
    assert type(refusal(status, {"content-type": "application/problem+json"}, body)) is kind


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thursday, 01-Jan-70 00:01:40 GMT", 40.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, now=lambda: 60.0) == seconds


@pytest.mark.parametrize(("method", "seconds"), [(Method.ENCODE, 300), (Method.VALIDATE, 300), (Method.MODEL, 30)])
def test_a_server_that_vanished_is_not_waited_for_without_end(method: Method, seconds: float) -> None:
    question = Question(method, model="m")
    assert _timeouts(question, None) == {"connect": 10, "read": seconds, "write": seconds, "pool": seconds}
    assert _timeouts(question, 5000) == {"connect": 10, "read": 5000, "write": 5000, "pool": 5000}
    given_up = _failure(httpx.ReadTimeout("The read operation timed out"), question, late=False)
    assert (type(given_up), given_up.may_retry) == (Unreachable, True)


def test_failures_of_the_connection() -> None:
    refused = _failure(httpx.ConnectError("refused"), ENCODE, late=False)
    assert (type(refused), refused.may_retry, str(refused)) == (
        Unreachable,
        True,
        "no answer from the server: refused (request mine)",
    )
    assert type(_failure(httpx.ReadTimeout("late"), ENCODE, late=True)) is DeadlineExceeded
    assert type(_failure(httpx.ConnectTimeout("late"), ENCODE, late=False)) is Unreachable
    distrusted = httpx.ConnectError("failed")
    distrusted.__cause__ = ssl.SSLCertVerificationError("unknown CA")
    assert type(_failure(distrusted, ENCODE, late=False)) is Untrusted
    cut_off = httpx.ReadError("eof")
    cut_off.__cause__ = ssl.SSLEOFError("EOF occurred")
    assert type(_failure(cut_off, ENCODE, late=False)) is Unreachable


def test_timings_that_are_none_are_left_out() -> None:
    assert read_timing("cache, decode;dur=1.5, x;dur=1.2.3, total;desc=y;dur=3") == {"decode": 1.5}
