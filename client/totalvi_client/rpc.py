"""gRPC: questions as unary calls of serialised messages, blocking and asynchronous."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from totalvi_client.errors import (
    BY_CODE,
    TOO_LATE,
    DeadlineExceeded,
    Forbidden,
    InputError,
    ServiceError,
    TooLarge,
    TotalviError,
    Unauthenticated,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
)
from totalvi_client.question import Answer, Method, Question, read_timing
from totalvi_client.stubs import totalvi_v1_pb2 as pb
from totalvi_client.target import USER_AGENT, Target

Metadata: TypeAlias = tuple[tuple[str, str], ...]

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["EncoderService"].full_name

# One round robin over all addresses of the name, whatever DNS may say besides, and no retries but our own.
_CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})

_OF_STATUS: Final[Mapping[grpc.StatusCode, type[ServiceError]]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooLarge,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
}
"""What statuses mean that come from gRPC itself, or from something before the service."""

_BROKEN: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
)
"""How a connection that ended, or a proxy without a server, looks where the service itself has not answered."""

_DISTRUST: Final = ("SSL_ERROR_SSL", "CERTIFICATE_VERIFY_FAILED", "TSI_PROTOCOL_FAILURE")
"""Words of gRPC's for certificates that do not fit, or no TLS at all; a handshake that was cut off has none of them."""


class GrpcTransport:
    """Asks over gRPC, for any number of threads. Args: target: where."""

    def __init__(self, target: Target) -> None:
        self._target = target
        credentials = _credentials(target)
        self._channel = (
            grpc.insecure_channel(target.address, _options(target))
            if credentials is None
            else grpc.secure_channel(target.address, credentials, _options(target))
        )
        self._calls: dict[Method, Any] = {method: self._channel.unary_unary(_path(method)) for method in Method}

    def ask(self, question: Question, timeout_s: float | None) -> Answer:
        """The answer.

        Raises:
            TotalviError: there is none.
        """
        try:
            body, call = self._calls[question.method].with_call(
                _body(question), timeout=timeout_s, metadata=_metadata(self._target, question)
            )
        except grpc.RpcError as error:
            raise _refusal(error, question) from error
        return _answer(body, call.trailing_metadata(), question)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()


class AsyncGrpcTransport:
    """The same on an event loop: that of its first call. Args: target: where."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._credentials = _credentials(target)
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[Method, Any] = {}

    async def ask(self, question: Question, timeout_s: float | None) -> Answer:
        """The answer.

        Raises:
            TotalviError: there is none.
        """
        if self._channel is None:
            # A channel belongs to a loop, and there may be none yet where the client is made.
            self._channel = (
                grpc.aio.insecure_channel(self._target.address, _options(self._target))
                if self._credentials is None
                else grpc.aio.secure_channel(self._target.address, self._credentials, _options(self._target))
            )
            self._calls = {method: self._channel.unary_unary(_path(method)) for method in Method}
        call = self._calls[question.method](
            _body(question), timeout=timeout_s, metadata=_metadata(self._target, question)
        )
        try:
            body = await call
        except grpc.RpcError as error:
            raise _refusal(error, question) from error
        return _answer(body, await call.trailing_metadata(), question)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        if self._channel is not None:
            await self._channel.close()


def read_pushback(value: str) -> float | None:
    """Seconds of `grpc-retry-pushback-ms`; None: the server asks not to be asked again (gRPC's retry design, A6)."""
    text = value.strip()
    return int(text[:12]) / 1000 if text.isascii() and text.isdigit() else None


def _path(method: Method) -> str:
    return f"/{_SERVICE}/{method.value}"


def _options(target: Target) -> list[tuple[str, Any]]:
    return [
        ("grpc.primary_user_agent", USER_AGENT),
        ("grpc.service_config", _CONFIG),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 0),
        # The server's limits hold, not gRPC's own 4 MiB.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A server that vanished is found within 40 s; it takes a ping every 10 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # gRPC by itself waits up to two minutes before it connects anew, and refuses all calls meanwhile.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.enable_http_proxy", int(not target.is_local)),
    ]


