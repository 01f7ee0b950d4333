from __future__ import annotations

import asyncio
import logging
import re
import threading

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc._cython import cygrpc
from grpc_status import rpc_status

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import Coverage, EncodeReply, ModelCard, Notice, ValidationReport
from service.core.priority import Priority
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.rpc import encoder_servicer
from service.rpc.encoder_servicer import SERVICE_NAME
from service.rpc.errors import STATUS_CODES
from service.version import installed_version

COUNTS = pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.U8, shape=[1, 3], data=b"\x02\x00\x05"))
REQUEST = pb.EncodeRequest(gene_counts=COUNTS)
LARGE = pb.EncodeRequest(
    gene_counts=pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.U8, shape=[1, 300_000], data=bytes(300_000)))
)
CARD = ModelCard("pbmc", "2", ("1", "2"), "ready", "ab", {"genes": ["g0"], "n_latent": 20})


async def failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def details_of(error: grpc.aio.AioRpcError) -> dict:
    status = rpc_status.from_call(error)
    kinds = [getattr(error_details_pb2, packed.TypeName().rpartition(".")[2]) for packed in status.details]
    details = {}
    for kind, packed in zip(kinds, status.details, strict=True):
        packed.Unpack(message := kind())
        details[kind.__name__] = message
    return details


async def assert_still_right(engine, stub):
    engine.answer = EncodeReply("pbmc", "1", 1)
    engine.gate.set()
    assert (await stub.Encode(REQUEST)).n_cells == 1
    assert engine.calls.finished[-1].outcome == "ok"
    assert engine.calls.under_way == 0


async def test_encode_walks_to_the_engine_and_back(engine, stub):
    z = np.array([[0.1, -2.5]], dtype=np.float32)
    engine.answer = EncodeReply("pbmc", "2", 1, cells=("AAAC-1",), z=z)

    response = await stub.Encode(
        pb.EncodeRequest(gene_counts=COUNTS, model="pbmc", model_version="2", cells=["AAAC-1"], seed=7)
    )

    assert (response.model, response.model_version, list(response.cells)) == ("pbmc", "2", ["AAAC-1"])
    assert response.z == pb.Tensor(dtype=pb.Tensor.F32, shape=[1, 2], data=z.tobytes())
    (request, model, version), *others = engine.asked
    assert not others
    assert (model, version) == ("pbmc", "2")
    assert request.gene_counts.values.tolist() == [[2, 0, 5]]
    assert (request.cells, request.seed) == (("AAAC-1",), 7)
    (call,) = engine.calls.finished
    assert (call.transport, call.operation, call.outcome) == ("grpc", "encode", "ok")


async def test_validate_walks_to_the_engine_and_back(engine, stub):
    engine.report = ValidationReport(
        "pbmc",
        "2",
        1,
        genes=Coverage(given=3, known=2, missing=6, extra=1, coverage=0.25),
        proteins=Coverage(given=0, known=0, missing=4, extra=0, coverage=0.0),
        warnings=(Notice("missing_genes", "6 genes are missing", 6, ("A", "B")),),
    )

    call = stub.Validate(pb.EncodeRequest(gene_counts=COUNTS, model="pbmc", model_version="2", seed=7))

    assert await call == pb.ValidateResponse(
        model="pbmc",
        model_version="2",
        n_cells=1,
        genes=pb.Coverage(given=3, known=2, missing=6, extra=1, coverage=0.25),
        proteins=pb.Coverage(missing=4),
        warnings=[pb.Warning(code="missing_genes", detail="6 genes are missing", count=6, examples=["A", "B"])],
    )
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}", (await call.trailing_metadata())["server-timing"])
    ((request, *asked),) = engine.asked
    assert (request.gene_counts.values.tolist(), request.seed, asked) == ([[2, 0, 5]], 7, ["pbmc", "2"])
    (recorded,) = engine.calls.finished
    assert (recorded.transport, recorded.operation, recorded.outcome) == ("grpc", "validate", "ok")


