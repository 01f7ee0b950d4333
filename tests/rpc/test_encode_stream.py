"""What a stream answers: a real core behind a real server, compared with one request for the whole matrix."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service.core.admission import ByteGate
from service.core.alignment import ColumnIndex
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import Limits
from service.core.priority import Priority
from service.core.recorder import Call
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from service.rpc.server import build_server
from service.rpc.stream import MOST_IN_FLIGHT
from tests.fakes import FakeEncoder, Gate
from tests.rpc.slices import counts, names, one, per_cell, refused, slices, tensor, until, write
from tests.rpc.test_encoder_servicer import details_of
from tests.running_core import Core

N_PROTEINS = 2

IN_BULK = (("x-request-priority", "bulk"),)
URGENT = (("x-request-priority", "interactive"),)


class Served:
    """A real core behind a real gRPC server."""

    def __init__(self, core: Core, stub: Any) -> None:
        self.core = core
        self.stub = stub

    async def whole(self, matrix: pb.EncodeRequest, **options: Any) -> pb.EncodeResponse:
        return await self.stub.Encode(matrix, **options)

    async def stream(self, messages: Iterable[pb.EncodeRequest], **options: Any) -> list[pb.EncodeResponse]:
        return [answer async for answer in self.stub.EncodeStream(iter(messages), **options)]

    @property
    def calls(self) -> list[Call]:
        return [call for call, _ in self.core.recorder.finished]


@contextlib.asynccontextmanager
async def serving(root: Path, encoder: FakeEncoder | None = None, **options: Any) -> AsyncIterator[Served]:
    core = Core(root, encoder or FakeEncoder(), **options)
    server = build_server(core.engine, max_message_bytes=1 << 20)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(core, EncoderServiceStub(channel))
    await server.stop(None)
    await core.close()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


N_CELLS = 23


def matrix(n_cells: int = N_CELLS, **changes: Any) -> pb.EncodeRequest:
    """Cells whose names, genes, proteins and batches are all different; columns are named, in an order of their own."""
    facts: dict[str, Any] = {
        "gene_counts": counts(n_cells),
        "protein_counts": counts(n_cells, N_PROTEINS, start=3),
        "genes": ["gene3", "gene1", "other", "gene0", "gene4"],
        "proteins": ["protein1", "protein0"],
        "cells": [f"cell{number}" for number in range(n_cells)],
        "batch": per_cell(["ab"[number % 3 == 0] for number in range(n_cells)]),
        "n_samples": 3,
        "seed": 7,
        "first_cell": 100,
    }
    return pb.EncodeRequest(**(facts | changes))


def cut(message: pb.EncodeRequest, ends: Sequence[int], *, first: bool = True) -> list[pb.EncodeRequest]:
    """A matrix as the messages of a stream, cut before the cells `ends`; with `first` there are cells in the first."""
    options = pb.EncodeRequest()
    options.CopyFrom(message)
    for field in ("gene_counts", "protein_counts", "cells"):
        options.ClearField(field)
    if message.batch.HasField("codes"):
        options.ClearField("batch")
    messages = [] if first else [options]
    n_cells = message.gene_counts.dense.shape[0]
    for start, stop in zip([0, *ends], [*ends, n_cells], strict=True):
        piece = pb.EncodeRequest(cells=message.cells[start:stop])
        for field in ("gene_counts", "protein_counts"):
            if message.HasField(field):
                getattr(piece, field).dense.CopyFrom(rows(getattr(message, field).dense, start, stop))
        if message.batch.HasField("codes"):
            piece.batch.categories.extend(message.batch.categories)
            piece.batch.codes.CopyFrom(rows(message.batch.codes, start, stop))
        if not messages:
            piece.MergeFrom(options)
        messages.append(piece)
    return messages


def rows(whole: pb.Tensor, start: int, stop: int) -> pb.Tensor:
    width = len(whole.data) // whole.shape[0]
    return pb.Tensor(
        dtype=whole.dtype, shape=[stop - start, *whole.shape[1:]], data=whole.data[start * width : stop * width]
    )


def arrays(answers: Iterable[pb.EncodeResponse]) -> dict[str, list[Any]]:
    """Every number of some answers by the path of its tensor, put together along the cells."""
    found: dict[str, list[np.ndarray]] = {}

    def walk(message: Any, path: str) -> None:
        for field, value in message.ListFields():
            name = f"{path}.{field.name}"
            if isinstance(value, pb.Tensor):
                found.setdefault(name, []).append(np.frombuffer(value.data, "<u4").reshape(value.shape))
            elif field.message_type is not None and field.name != "warnings":
                walk(value, name)

    for answer in answers:
        walk(answer, "")
    return {name: np.concatenate(some, axis=int(".samples." in name)).tolist() for name, some in found.items()}


@pytest.mark.parametrize("first", [True, False], ids=["cells in the first message", "names and options first"])
@pytest.mark.parametrize("ends", [(), (1,), (0, 5, 5, 22), range(1, N_CELLS)], ids=str)
async def test_the_answers_are_those_of_one_request(served, ends, first):
    """Bit for bit, samples included, wherever the matrix is cut, at empty slices too."""
    whole = await served.whole(matrix())

    answers = await served.stream(cut(matrix(), ends, first=first))

    assert len(answers) == len(ends) + 1
    assert arrays(answers) == arrays([whole])
    assert len(arrays([whole])) == 11
    assert [name for answer in answers for name in answer.cells] == list(whole.cells)
    assert {(answer.model, answer.model_version, answer.samples.seed) for answer in answers} == {("m", "1", 7)}


async def test_a_seed_is_drawn_once(served):
    unseeded = matrix(outputs=[pb.OUTPUT_SAMPLES])
    unseeded.ClearField("seed")

    answers = await served.stream(cut(unseeded, (4, 9)))
    other = await served.stream(cut(unseeded, (4, 9)))

    (seed,) = {answer.samples.seed for answer in answers}
    assert seed != other[0].samples.seed
    assert arrays(answers) == arrays([await served.whole(matrix(outputs=[pb.OUTPUT_SAMPLES], seed=seed))])


async def test_one_label_holds_until_a_slice_has_its_own(served):
    plain = {"n_samples": 0, "protein_counts": None, "proteins": None, "cells": None}
    first, second, third, fourth = cut(matrix(8, batch=one("b"), **plain), (2, 4, 6))
    second.batch.CopyFrom(one("a"))
    third.batch.CopyFrom(per_cell("ab"))

    answers = await served.stream([first, second, third, fourth])

    assert arrays(answers) == arrays([await served.whole(matrix(8, batch=per_cell("bbaaabbb"), **plain))])


async def test_labels_per_cell_are_for_their_own_cells(served):
    first, later = cut(matrix(4, batch=per_cell("abab")), (2,))
    later.ClearField("batch")

    answers, error = await refused(served.stub.EncodeStream(), [first, later])

    assert len(answers) == 1
    assert error.details() == "message 1: the model needs batch, one of 'a', 'b'"


LONE = {
    "batch": {"batch": per_cell("ab")},
    "categorical_covariates.donor": {"categorical_covariates": {"donor": per_cell("ab")}},
    "continuous_covariates.age": {"continuous_covariates": {"age": tensor([1.0, 2.0], "float32")}},
}


@pytest.mark.parametrize("field", LONE)
async def test_labels_per_cell_without_cells(served, field):
    answers, error = await refused(served.stub.EncodeStream(), [pb.EncodeRequest(**LONE[field])])

    assert (answers, error.details()) == ([], f"message 0: {field} is given per cell, but no cells are with it")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"model": "x"}, "there is no such model"),
        ({"genes": ["gene0", "gene0", "x", "y", "z"]}, "gene 'gene0' occurs more than once"),
        ({"proteins": ["protein0", "protein0"]}, "protein 'protein0' occurs more than once"),
        ({"min_gene_coverage": 0.9}, "only 80.0% of the model's 5 genes"),
        ({"n_samples": 1001}, "over max_samples"),
        ({"first_cell": 1 << 63}, "first_cell is not in 0 to 2^63 - 1"),
    ],
    ids=str,
)
async def test_names_and_options_are_refused_at_once(served, first, wrong, says):
    answers, error = await refused(served.stub.EncodeStream(), cut(matrix(**wrong), (4,), first=first)[:1])

    assert answers == []
    assert error.details().startswith("message 0: ")
    assert says in error.details()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("n_cut", [1, 2])
async def test_proteins_come_with_all_slices_or_none(served, first, n_cut):
    messages = cut(matrix(proteins=None), (4, 9), first=first)
    begun = 0 if first else 1
    for message in messages[begun : begun + n_cut]:
        message.ClearField("protein_counts")

    answers, error = await refused(served.stub.EncodeStream(), messages[: begun + n_cut + 1])

    assert len(answers) == n_cut
    assert error.details().startswith(f"message {begun + n_cut}: protein_counts come with every slice of a stream or")


@pytest.mark.parametrize("first", [True, False])
async def test_named_proteins_without_counts(served, first):
    bad = 0 if first else 1
    messages = cut(matrix(protein_counts=None), (4,), first=first)[: bad + 1]

    answers, error = await refused(served.stub.EncodeStream(), messages)

    assert answers == []
    assert error.details() == f"message {bad}: proteins are named, but there are no protein_counts"


@pytest.mark.parametrize("first", [True, False])
async def test_warnings_are_told_once_or_where_they_belong(served, first):
    facts = {"protein_counts": None, "proteins": None}
    messages = cut(matrix(**facts), (4, 9), first=first)
    odd = np.array([[1.5, 2, 30, 4, 5]] * 5)
    messages[-2].gene_counts.dense.CopyFrom(tensor(odd, "float64"))

    answers = await served.stream(messages)

    told = [[warning.code for warning in answer.warnings] for answer in answers]
    assert told == [["missing_genes", "extra_genes", "missing_proteins"], ["non_integer_counts"], []]
    assert answers[0].warnings == (await served.whole(matrix(**facts))).warnings


async def test_columns_are_aligned_once(served, monkeypatch):
    aligned = []
    original = ColumnIndex.align
    monkeypatch.setattr(ColumnIndex, "align", lambda index, given: aligned.append(index.kind) or original(index, given))

    await served.stream(cut(matrix(), range(1, N_CELLS)))

    assert aligned == ["gene", "protein"]


async def test_limits_hold_for_each_slice(tmp_path):
    async with serving(tmp_path, request_limits=Limits(max_request_cells=5)) as served:
        assert len(await served.stream(cut(matrix(), range(5, N_CELLS, 5)))) == 5
        answers, error = await refused(served.stub.EncodeStream(), cut(matrix(), (5, 11))[:2])

    assert len(answers) == 1
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details().startswith("message 1: 6 cells are over max_request_cells = 5")


async def test_a_message_over_the_limit_of_bytes(served):
    first, later = slices(2)
    later.cells[0] = "x" * (2 << 20)

    _, error = await refused(served.stub.EncodeStream(), [first, later])

    # The second: as `write` says.
    assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)
    await until(lambda: served.core.recorder.n_in_flight == 0)
    assert (await served.whole(first)).n_cells == 1


async def test_the_version_is_found_once(tmp_path):
    async with serving(tmp_path) as served:
        call = served.stub.EncodeStream()
        first, later = slices(2)
        await call.write(first)
        before = await call.read()
        (tmp_path / "m" / "2").mkdir()
        (tmp_path / "m" / "2" / "encoder.pt").touch()
        served.core.catalog.load_all()
        await call.write(later)
        await call.done_writing()

        assert (before.model_version, (await call.read()).model_version) == ("1", "1")
        assert (await served.whole(first)).model_version == "2"


async def test_a_stream_is_one_call(served):
    messages = cut(matrix(), (4, 9))
    await served.stream(messages)

    (call,) = served.calls
    assert (call.operation, call.outcome, call.model, call.model_version) == ("encode_stream", "ok", "m", "1")
    assert (call.n_cells, call.n_bytes) == (N_CELLS, sum(message.ByteSize() for message in messages))
    assert set(call.phase_s) == {"decode", "queue", "compute", "encode"}


async def test_the_trailers_tell_the_phases(served):
    call = served.stub.EncodeStream(iter(slices(2)), metadata=(("x-request-id", "id-1"),))
    await names(call)

    trailers = await call.trailing_metadata()
    assert trailers["x-request-id"] == "id-1"
    assert re.fullmatch(
        r"(decode|queue|compute|encode);dur=\d+\.\d{3}(, (queue|compute|encode);dur=.*)", trailers["server-timing"]
    )


@contextlib.asynccontextmanager
async def busy(root: Path, **options: Any) -> AsyncIterator[tuple[Served, Gate]]:
    """A server whose encoder is held at a gate with another caller's cell."""
    gate = Gate()
    async with serving(root, FakeEncoder(gate=gate), **options) as served:
        other = asyncio.create_task(served.whole(slices(1)[0]))
        await asyncio.to_thread(gate.wait_entered)
        yield served, gate
        gate.open()
        assert (await other).n_cells == 1


