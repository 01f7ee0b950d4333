from __future__ import annotations

import grpc
import pytest

from service.core.errors import ErrorKind
from service.core.errors import ServiceError as TheirError
from service.rpc.errors import STATUS_CODES, rich_status
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
from totalvi_client.question import Method, Question
from totalvi_client.rpc import _metadata, _options, _refusal, read_pushback
from totalvi_client.target import read_target

ENCODE = Question(Method.ENCODE, b"body", priority="bulk", request_id="mine")


class Failed:
    """A call that ended with a status."""

    def __init__(self, code: grpc.StatusCode, detail: str, *trailers: tuple[str, str | bytes]) -> None:
        self._code, self._detail, self._trailers = code, detail, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._detail

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._trailers


def told(error: TheirError, *more: tuple[str, str]) -> Failed:
    status = rich_status(error, "theirs")
    trailers = (("x-request-id", "theirs"), ("grpc-status-details-bin", status.SerializeToString()))
    return Failed(STATUS_CODES[error.kind], error.detail, *trailers, *more)


@pytest.mark.parametrize("kind", ErrorKind, ids=lambda kind: kind.value)
def test_the_services_own_errors(kind: ErrorKind) -> None:
    theirs = TheirError(kind, "what is wrong", field="genes", index=3, counts={"offenders": 2}, retry_after_s=1.5)
    error = _refusal(told(theirs), ENCODE)
    assert isinstance(error, ServiceError)
    assert type(error) is BY_CODE[kind.value]
    assert (error.code, error.detail, error.field, error.index) == (kind.value, "what is wrong", "genes", 3)
    assert (error.counts, error.retry_after_s, error.request_id) == ({"offenders": 2}, 1.5, "theirs")
    assert error.status == STATUS_CODES[kind].name


def test_the_client_knows_every_code_of_the_service() -> None:
    assert BY_CODE.keys() == {kind.value for kind in ErrorKind}


def test_pushback_overrules_and_may_forbid() -> None:
    full = TheirError(ErrorKind.OVERLOADED, "full", retry_after_s=1.5)
    error = _refusal(told(full, ("grpc-retry-pushback-ms", "2500")), ENCODE)
    assert (type(error), error.retry_after_s, error.may_retry) == (Overloaded, 2.5, True)
    error = _refusal(told(full, ("grpc-retry-pushback-ms", "-1")), ENCODE)
    assert (error.retry_after_s, error.may_retry) == (None, False)
    assert [read_pushback(text) for text in ("0", "1500", "-1", "", "x", "1.5", "²")] == [0, 1.5, *[None] * 5]


@pytest.mark.parametrize(
    ("code", "detail", "kind", "again"),
    [
        ("UNAVAILABLE", "Connection refused", Unreachable, True),
        ("UNAVAILABLE", "Ssl handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED", Untrusted, False),
        ("UNAVAILABLE", "certificates.tls.example.org:1: Connection refused", Unreachable, True),
        ("UNAVAILABLE", "Ssl handshake failed (TSI_HANDSHAKE_SHUTDOWN): Socket closed", Unreachable, True),
        ("UNAVAILABLE", "Received http2 header with status: 502", Unreachable, True),
        ("UNKNOWN", "Stream removed", Unreachable, True),
        ("INTERNAL", "Received RST_STREAM with error code 2", Unreachable, True),
        ("CANCELLED", "Received RST_STREAM with error code 8", Unreachable, True),
        ("UNKNOWN", "Received http2 header with status: 413", TooLarge, False),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (7 vs. 6)", TooLarge, False),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded, False),
        ("UNAUTHENTICATED", "who are you", Unauthenticated, False),
        ("PERMISSION_DENIED", "no", Forbidden, False),
        ("UNIMPLEMENTED", "Method not found!", UnexpectedAnswer, False),
        ("INVALID_ARGUMENT", "x", UnexpectedAnswer, False),
    ],
)
@pytest.mark.parametrize("packed", [None, b"", b"\xff\xff"])
def test_what_grpc_itself_says(
    code: str, detail: str, kind: type[Exception], again: bool, packed: bytes | None
) -> None:
    trailers = () if packed is None else (("grpc-status-details-bin", packed),)
    error = _refusal(Failed(grpc.StatusCode[code], detail, *trailers), ENCODE)
    assert type(error) is kind
    assert error.may_retry is again
    assert "mine" in str(error)


def test_a_refusal_without_details_is_unavailable_only_if_it_says_so() -> None:
    assert type(_refusal(told(TheirError(ErrorKind.UNAVAILABLE, "draining")), ENCODE)) is Unavailable


def test_what_is_sent_beside_the_message() -> None:
    target = read_target("grpcs://example.org:1", token="Secret-0123456789")
    assert _metadata(target, ENCODE) == (
        ("x-request-id", "mine"),
        ("authorization", "Bearer Secret-0123456789"),
        ("x-request-priority", "bulk"),
    )
    assert _metadata(read_target("grpc://h:1"), Question(Method.MODELS, request_id="q")) == (("x-request-id", "q"),)


def test_grpc_does_not_repeat_by_itself_and_goes_round_all_addresses() -> None:
    options = dict(_options(read_target("dns:///h:1")))
    assert options["grpc.enable_retries"] == 0
    assert "round_robin" in options["grpc.service_config"]
    assert "totalvi-client/" in options["grpc.primary_user_agent"]