async def test_what_validation_refuses_reaches_the_caller(engine, stub, channel):
    engine.report = ServiceError(ErrorKind.INVALID, "batch is unknown", field="batch", index=4)

    error = await failure(stub.Validate(REQUEST))
    malformed = await failure(channel.unary_unary(f"/{SERVICE_NAME}/Validate")(b"\xff"))

    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "batch is unknown")
    assert dict(details_of(error)["ErrorInfo"].metadata) == {"field": "batch", "index": "4"}
    assert details_of(malformed)["ErrorInfo"].reason == "malformed"
    assert [call.outcome for call in engine.calls.finished] == ["invalid", "malformed"]


async def test_a_caller_that_leaves_cancels_its_validation(engine, stub):
    engine.gate.clear()
    call = stub.Validate(REQUEST)
    await engine.entered.wait()

    call.cancel()

    await engine.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await call
    await assert_still_right(engine, stub)


@pytest.mark.parametrize("method", ["Encode", "Validate"])
@pytest.mark.parametrize("request_", [REQUEST, LARGE], ids=["small", "large"])
async def test_the_bytes_of_a_message_are_on_the_call(engine, stub, request_, method):
    await getattr(stub, method)(request_)

    assert engine.calls.finished[0].n_bytes == request_.ByteSize()


@pytest.mark.parametrize("step", ["decode_request", "encode_reply"])
async def test_large_messages_are_worked_on_off_the_loop(engine, stub, monkeypatch, step):
    threads = []

    def watched(*arguments):
        threads.append(threading.current_thread() is threading.main_thread())
        return original(*arguments)

    original = getattr(encoder_servicer, step)
    monkeypatch.setattr(encoder_servicer, step, watched)
    for request, n_latent in ((REQUEST, 2), (LARGE, 100_000)):
        engine.answer = EncodeReply("pbmc", "1", 1, z=np.zeros((1, n_latent), dtype=np.float32))
        assert len((await stub.Encode(request)).z.data) == 4 * n_latent

    assert threads == [True, False]


async def test_no_model_named_is_left_to_the_engine(engine, stub):
    await stub.Encode(REQUEST)

    assert engine.asked[0][1:] == (None, None)


async def test_get_model_finds_by_name_and_version(engine, stub):
    engine.known = [CARD]

    for request in (pb.GetModelRequest(model="pbmc"), pb.GetModelRequest(model="pbmc", model_version="2")):
        card = await stub.GetModel(request)
        assert (card.name, card.version, list(card.genes), dict(card.manifest)) == (
            "pbmc",
            "2",
            ["g0"],
            {"n_latent": 20},
        )
    assert [call.operation for call in engine.calls.finished] == ["get_model"] * 2


async def test_get_model_of_an_unknown_version_is_not_found(engine, stub):
    engine.known = [CARD]

    error = await failure(stub.GetModel(pb.GetModelRequest(model="pbmc", model_version="9")))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "pbmc" in error.details()


async def test_list_models_gives_every_card(engine, stub):
    none = await stub.ListModels(pb.ListModelsRequest())
    assert (list(none.models), none.server_version) == ([], installed_version())
    engine.known = [CARD, CARD]

    assert [card.name for card in (await stub.ListModels(pb.ListModelsRequest())).models] == ["pbmc", "pbmc"]


async def test_every_method_of_the_contract_is_there(channel):
    for method in pb.DESCRIPTOR.services_by_name["EncoderService"].methods:
        error = await failure(channel.unary_unary(f"/{SERVICE_NAME}/{method.name}")(b"\xff"))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind is not ErrorKind.INTERNAL])
async def test_each_kind_reaches_the_caller(engine, stub, kind):
    engine.answer = ServiceError(kind, "a « sentence »\nfor people", field="batch", index=4, counts={"offenders": 2})

    error = await failure(stub.Encode(REQUEST, metadata=(("x-request-id", "id-1"),)))

    assert error.code() is STATUS_CODES[kind]
    assert error.details() == "a « sentence »\nfor people"
    assert error.trailing_metadata()["x-request-id"] == "id-1"
    assert "grpc-retry-pushback-ms" not in error.trailing_metadata()
    details = details_of(error)
    assert details["ErrorInfo"].reason == kind.value
    assert dict(details["ErrorInfo"].metadata) == {"field": "batch", "index": "4", "offenders": "2"}
    assert details["BadRequest"].field_violations[0].field == "batch"
    assert details["RequestInfo"].request_id == "id-1"
    assert engine.calls.finished[-1].outcome == kind.value
    await assert_still_right(engine, stub)