async def test_a_caller_that_leaves_gives_its_places_in_the_queue_back(tmp_path):
    async with busy(tmp_path) as (served, gate):
        call = served.stub.EncodeStream(iter(slices(10)))
        await until(lambda: served.core.batcher.n_waiting_cells == MOST_IN_FLIGHT)

        call.cancel()

        await until(lambda: served.core.recorder.n_in_flight == 1)
        assert served.core.batcher.n_waiting_cells == 0
        gate.open()
        assert (await served.whole(slices(1)[0])).n_cells == 1
        assert served.core.recorder.outcomes["cancelled"] == 1
        assert served.core.encoder.batch_sizes == [1, 1], "what was withdrawn is not computed"


async def test_a_deadline_gives_the_places_in_the_queue_back(tmp_path):
    async with busy(tmp_path) as (served, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stream(slices(10), timeout=0.3)

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.core.recorder.n_in_flight == 1)
        assert served.core.batcher.n_waiting_cells == 0


class Sleeps:
    """A sleep that lasts until the test ends it; once `short`, a turn of the loop."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.over = asyncio.Event()
        self.short = False

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self.short:
            await asyncio.sleep(0)
        else:
            await self.over.wait()
            self.over.clear()


async def test_a_full_queue_is_waited_for(tmp_path):
    sleeps = Sleeps()
    async with busy(tmp_path, max_queue_cells=2, sleep=sleeps) as (served, gate):
        call = served.stub.EncodeStream(iter(slices(6)))
        # Two fill the queue, the third waits, and the others are not read.
        await until(lambda: len(sleeps.seconds) == 1)
        assert served.core.batcher.n_waiting_cells == 2
        sleeps.over.set()
        await until(lambda: len(sleeps.seconds) == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.whole(slices(1)[0], metadata=IN_BULK)
        assert details_of(caught.value)["ErrorInfo"].reason == "overloaded"

        assert sleeps.seconds == [1.0, 1.0], "what the refusals told"
        sleeps.short = True
        gate.open()
        sleeps.over.set()

        assert await names(call) == [str(number) for number in range(6)]


async def test_messages_that_find_no_memory_are_waited_for(tmp_path):
    """The first is refused, for nothing is lost; later ones wait, and what has been answered is held no more."""
    sleeps, messages = Sleeps(), slices(6)
    size = max(message.ByteSize() for message in messages)
    bodies = ByteGate(3 * size, size, lambda: 0.25)
    async with busy(tmp_path, sleep=sleeps, bodies=bodies) as (served, gate):
        held = bodies.held
        call = served.stub.EncodeStream(iter(messages))
        await until(lambda: len(sleeps.seconds) == 1)
        assert sleeps.seconds == [0.25]
        assert held < bodies.held <= 3 * size
        bodies._largest_bytes = 0  # so that it is read
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stream(slices(1))
        assert details_of(caught.value)["ErrorInfo"].reason == "overloaded"
        assert "message 0" in caught.value.details()
        sleeps.short = True
        gate.open()
        sleeps.over.set()
        assert await names(call) == [str(number) for number in range(6)]


@pytest.mark.parametrize("metadata", [(), IN_BULK, URGENT], ids=["no word", "bulk", "interactive"])
async def test_a_stream_is_bulk_unless_it_says(tmp_path, metadata):
    async with busy(tmp_path) as (served, gate):
        calls = [asyncio.create_task(served.stream(slices(2), metadata=metadata))]
        await until(lambda: served.core.batcher.n_waiting_cells == 2)
        calls.append(asyncio.create_task(served.whole(slices(1)[0])))
        await until(lambda: served.core.batcher.n_waiting_cells == 3)
        gate.open()
        await asyncio.gather(*calls)
        # An urgent call shares the batch of an urgent stream, and goes before a bulk one.
        assert served.core.encoder.batch_sizes == ([1, 3] if metadata == URGENT else [1, 1, 2])
        priorities = [call.priority for call in served.calls if call.operation == "encode_stream"]
        assert priorities == [Priority.INTERACTIVE if metadata == URGENT else Priority.BULK]


async def test_a_caller_that_leaves_while_the_queue_is_full(tmp_path):
    sleeps = Sleeps()
    async with busy(tmp_path, max_queue_cells=1, sleep=sleeps) as (served, _):
        call = served.stub.EncodeStream(iter(slices(6)))
        await until(lambda: len(sleeps.seconds) == 1)

        call.cancel()

        await until(lambda: served.core.recorder.n_in_flight == 1)
        assert served.core.batcher.n_waiting_cells == 0
        assert served.core.recorder.outcomes == {"cancelled": 1}


async def test_a_deadline_ends_the_wait_for_a_full_queue(tmp_path):
    async with busy(tmp_path, max_queue_cells=1, sleep=Sleeps()) as (served, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stream(slices(6), timeout=0.3)

        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.core.recorder.n_in_flight == 1)
        assert served.core.batcher.n_waiting_cells == 0


async def test_a_slice_that_comes_once_the_queue_is_closed(served):
    first, later = slices(2)
    call = await write(served.stub.EncodeStream(), [first])
    await until(lambda: served.core.encoder.batch_sizes == [1])
    served.core.batcher.close()

    answers, error = await refused(call, [later])

    assert (len(answers), error.code()) == (1, grpc.StatusCode.UNAVAILABLE)
    assert error.details().startswith("message 1: the server is stopping")


async def test_a_server_that_stops_ends_the_stream(tmp_path):
    sleeps = Sleeps()
    async with serving(tmp_path, FakeEncoder(gate=(gate := Gate())), max_queue_cells=1, sleep=sleeps) as served:
        call = await write(served.stub.EncodeStream(), slices(6))
        await until(lambda: len(sleeps.seconds) == 1)

        served.core.batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, "the server is stopping", retry_after_s=1.0))

        answers, error = await refused(call)
        assert (answers, error.code()) == ([], grpc.StatusCode.UNAVAILABLE)
        assert error.details() == "message 0: the server is stopping"
        gate.open()
