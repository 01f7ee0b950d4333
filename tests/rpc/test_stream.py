"""How a stream flows: order, bounds, ends; the engine is one that answers when the test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import numpy as np
import pytest

from service.core.alignment import ColumnIndex
from service.core.catalog import LoadedModel
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import EncodeReply, EncodeRequest
from service.core.recorder import Call
from service.core.stream import EncodeStream, StreamSlice
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from service.rpc.stream import MOST_IN_FLIGHT
from tests.fakes import FakeEncoder, make_spec
from tests.rpc.conftest import FakeEngine
from tests.rpc.slices import N_GENES, names, one, refused, slices, until, write
from tests.rpc.test_encoder_servicer import details_of


def loaded_model() -> LoadedModel:
    spec = make_spec(genes=N_GENES)
    return LoadedModel(
        "m", "1", FakeEncoder(spec), ColumnIndex("gene", spec.genes), ColumnIndex("protein", spec.proteins)
    )


class FakeStreamEngine(FakeEngine):
    """Admits every slice, holds the answers to those in `held` until their event is set, and answers or raises.

    Slices are known by their place in the stream, from 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = loaded_model()
        self.opened: list[tuple[EncodeRequest, str | None, str | None]] = []
        self.admitted: list[StreamSlice] = []
        self.held: dict[int, asyncio.Event] = {}
        self.refused: dict[int, Exception] = {}
        self.answers: dict[int, EncodeReply | Exception] = {}
        self.done: list[int] = []
        self.withdrawn: list[int] = []

    def hold(self, slices: Iterable[int]) -> None:
        self.held = {number: asyncio.Event() for number in slices}

    def release(self, *slices: int) -> None:
        for number in slices:
            self.held[number].set()

    async def open_stream(
        self, first: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> EncodeStream:
        self.opened.append((first, model, version))
        return EncodeStream(first, self.model, self.limits)

    async def hold_message(self, n_bytes: int, call: Call) -> None:
        call.hold(n_bytes)

    async def admit_slice(self, piece: StreamSlice, call: Call) -> StreamSlice:
        if refusal := self.refused.get(len(self.admitted)):
            raise refusal
        self.admitted.append(piece)
        return piece

    async def encode_slice(self, piece: StreamSlice, call: Call) -> EncodeReply:
        number = self.admitted.index(piece)
        try:
            if number in self.held:
                await self.held[number].wait()
        except asyncio.CancelledError:
            self.withdrawn.append(number)
            raise
        self.done.append(number)
        answer = self.answers.get(number, EncodeReply("m", "1", piece.request.n_cells, cells=piece.request.cells))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def engine() -> FakeStreamEngine:
    return FakeStreamEngine()


async def assert_ended(engine: FakeStreamEngine, outcome: str) -> None:
    """The stream was recorded so, and nothing is left of it."""
    await engine.calls.idle.wait()
    assert [call.outcome for call in engine.calls.finished if call.operation == "encode_stream"] == [outcome]
    assert sorted({*engine.done, *engine.withdrawn}) == list(range(len(engine.admitted)))


async def test_slices_walk_to_the_engine_and_back(engine, stub):
    first, *later = slices(3)
    first.model, first.model_version = "m", "1"

    assert await names(stub.EncodeStream(iter([first, *later]))) == ["0", "1", "2"]

    ((opened, *asked),) = engine.opened
    assert (opened.n_cells, asked) == (1, ["m", "1"])
    assert [piece.request.first_cell for piece in engine.admitted] == [0, 1, 2]
    assert [piece.continues for piece in engine.admitted] == [False, True, True]
    await assert_ended(engine, "ok")
    assert engine.calls.finished[0].n_bytes == sum(message.ByteSize() for message in (first, *later))


async def test_answers_keep_the_order_of_the_slices(engine, stub):
    engine.hold(range(MOST_IN_FLIGHT))
    call = stub.EncodeStream(iter(slices(MOST_IN_FLIGHT)))
    await until(lambda: len(engine.admitted) == MOST_IN_FLIGHT)

    for number in reversed(range(MOST_IN_FLIGHT)):
        assert engine.done == list(range(MOST_IN_FLIGHT - 1, number, -1))
        engine.release(number)
        await until(lambda: number in engine.done)  # noqa: B023

    assert await names(call) == [str(number) for number in range(MOST_IN_FLIGHT)]
    await assert_ended(engine, "ok")


async def test_no_more_is_read_than_is_answered_soon(engine, stub):
    engine.hold([0])
    call = await write(stub.EncodeStream(), slices(10))
    await until(lambda: len(engine.admitted) == MOST_IN_FLIGHT)
    # A round trip on the same connection: the server has had all ten, and time to read them.
    await stub.ListModels(pb.ListModelsRequest())

    assert len(engine.admitted) == MOST_IN_FLIGHT

    engine.release(0)
    await call.done_writing()
    assert await names(call) == [str(number) for number in range(10)]
    await assert_ended(engine, "ok")


@pytest.fixture
async def narrow(port: int) -> AsyncIterator[Any]:
    """A stub that takes in no more than 64 KiB before it is read."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.http2.bdp_probe", 0)]) as channel:
        yield EncoderServiceStub(channel)


LARGE = EncodeReply("m", "1", 1, cells=("x",), z=np.zeros((1, 1 << 18), dtype=np.float32))


async def test_of_a_caller_that_does_not_read_no_more_is_read(engine, narrow):
    engine.answers = dict.fromkeys(range(20), LARGE)
    call = await write(narrow.EncodeStream(), slices(20))
    await until(lambda: len(engine.done) == MOST_IN_FLIGHT)
    await narrow.ListModels(pb.ListModelsRequest())

    assert len(engine.done) == MOST_IN_FLIGHT

    await call.done_writing()
    assert len(await names(call)) == 20
    await assert_ended(engine, "ok")


async def test_an_answer_is_there_before_the_next_slice_is_sent(engine, stub):
    call = stub.EncodeStream()
    for number, message in enumerate(slices(MOST_IN_FLIGHT + 2)):
        await call.write(message)
        assert list((await call.read()).cells) == [str(number)]
    await call.done_writing()

    assert await call.read() is grpc.aio.EOF
    await assert_ended(engine, "ok")


@pytest.mark.parametrize("kind", [ErrorKind.INVALID, ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE])
async def test_an_error_in_the_middle_comes_after_the_answers_before_it(engine, stub, kind):
    engine.hold([0, 1, 3])
    engine.answers[2] = ServiceError(kind, "no good", field="batch", index=4, counts={"offenders": 2})
    call = await write(stub.EncodeStream(metadata=(("x-request-id", "id-1"),)), slices(6))
    await until(lambda: engine.done == [2] and len(engine.admitted) == MOST_IN_FLIGHT)
    engine.release(0, 1)

    answers, error = await refused(call)

    assert [list(answer.cells) for answer in answers] == [["0"], ["1"]]
    assert error.details() == "message 2: no good"
    details = details_of(error)
    assert details["ErrorInfo"].reason == kind.value
    assert dict(details["ErrorInfo"].metadata) == {"message": "2", "field": "batch", "index": "4", "offenders": "2"}
    assert details["RequestInfo"].request_id == error.trailing_metadata()["x-request-id"] == "id-1"
    assert engine.withdrawn == [3]
    await assert_ended(engine, kind.value)


async def test_what_cannot_be_queued_ends_the_stream_in_its_turn(engine, stub):
    engine.hold([0, 1])
    engine.refused[2] = ServiceError(ErrorKind.UNAVAILABLE, "stopping", retry_after_s=1.0)
    call = await write(stub.EncodeStream(), slices(6))
    await until(lambda: len(engine.admitted) == 2)
    engine.release(0, 1)

    answers, error = await refused(call)

    assert len(answers) == 2
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "message 2: stopping")
    assert error.trailing_metadata()["grpc-retry-pushback-ms"] == "1000"
    await assert_ended(engine, "unavailable")


async def test_a_bug_tells_no_more_than_the_request_id(engine, stub, caplog):
    engine.answers[1] = ZeroDivisionError("secret")

    answers, error = await refused(stub.EncodeStream(metadata=(("x-request-id", "id-1"),)), slices(2))

    assert len(answers) == 1
    assert error.details() == "internal error; the log has it under request id id-1"
    assert [record.__dict__["request_id"] for record in caplog.records if record.levelno > logging.INFO] == ["id-1"]
    await assert_ended(engine, "internal")


BAD = {
    "no message": b"\xff",
    "no counts": pb.EncodeRequest(cells=["x"]).SerializeToString(),
    "no cells": b"",
    "a bad tensor": pb.EncodeRequest(
        gene_counts=pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.U8, shape=[1, 9]))
    ).SerializeToString(),
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_message_that_cannot_be_decoded_is_named(engine, channel, bad):
    engine.hold([0, 1])
    method = channel.stream_stream("/totalvi.v1.EncoderService/EncodeStream", None, pb.EncodeResponse.FromString)
    call = await write(method(), [*(message.SerializeToString() for message in slices(2)), BAD[bad], b"\xff"])
    await until(lambda: len(engine.admitted) == 2)
    engine.release(0, 1)

    answers, error = await refused(call)

    assert len(answers) == 2
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(error)["ErrorInfo"].metadata["message"] == "2"
    await assert_ended(engine, details_of(error)["ErrorInfo"].reason)


ONCE = {
    "model": "m",
    "model_version": "1",
    "genes": ["gene0"],
    "proteins": ["protein0"],
    "outputs": [pb.OUTPUT_Z],
    "n_samples": 1,
    "seed": 0,
    "first_cell": 1,
    "min_gene_coverage": 0.5,
    "allow_non_integer": True,
}


@pytest.mark.parametrize("field", ONCE)
async def test_a_name_or_an_option_in_a_later_message(engine, stub, field):
    first, later = slices(2)
    later.MergeFrom(pb.EncodeRequest(**{field: ONCE[field]}))

    answers, error = await refused(stub.EncodeStream(), [first, later])

    assert len(answers) == 1
    assert error.details() == f"message 1: {field} is for the first message of a stream alone"
    details = details_of(error)
    assert details["ErrorInfo"].reason == "invalid"
    assert dict(details["ErrorInfo"].metadata) == {"message": "1", "field": field}
    assert details["BadRequest"].field_violations[0].field == field
    await assert_ended(engine, "invalid")


def test_every_field_of_a_message_is_said_once_or_with_the_cells():
    cells = {"cells", "gene_counts", "protein_counts", "batch", "categorical_covariates", "continuous_covariates"}
    assert {*ONCE, *cells} == set(pb.EncodeRequest.DESCRIPTOR.fields_by_name)


async def test_a_stream_without_messages(engine, stub):
    answers, error = await refused(stub.EncodeStream(iter([])))

    assert answers == []
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "the stream ended before its first message, which carries the names and the options"
    assert details_of(error)["ErrorInfo"].reason == "invalid"
    await assert_ended(engine, "invalid")


async def test_a_stream_of_options_alone_ends_well(engine, stub):
    call = stub.EncodeStream(iter([pb.EncodeRequest(batch=one("a"))]))

    assert await names(call) == []
    assert (await call.trailing_metadata())["x-request-id"]
    await assert_ended(engine, "ok")


async def test_a_caller_that_leaves_withdraws_its_slices(engine, stub, caplog):
    engine.hold(range(MOST_IN_FLIGHT))
    call = stub.EncodeStream(iter(slices(10)))
    await until(lambda: len(engine.admitted) == MOST_IN_FLIGHT)

    call.cancel()

    await assert_ended(engine, "cancelled")
    assert sorted(engine.withdrawn) == list(range(MOST_IN_FLIGHT))
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_caller_that_leaves_between_two_slices(engine, stub, caplog):
    call = stub.EncodeStream()
    await call.write(slices(1)[0])
    await call.read()

    call.cancel()

    await engine.calls.idle.wait()
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_caller_that_leaves_while_an_answer_is_written(engine, narrow, caplog):
    engine.answers = dict.fromkeys(range(20), LARGE)
    call = narrow.EncodeStream(iter(slices(10)))
    await until(lambda: len(engine.done) == MOST_IN_FLIGHT)
    await narrow.ListModels(pb.ListModelsRequest())

    call.cancel()

    await assert_ended(engine, "cancelled")
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_deadline_withdraws_the_slices(engine, stub, caplog):
    engine.hold(range(MOST_IN_FLIGHT))

    answers, error = await refused(stub.EncodeStream(timeout=0.2), slices(10))

    assert (answers, error.code()) == ([], grpc.StatusCode.DEADLINE_EXCEEDED)
    await stub.ListModels(pb.ListModelsRequest())
    await until(lambda: engine.calls.under_way == 0)
    assert sorted(engine.withdrawn) == list(range(len(engine.admitted)))
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_the_engine_is_told_the_deadline_of_the_stream(engine, stub):
    assert await names(stub.EncodeStream(iter(slices(2)), timeout=30)) == ["0", "1"]

    (bounded,) = engine.timeouts
    assert 20 < bounded < 31  # gRPC rounds a timeout up on the wire