async def test_a_refusal_for_now_says_when_to_retry(engine, stub):
    engine.answer = ServiceError(ErrorKind.OVERLOADED, "the queue is full", retry_after_s=1.5)

    error = await failure(stub.Encode(REQUEST))

    assert error.trailing_metadata()["grpc-retry-pushback-ms"] == "1500"
    assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() == 1500


async def test_the_longest_error_fits_the_trailers(engine, stub):
    text = "🧬" * 10_000
    engine.answer = ServiceError(ErrorKind.INVALID, text, field=text)

    error = await failure(stub.Encode(REQUEST))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["ErrorInfo"].reason == "invalid"


@pytest.mark.parametrize("error", [RuntimeError("secret path"), ServiceError(ErrorKind.INTERNAL, "secret path")])
async def test_of_a_bug_only_the_request_id_leaves(engine, stub, error):
    engine.answer = error

    error = await failure(stub.Encode(REQUEST, metadata=(("x-request-id", "id-1"),)))

    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error; the log has it under request id id-1"
    assert "secret" not in repr(error)
    assert details_of(error)["ErrorInfo"].reason == "internal"
    assert engine.calls.finished[-1].outcome == "internal"
    await assert_still_right(engine, stub)


async def test_an_answer_that_cannot_be_encoded_is_a_bug(engine, stub):
    engine.answer = EncodeReply("pbmc", "1", n_cells=-1)

    assert (await failure(stub.Encode(REQUEST))).code() is grpc.StatusCode.INTERNAL
    await assert_still_right(engine, stub)


async def test_bytes_that_are_no_message_are_malformed(engine, channel, stub):
    error = await failure(channel.unary_unary(f"/{SERVICE_NAME}/Encode")(b"\xff\xff"))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["ErrorInfo"].reason == "malformed"
    assert engine.calls.finished[-1].outcome == "malformed"
    await assert_still_right(engine, stub)


async def test_a_malformed_tensor_is_named(engine, stub):
    bad = pb.EncodeRequest(gene_counts=pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.F32, shape=[2**62, 4])))

    error = await failure(stub.Encode(bad))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["BadRequest"].field_violations[0].field == "gene_counts"
    assert not engine.asked
    await assert_still_right(engine, stub)


async def test_the_engine_is_told_the_deadline(engine, stub):
    await stub.Encode(REQUEST)
    await stub.Encode(REQUEST, timeout=30)

    unbounded, bounded = engine.timeouts
    assert unbounded is None
    assert 20 < bounded < 31  # gRPC rounds a timeout up on the wire


async def test_a_caller_says_how_urgent_it_is(engine, stub):
    for metadata in ((), (("x-request-priority", "interactive"),), (("x-request-priority", "bulk"),)):
        await stub.Encode(REQUEST, metadata=metadata)
    assert [call.priority for call in engine.calls.finished] == [
        Priority.INTERACTIVE,
        Priority.INTERACTIVE,
        Priority.BULK,
    ]

    error = await failure(stub.Encode(REQUEST, metadata=(("x-request-priority", "urgent"),)))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["ErrorInfo"].reason == "malformed"
    await assert_still_right(engine, stub)


async def test_a_message_is_held_until_its_call_ends(engine, stub):
    engine.gate.clear()
    call = stub.Encode(REQUEST)
    await engine.entered.wait()
    assert engine.bodies.held == REQUEST.ByteSize()
    engine.bodies._max_bytes = engine.bodies.held + REQUEST.ByteSize() - 1
    engine.bodies._largest_bytes = 0  # so that messages are read
    error = await failure(stub.Encode(REQUEST))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(error)["ErrorInfo"].reason == "overloaded"
    assert ("grpc-retry-pushback-ms", "250") in list(error.trailing_metadata())
    engine.gate.set()
    await call
    await engine.calls.idle.wait()
    assert engine.bodies.held == 0
    await assert_still_right(engine, stub)


async def test_a_deadline_that_passes_cancels_the_engine(engine, stub):
    engine.gate.clear()

    error = await failure(stub.Encode(REQUEST, timeout=0.2))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await engine.cancelled.wait()
    await assert_still_right(engine, stub)


