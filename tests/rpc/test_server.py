from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.core.recorder import Call
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from service.rpc.server import build_server
from tests.fakes import PATIENCE_S

SERVICE = "totalvi.v1.EncoderService"
OPEN_INFERENCE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def request_of(n_bytes: int) -> pb.EncodeRequest:
    return pb.EncodeRequest(
        gene_counts=pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.U8, shape=[1, n_bytes], data=bytes(n_bytes)))
    )


def asked(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.fixture
async def health(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def test_a_request_up_to_the_limit_is_taken(engine, stub):
    await stub.Encode(request_of(engine.limits.max_request_bytes))

    assert engine.asked[0][0].gene_counts.n_columns == engine.limits.max_request_bytes


async def test_a_request_over_the_limit_is_refused(engine, stub):
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.Encode(request_of(2 * engine.limits.max_request_bytes))

    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not engine.timeouts
    await stub.Encode(request_of(1))


@pytest.mark.parametrize("method", ["Encode", "Validate", "EncodeStream"])
async def test_messages_are_refused_unread_while_memory_is_tight(engine, stub, method):
    """20 MiB that grpc is not even to read: it would refuse them for their size, in its own words."""
    other = Call("rest", "encode", "id", started_s=0.0, bodies=engine.bodies)
    other.hold((1 << 30) - engine.limits.max_request_bytes + 1)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        if method == "EncodeStream":
            # A short one: grpc's client may call a stream's end while it still writes an error of its own.
            async for _ in stub.EncodeStream(iter([request_of(1)])):
                pass
        else:
            await getattr(stub, method)(request_of(20 << 20))

    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the bodies of other requests fill the memory" in refusal.value.details()
    assert ("grpc-retry-pushback-ms", "250") in list(refusal.value.trailing_metadata())
    await engine.calls.idle.wait()
    outcomes = [(call.operation, call.outcome) for call in engine.calls.finished]
    assert outcomes == [({"EncodeStream": "encode_stream"}.get(method, method.lower()), "overloaded")]
    # What has no cells is not refused, and with room everything is taken again.
    await stub.ListModels(pb.ListModelsRequest())
    other.release(1)
    await stub.Encode(request_of(1))


async def test_a_method_that_is_not_there(channel):
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await channel.unary_unary(f"/{SERVICE}/Decode")(b"")

    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_compressed_request_is_refused_before_it_is_inflated(engine, port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await EncoderServiceStub(channel).Encode(request_of(2 * engine.limits.max_request_bytes))

    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not engine.timeouts


async def test_a_port_in_use_is_an_error(engine, port):
    server = build_server(cast(Any, engine), max_message_bytes=1 << 20)

    with pytest.raises(RuntimeError, match=str(port)):
        server.add_insecure_port(f"127.0.0.1:{port}")


@pytest.mark.parametrize("service", ["", SERVICE, OPEN_INFERENCE])
async def test_check_tells_the_state_at_once(engine, health, service):
    assert (await health.Check(asked(service))).status == NOT_SERVING
    engine.health.mark_ready()
    assert (await health.Check(asked(service))).status == SERVING
    engine.health.mark_failed("the device is gone")
    assert (await health.Check(asked(service))).status == NOT_SERVING


async def test_check_of_an_unknown_service_is_not_found(health):
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await health.Check(asked("other.Service"))

    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watch_follows_changes_from_any_thread(engine, health):
    watches = [health.Watch(asked(service)) for service in ("", SERVICE)]
    assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 2

    await asyncio.to_thread(engine.health.mark_ready)
    assert [(await watch.read()).status for watch in watches] == [SERVING] * 2

    await asyncio.to_thread(engine.health.mark_draining)
    assert [(await watch.read()).status for watch in watches] == [NOT_SERVING] * 2


async def test_a_watcher_that_leaves_takes_nobody_along(engine, health):
    leaving, staying = health.Watch(asked("")), health.Watch(asked(""))
    assert (await leaving.read()).status == (await staying.read()).status == NOT_SERVING
    leaving.cancel()
    # A round trip on the same connection: the server has seen the cancellation.
    await health.Check(asked(""))

    engine.health.mark_ready()

    assert (await staying.read()).status == SERVING


async def test_watch_of_an_unknown_service_says_so_and_stays(health):
    watch = health.Watch(asked("other.Service"))

    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_a_change_after_the_loop_has_closed_disturbs_nobody(engine):
    async def build() -> None:
        build_server(cast(Any, engine), max_message_bytes=1 << 20)

    await asyncio.to_thread(asyncio.run, build())

    engine.health.mark_ready()

    assert engine.health.ready


async def test_reflection_lists_the_services_and_gives_the_contract(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=OPEN_INFERENCE),
    ]

    services, *contracts = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]

    assert {service.name for service in services.list_services_response.service} == {
        SERVICE,
        OPEN_INFERENCE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for contract, name in zip(contracts, ("totalvi_v1.proto", "open_inference.proto"), strict=True):
        told = contract.file_descriptor_response.file_descriptor_proto
        assert name in {FileDescriptorProto.FromString(file).name for file in told}


async def test_an_old_connection_is_left_for_a_new_one_and_no_call_is_lost(engine):
    async def who_calls(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return context.peer().encode()

    server = build_server(cast(Any, engine), max_message_bytes=1 << 20, connection_age_s=0.2)
    handlers = {"WhoCalls": grpc.unary_unary_rpc_method_handler(who_calls)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peers", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary("/test.Peers/WhoCalls")
            peers = {await ask(b"")}
            async with asyncio.timeout(PATIENCE_S):
                while len(peers) < 3:
                    peers.add(await ask(b""))
    finally:
        await server.stop(None)
