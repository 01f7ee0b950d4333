"""RELIABILITY 7: a token on every method; the list of them is the application's own, so that a new one is asked too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.protobuf.stubs import open_inference_pb2, totalvi_v1_pb2
from service.rpc.server import build_server
from tests.bearers import GOOD, REFUSED, accepted_tokens

METHODS: list[MethodDescriptor] = [
    method
    for file in (totalvi_v1_pb2, open_inference_pb2, reflection_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
HEALTH = [f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch")]
UNKNOWN = [
    "/totalvi.v1.EncoderService/Nothing",
    "/nothing/At",
    "/",
    "/grpc.health.v1.Healthy/Check",
    "/x/grpc.health.v1.Health/Check",
    "//grpc.health.v1.Health/Check",
]


@pytest.fixture
async def port(engine) -> AsyncIterator[int]:
    server = build_server(cast(Any, engine), max_message_bytes=1 << 20, tokens=accepted_tokens())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


def metadata(value: str | None) -> tuple[tuple[str, str], ...]:
    return () if value is None else (("authorization", value),)


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def call_of(channel: grpc.aio.Channel, path: str, value: str | None) -> grpc.aio.StreamStreamCall:
    """A call of any kind, as on the wire all are one; nothing is sent yet."""
    return channel.stream_stream(path)(metadata=metadata(value))


async def code_of(channel: grpc.aio.Channel, path: str, value: str | None) -> grpc.StatusCode:
    """How a call ends that sends one empty message."""
    call = call_of(channel, path, value)
    # grpc.aio cannot write where the call has been ended already, and says INTERNAL if it is left to do so.
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        await call.write(b"")
        await call.done_writing()
    # Nor does it tell how a call ended before its answers have been read.
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    return await call.code()


async def test_every_method_that_is_served_is_asked_below(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    [answer] = [one async for one in stub.ServerReflectionInfo(requests, metadata=metadata(f"Bearer {GOOD}"))]
    served = {service.name for service in answer.list_services_response.service}
    assert served == {method.containing_service.full_name for method in METHODS} | {"grpc.health.v1.Health"}


@pytest.mark.parametrize("path", [*map(path, METHODS), *UNKNOWN])
async def test_nothing_is_answered_without_a_token(engine, channel, path):
    for value in REFUSED.values():
        call = call_of(channel, path, value)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        trailers = dict(await call.trailing_metadata())
        assert trailers["x-request-id"]
        told = Status.FromString(trailers["grpc-status-details-bin"])
        info = ErrorInfo()
        assert any(detail.Unpack(info) for detail in told.details)
        assert info.reason == "unauthenticated"
    assert not engine.asked
    assert {(call.operation, call.outcome, call.caller) for call in engine.calls.finished} == {
        ("authenticate", "unauthenticated", "")
    }
    assert len(engine.calls.finished) == len(REFUSED)
    assert engine.calls.under_way == 0


@pytest.mark.parametrize("path", [*map(path, METHODS), *UNKNOWN])
async def test_a_token_opens_every_method(engine, channel, path):
    assert await code_of(channel, path, f"bearer {GOOD}") is not grpc.StatusCode.UNAUTHENTICATED
    assert {call.caller for call in engine.calls.finished} <= {"alice"}


@pytest.mark.parametrize("name", ["Encode", "EncodeStream"])
async def test_a_call_bears_its_callers_name(engine, channel, name):
    for value in (f"Bearer {GOOD}", None):
        await code_of(channel, f"/totalvi.v1.EncoderService/{name}", value)
    assert [call.caller for call in engine.calls.finished] == ["alice", ""]


async def test_two_tokens_are_none(channel):
    value = f"Bearer {GOOD}"
    call = channel.stream_stream("/totalvi.v1.EncoderService/ListModels")(metadata=metadata(value) * 2)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_refused_message_is_not_waited_for(channel):
    """Nobody who may not call makes the server hold what is sent."""
    call = channel.stream_unary("/totalvi.v1.EncoderService/Encode")()
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
async def test_health_is_open(engine, channel, value):
    engine.health.mark_ready()
    check = channel.unary_unary(HEALTH[0])
    assert health_pb2.HealthCheckResponse.FromString(await check(b"", metadata=metadata(value))).status == 1
    watch = channel.unary_stream(HEALTH[1])(b"", metadata=metadata(value))
    assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == 1
    watch.cancel()