async def test_a_caller_that_leaves_cancels_the_engine(engine, stub):
    engine.gate.clear()
    call = stub.Encode(REQUEST)
    await engine.entered.wait()

    call.cancel()

    await engine.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert engine.calls.finished[-1].outcome == "cancelled"
    await assert_still_right(engine, stub)


async def test_a_caller_that_leaves_while_its_answer_is_encoded(engine, stub, monkeypatch, caplog):
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def held(reply):
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return original(reply)

    original = encoder_servicer.encode_reply
    monkeypatch.setattr(encoder_servicer, "encode_reply", held)
    engine.answer = EncodeReply("pbmc", "1", 1, z=np.zeros((1, 100_000), dtype=np.float32))
    call = stub.Encode(REQUEST)
    await begun.wait()

    call.cancel()

    await engine.calls.idle.wait()  # before the encoding is through
    assert [call.outcome for call in engine.calls.finished] == ["cancelled"]
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    await assert_still_right(engine, stub)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_status_that_crosses_its_callers_leaving_is_no_fault(engine, stub, caplog, monkeypatch):
    async def crossed(context, error, *_, **__):
        # What grpc raises in `abort` where the caller's cancel is in its core already and not yet in Python.
        raise cygrpc.ExecuteBatchError("execute_batch", ())

    monkeypatch.setattr("service.rpc.call.abort", crossed)
    engine.answer = ServiceError(ErrorKind.DEADLINE, "the deadline passed before the answer was ready")
    await failure(stub.Encode(REQUEST, timeout=0.2))
    monkeypatch.undo()
    await assert_still_right(engine, stub)

    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def test_k_of_n_callers_leave_and_the_others_are_answered(engine, stub):
    engine.gate.clear()
    calls = [stub.Encode(REQUEST) for _ in range(20)]
    for call in calls[::2]:
        call.cancel()
    engine.gate.set()

    answers = await asyncio.gather(*calls[1::2])

    assert [answer.n_cells for answer in answers] == [1] * 10
    await assert_still_right(engine, stub)


@pytest.mark.parametrize("request_id", ["id-1", "!~", "x" * 128])
async def test_a_sane_request_id_is_kept(engine, stub, request_id):
    call = stub.Encode(REQUEST, metadata=(("x-request-id", request_id),))
    await call

    assert (await call.trailing_metadata())["x-request-id"] == request_id
    assert engine.calls.finished[0].request_id == request_id


@pytest.mark.parametrize("metadata", [(), (("x-request-id", ""),), (("x-request-id", "a b"),)])
async def test_another_request_id_is_made(engine, stub, metadata):
    call = stub.Encode(REQUEST, metadata=metadata)
    await call

    request_id = (await call.trailing_metadata())["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", request_id)
    assert engine.calls.finished[0].request_id == request_id


async def test_a_request_id_too_long_is_replaced(stub):
    call = stub.Encode(REQUEST, metadata=(("x-request-id", "x" * 129),))
    await call

    assert len((await call.trailing_metadata())["x-request-id"]) == 32


async def test_the_phases_are_told(stub):
    call = stub.Encode(REQUEST)
    await call

    server_timing = (await call.trailing_metadata())["server-timing"]
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}, encode;dur=\d+\.\d{3}", server_timing)


@pytest.mark.parametrize("body", [b"\xff\xff", REQUEST.SerializeToString()], ids=["malformed", "overloaded"])
async def test_errors_tell_the_phases_up_to_them(engine, channel, body):
    engine.answer = ServiceError(ErrorKind.OVERLOADED, "the queue is full", retry_after_s=1.0)

    error = await failure(channel.unary_unary(f"/{SERVICE_NAME}/Encode")(body))

    assert re.fullmatch(r"decode;dur=\d+\.\d{3}", error.trailing_metadata()["server-timing"])
    assert error.trailing_metadata()["grpc-status-details-bin"]


async def test_without_a_phase_there_is_no_timing(engine, stub):
    call = stub.ListModels(pb.ListModelsRequest())
    await call
    error = await failure(stub.GetModel(pb.GetModelRequest(model="other")))

    assert "server-timing" not in await call.trailing_metadata()
    assert "server-timing" not in error.trailing_metadata()