def _credentials(target: Target) -> grpc.ChannelCredentials | None:
    if not target.secure:
        return None
    try:
        roots = None if target.ca_file is None else target.ca_file.read_bytes()
        chain, key = (None, None)
        if target.certificate is not None:
            chain, key = (path.read_bytes() for path in target.certificate)
    except OSError as error:
        raise InputError(f"the certificates cannot be read: {error}") from None
    return grpc.ssl_channel_credentials(roots, key, chain)


def _metadata(target: Target, question: Question) -> Metadata:
    found = [("x-request-id", question.request_id)]
    if (bearer := target.bearer()) is not None:
        found.append(("authorization", bearer))
    if question.priority is not None:
        found.append(("x-request-priority", question.priority))
    return tuple(found)


def _body(question: Question) -> bytes:
    if question.method is Method.MODEL:
        request = pb.GetModelRequest(model=question.model, model_version=question.version or "")
        return request.SerializeToString()
    return question.body


def _answer(body: bytes, trailers: Any, question: Question) -> Answer:
    told = _texts(trailers)
    request_id = told.get("x-request-id", question.request_id)
    return Answer(body, False, request_id, read_timing(told.get("server-timing", "")))


def _texts(metadata: Sequence[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def _refusal(error: Any, question: Question) -> TotalviError:
    """What a failed call raises: the service's own words where there are some."""
    code: grpc.StatusCode = error.code()
    detail: str = error.details() or ""
    trailers = error.trailing_metadata() or ()
    told = _texts(trailers)
    request_id = told.get("x-request-id", question.request_id)
    pushback = told.get("grpc-retry-pushback-ms")
    refusal = _of_service(trailers, detail, request_id, code.name) or _of_grpc(code, detail, request_id)
    if pushback is not None:
        refusal.retry_after_s = read_pushback(pushback)
        refusal.may_retry = refusal.may_retry and refusal.retry_after_s is not None
    return refusal


def _of_service(trailers: Any, detail: str, request_id: str, status: str) -> TotalviError | None:
    packed = next((value for key, value in trailers if key == "grpc-status-details-bin"), None)
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    try:
        rich = status_pb2.Status.FromString(packed or b"")
        # Not `any`: each detail is to be looked at.
        found = [one.Unpack(into) for one in rich.details for into in (info, retry)]
    except DecodeError:
        return None
    if not any(found) or not info.reason:
        return None
    facts = dict(info.metadata)
    field, index = facts.pop("field", None), facts.pop("index", "")
    return BY_CODE.get(info.reason, ServiceError)(
        rich.message or detail,
        code=info.reason,
        field=field,
        index=int(index) if index.isdigit() else None,
        counts={name: int(number) for name, number in facts.items() if number.isdigit()},
        request_id=request_id,
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None,
        status=status,
    )


def _of_grpc(code: grpc.StatusCode, detail: str, request_id: str) -> TotalviError:
    """What gRPC itself, or something between, says."""
    name = code.name
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(TOO_LATE, request_id=request_id, status=name)
    if "http2 header with status: 413" in detail:
        return TooLarge(detail, request_id=request_id, status=name)
    if code in _OF_STATUS:
        return _OF_STATUS[code](detail, request_id=request_id, status=name)
    if code is grpc.StatusCode.UNAVAILABLE and any(word in detail for word in _DISTRUST):
        return Untrusted(f"no connection that both sides trust: {detail}", request_id=request_id)
    if code in _BROKEN:
        return Unreachable(f"no answer from the server: {detail}", request_id=request_id)
    said = f"{name} from something that is not the service itself: {detail}"
    return UnexpectedAnswer(said, request_id=request_id, status=name)
