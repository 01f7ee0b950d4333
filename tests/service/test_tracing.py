"""A call's trace, from the door through the batch to its answer, as an in-process collector gets it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.assembly import Service, build_service
from service.core.recorder import PHASES
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from service.settings import AccessSettings, Settings, SettingsError, TraceSettings
from service.tracing import MOST_INTERVALS, RecordedCall, Tracing, build_tracing
from tests.fakes import FakeEncoder, Gate

PATIENCE_S = 10.0
CELL: dict[str, Any] = {"gene_counts": [[1, 0, 2, 0, 0]], "protein_counts": [[0, 0]], "batch": "a"}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


def message() -> pb.EncodeRequest:
    def tensor(values: list[int]) -> pb.Counts:
        return pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.U8, shape=[1, len(values)], data=bytes(values)))

    return pb.EncodeRequest(
        gene_counts=tensor([1, 0, 2, 0, 0]),
        protein_counts=tensor([0, 0]),
        batch=pb.Labels(categories=[pb.Label(string_value="a")]),
    )


class Traced:
    """A service whose spans stay in memory."""

    def __init__(self, models: Path, *, ratio: float = 1.0, **groups: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing(self.exporter, ratio=ratio, version="1", destination="memory", gather_s=0.0)
        # The loader holds no more than it must: a cycle would keep the gRPC server until the interpreter ends.
        self.encoder = encoder = FakeEncoder()
        self.service: Service = build_service(
            Settings(models=models, **groups),
            post=asyncio.get_running_loop().call_soon_threadsafe,
            load_encoder=lambda path: encoder,
            tracing=self.tracing,
        )
        self.service.load()
        self.service.health.mark_ready()

    async def encode(
        self, *traceparents: str, headers: Iterable[tuple[str, str]] = (), **changes: Any
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.service.http_app)
        given = [*(("traceparent", value) for value in traceparents), *headers]
        async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
            asked = callers.post("/v1/models/pbmc/encode", json={**CELL, **changes}, headers=given)
            return await asyncio.wait_for(asked, PATIENCE_S)

    async def until_waiting(self, n_cells: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.service.batcher.n_waiting_cells < n_cells:
                await asyncio.sleep(0)

    async def entered(self) -> None:
        assert self.encoder.gate is not None
        await asyncio.to_thread(self.encoder.gate.wait_entered)

    def spans(self) -> list[ReadableSpan]:
        """All of them; ends the tracing."""
        assert self.tracing.close(PATIENCE_S)
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "pbmc" / "1"
    folder.mkdir(parents=True)
    (folder / "encoder.pt").touch()
    return tmp_path / "models"


@contextlib.asynccontextmanager
async def running(models: Path, **settings: Any) -> AsyncIterator[Traced]:
    traced = Traced(models, **settings)
    try:
        yield traced
    finally:
        if traced.encoder.gate is not None:
            traced.encoder.gate.open()
        assert await asyncio.to_thread(traced.service.finish, PATIENCE_S)
        await traced.service.grpc_server.stop(None)
        traced.service.close_traces(PATIENCE_S)


@pytest.fixture
async def traced(models: Path) -> AsyncIterator[Traced]:
    async with running(models) as made:
        yield made


def named(spans: Iterable[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def servers(spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
    return [span for span in spans if span.kind is SpanKind.SERVER]


def children(spans: Iterable[ReadableSpan], of: ReadableSpan) -> list[ReadableSpan]:
    return [span for span in spans if span.parent is not None and span.parent.span_id == of.context.span_id]


def links(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def assert_walk(spans: list[ReadableSpan], server: ReadableSpan) -> ReadableSpan:
    """The parts of a call lie in it, one after another, and its computation tells the batch, which is returned."""
    parts = sorted(children(spans, server), key=lambda span: span.start_time or 0)
    # A phase that the machine interrupts may be told in two.
    assert [name for name, _ in itertools.groupby(part.name for part in parts)] == list(PHASES)
    times = [server.start_time, *(time for part in parts for time in (part.start_time, part.end_time)), server.end_time]
    assert times == sorted(times, key=int)
    assert {part.context.trace_id for part in parts} == {server.context.trace_id}
    (compute,) = named(parts, "compute")
    (batch,) = [span for span in named(spans, "compute batch") if links(compute) == {span.context.span_id}]
    assert (compute.start_time, compute.end_time) == (batch.start_time, batch.end_time)
    assert server.context.span_id in links(batch)
    assert batch.parent is None
    return batch


async def test_two_calls_that_share_a_batch_find_each_other_through_it(traced: Traced) -> None:
    traced.encoder.gate = Gate()
    first = asyncio.create_task(traced.encode())
    await traced.entered()
    mates = [asyncio.create_task(traced.encode(SAMPLED)), asyncio.create_task(traced.encode())]
    await traced.until_waiting(2)
    traced.encoder.gate.open()
    answers = await asyncio.gather(first, *mates)
    assert [answer.status_code for answer in answers] == [200] * 3

    spans = traced.spans()
    by_id = {f"{span.context.trace_id:032x}-{span.context.span_id:016x}": span for span in servers(spans)}
    alone, one, other = (by_id[answer.headers["traceresponse"][3:-3]] for answer in answers)
    assert links(assert_walk(spans, alone)) == {alone.context.span_id}
    batch = assert_walk(spans, one)
    assert batch is assert_walk(spans, other)
    assert links(batch) == {one.context.span_id, other.context.span_id}
    assert dict(batch.attributes or {}) == {
        "totalvi.model": "pbmc",
        "totalvi.model_version": "1",
        "totalvi.cells": 2,
        "totalvi.entries": 4,
        "totalvi.requests": 2,
    }
    # The one that brought its trace is in it, the other began one of its own.
    assert (f"{one.context.trace_id:032x}", f"{one.parent.span_id:016x}") == (TRACE, PARENT)  # type: ignore[union-attr]
    assert one.parent.is_remote  # type: ignore[union-attr]
    assert other.parent is None and other.context.trace_id != one.context.trace_id


async def test_a_server_span_tells_what_the_conventions_ask_and_nothing_of_the_cells(traced: Traced) -> None:
    headers = [("x-request-id", "id-1"), ("authorization", "Bearer sesame-sesame-sesame")]
    await traced.encode(headers=headers, cells=["AAAC-1"])
    spans = traced.spans()
    (server,) = servers(spans)
    assert server.name == "POST /v1/models/{model}/encode"
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/models/{model}/encode",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/v1/models/pbmc/encode",
        "totalvi.model": "pbmc",
        "totalvi.model_version": "1",
        "totalvi.cells": 1,
        "totalvi.outcome": "ok",
        "totalvi.request_id": "id-1",
    }
    assert server.status.status_code is StatusCode.UNSET
    assert dict(server.resource.attributes)["service.name"] == "totalvi-serve"
    told = "".join(span.to_json() for span in spans)
    assert "AAAC-1" not in told and "sesame" not in told


async def test_a_route_of_the_framework_has_its_name_too(traced: Traced) -> None:
    transport = httpx.ASGITransport(traced.service.http_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
        assert (await callers.get("/v1/models/pbmc")).headers["traceresponse"]
        assert (await callers.get("/v1/models/none")).status_code == 404
    spans = traced.spans()
    assert [span.name for span in spans] == ["GET /v1/models/{model}"] * 2
    assert [span.attributes["http.response.status_code"] for span in spans] == [200, 404]  # type: ignore[index]


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("",),
        ("garbage",),
        (f"00-{'0' * 32}-{PARENT}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"ff-{TRACE}-{PARENT}-01",),
        (f"00-{TRACE.upper()}-{PARENT}-01",),
        (f"00-{TRACE[:-1]}-{PARENT}-01",),
        (f"00-{TRACE}-{PARENT}-01-more",),
        (SAMPLED, SAMPLED),
    ],
)
async def test_a_malformed_traceparent_is_as_none(traced: Traced, given: tuple[str, ...]) -> None:
    answer = await traced.encode(*given)
    assert answer.status_code == 200
    (server,) = servers(traced.spans())
    assert server.parent is None
    assert f"{server.context.trace_id:032x}" == answer.headers["traceresponse"][3:35] != TRACE


@pytest.mark.parametrize(
    ("ratio", "given", "recorded"),
    [(1.0, NOT_SAMPLED, False), (0.0, SAMPLED, True), (0.0, "", False), (1.0, "", True), (0.0, "garbage", False)],
)
async def test_the_callers_decision_counts_and_else_the_share(
    models: Path, ratio: float, given: str, recorded: bool
) -> None:
    async with running(models, ratio=ratio) as traced:
        answer = await traced.encode(*filter(None, [given]))
        assert ("traceresponse" in answer.headers) is recorded
        assert bool(traced.spans()) is recorded


async def test_a_batch_with_an_unrecorded_call_is_linked_with_the_others(traced: Traced) -> None:
    traced.encoder.gate = Gate()
    first = asyncio.create_task(traced.encode(NOT_SAMPLED))
    await traced.entered()
    mates = [asyncio.create_task(traced.encode(given)) for given in (SAMPLED, NOT_SAMPLED)]
    await traced.until_waiting(2)
    traced.encoder.gate.open()
    await asyncio.gather(first, *mates)
    spans = traced.spans()
    (server,), (batch,) = servers(spans), named(spans, "compute batch")
    assert links(batch) == {server.context.span_id}
    assert batch.attributes["totalvi.requests"] == 2  # type: ignore[index]


async def test_the_state_of_the_trace_goes_along_unless_it_is_too_long(traced: Traced) -> None:
    await traced.encode(SAMPLED, headers=[("tracestate", "a=1"), ("tracestate", "b=2")])
    await traced.encode(SAMPLED, headers=[("tracestate", "a=" + "x" * 600)])
    spans = traced.spans()
    assert [dict(span.context.trace_state) for span in servers(spans)] == [{"a": "1", "b": "2"}, {}]


async def test_a_refusal_is_no_error_of_the_server_and_a_failure_is(traced: Traced) -> None:
    traced.encoder.errors = [RuntimeError("device on fire")]
    assert (await traced.encode(batch="no such batch")).status_code == 422
    failed = await traced.encode()
    assert (failed.status_code, "traceresponse" in failed.headers) == (500, True)
    spans = traced.spans()
    refused, broken = servers(spans)
    assert (refused.attributes["http.response.status_code"], refused.status.status_code) == (422, StatusCode.UNSET)  # type: ignore[index]
    assert (broken.attributes["error.type"], broken.status.status_code) == ("internal", StatusCode.ERROR)  # type: ignore[index]
    (batch,) = named(spans, "compute batch")
    assert (batch.attributes["error.type"], batch.status.status_code) == ("RuntimeError", StatusCode.ERROR)  # type: ignore[index]
    assert "fire" not in "".join(span.to_json() for span in spans)


async def test_a_call_that_dies_in_the_queue_shows_its_wait(traced: Traced) -> None:
    traced.encoder.gate = Gate()
    first = asyncio.create_task(traced.encode(NOT_SAMPLED))
    await traced.entered()
    # Of more than is gathered, so that it is queued by itself.
    cells = {"gene_counts": [[1, 0, 2, 0, 0]] * 5000, "protein_counts": [[0, 0]] * 5000}
    late = await traced.encode(headers=[("x-request-timeout-ms", "300")], **cells)
    assert late.status_code == 504
    traced.encoder.gate.open()
    await first
    spans = traced.spans()
    (server,) = servers(spans)
    assert [span.name for span in children(spans, server)][-1] == "queue"
    assert server.attributes["totalvi.outcome"] == "deadline"  # type: ignore[index]


async def test_a_caller_that_leaves_while_its_batch_runs_is_still_linked(traced: Traced) -> None:
    traced.encoder.gate = Gate()
    leaving = asyncio.create_task(traced.encode())
    await traced.entered()
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    traced.encoder.gate.open()
    assert await asyncio.to_thread(traced.service.finish, PATIENCE_S)
    spans = traced.spans()
    (server,), (batch,) = servers(spans), named(spans, "compute batch")
    assert server.attributes["totalvi.outcome"] == "cancelled"  # type: ignore[index]
    assert links(batch) == {server.context.span_id}


async def test_grpc_calls_share_a_batch_and_tell_their_traces(traced: Traced) -> None:
    port = traced.service.grpc_server.add_insecure_port("127.0.0.1:0")
    await traced.service.grpc_server.start()
    traced.encoder.gate = Gate()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = EncoderServiceStub(channel)

        async def encode(*metadata: tuple[str, str]) -> str:
            call = stub.Encode(message(), metadata=metadata, timeout=PATIENCE_S)
            await call
            return str(dict(await call.trailing_metadata())["traceresponse"])

        first = asyncio.create_task(encode())
        await traced.entered()
        mates = [asyncio.create_task(encode(*given)) for given in ((("traceparent", SAMPLED),), ())]
        await traced.until_waiting(2)
        traced.encoder.gate.open()
        told = await asyncio.gather(first, *mates)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Encode(pb.EncodeRequest(), timeout=PATIENCE_S)
    spans = traced.spans()
    assert [span.name for span in servers(spans)] == ["totalvi.v1.EncoderService/Encode"] * 4
    by_id = {f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01": span for span in servers(spans)}
    one, other = by_id[told[1]], by_id[told[2]]
    assert f"{one.context.trace_id:032x}" == TRACE
    assert links(assert_walk(spans, one)) == {one.context.span_id, other.context.span_id}
    assert {key: value for key, value in (one.attributes or {}).items() if key.startswith("rpc")} == {
        "rpc.system.name": "grpc",
        "rpc.method": "totalvi.v1.EncoderService/Encode",
        "rpc.response.status_code": "OK",
    }
    refused = by_id[str(dict(refusal.value.trailing_metadata())["traceresponse"])]  # type: ignore[call-overload]
    assert refused.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"  # type: ignore[index]


async def test_a_stream_is_one_call_whose_slices_are_computed_each(traced: Traced) -> None:
    port = traced.service.grpc_server.add_insecure_port("127.0.0.1:0")
    await traced.service.grpc_server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = EncoderServiceStub(channel)
        call = stub.EncodeStream(
            iter([message(), message(), message()]), metadata=(("traceparent", SAMPLED),), timeout=PATIENCE_S
        )
        assert len([answer async for answer in call]) == 3
        told = dict(await call.trailing_metadata())["traceresponse"]
    spans = traced.spans()
    (server,) = servers(spans)
    assert server.name == "totalvi.v1.EncoderService/EncodeStream"
    assert told == f"00-{TRACE}-{server.context.span_id:016x}-01"
    assert server.attributes["totalvi.cells"] == 3  # type: ignore[index]
    computed = named(children(spans, server), "compute")
    assert len(computed) == 3
    batches = {span.context.span_id for span in named(spans, "compute batch")}
    assert set().union(*map(links, computed)) == batches


async def test_a_slice_of_a_large_call_is_a_computation_of_its_own(traced: Traced) -> None:
    n_cells = 2500
    cells = {"gene_counts": [[1, 0, 2, 0, 0]] * n_cells, "protein_counts": [[0, 0]] * n_cells}
    assert (await traced.encode(**cells)).status_code == 200
    spans = traced.spans()
    (server,) = servers(spans)
    computed = named(children(spans, server), "compute")
    assert sum(span.attributes["totalvi.cells"] for span in computed) == n_cells  # type: ignore[index,misc]
    assert len(computed) == len(named(spans, "compute batch")) == len(traced.encoder.batch_sizes) > 1
    assert len(named(children(spans, server), "queue")) == 1


async def test_who_has_no_token_is_not_traced(models: Path, tmp_path: Path) -> None:
    """Or strangers could fill the outbox, whatever share of calls is to be recorded."""
    tokens = tmp_path / "tokens"
    tokens.write_text("alice 0123456789abcdef\n")
    async with running(models, access=AccessSettings(tokens_file=tokens)) as traced:
        transport = httpx.ASGITransport(traced.service.http_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
            carried = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
            answer = await callers.post("/v1/encode", headers=carried)
            assert answer.status_code == 401
            assert "traceresponse" not in answer.headers
        assert traced.spans() == []


def test_a_stream_keeps_a_bounded_number_of_its_parts() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, ratio=1.0, version="1", destination="memory", gather_s=0.0)
    call = tracing.begin(lambda name: [])
    assert isinstance(call, RecordedCall)
    for _ in range(MOST_INTERVALS):
        call.spent("decode", 0.1)  # longer ago than the last: another one
        call.spent("encode", 0.1)
    tracing.start()
    call.end("stream", {})
    assert tracing.close(PATIENCE_S)
    spans = exporter.get_finished_spans()
    assert len(spans) == MOST_INTERVALS + 1
    assert spans[-1].attributes["totalvi.spans_left_out"] == MOST_INTERVALS  # type: ignore[index]


def test_without_the_extra_an_endpoint_is_refused_in_one_line(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("service.tracing", "service.outbox", "service.spans"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = Settings(models=models, traces=TraceSettings(traces_endpoint="http://127.0.0.1:4318"))

    async def build() -> None:
        build_service(settings, post=asyncio.get_running_loop().call_soon_threadsafe)

    with pytest.raises(SettingsError, match=r"^--traces-endpoint needs OpenTelemetry.*totalvi-serve\[otel\]'$"):
        asyncio.run(build())


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1/v1/traces"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1/v1/traces"),
        ("http://127.0.0.1:1/own/path", "http://127.0.0.1:1/own/path"),
    ],
)
def test_opentelemetrys_variables_are_read_and_its_complaints_of_them_told(
    endpoint: str, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "without-a-value")
    logger = logging.getLogger("opentelemetry")
    level = logger.level
    try:
        tracing = build_tracing(endpoint, ratio=1.0, version="1")
        assert logger.level == logging.CRITICAL
    finally:
        logger.setLevel(level)
    assert tracing.destination == url
    assert "without-a-value" in caplog.text
    assert tracing.close(0.0)
