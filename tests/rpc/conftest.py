"""A real server on a free port, before an engine that answers what the test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any, cast

import grpc
import pytest

from service.core.admission import ByteGate
from service.core.errors import ErrorKind, ServiceError
from service.core.health import Health
from service.core.messages import Coverage, EncodeReply, EncodeRequest, Limits, ModelCard, ValidationReport
from service.core.recorder import Call, NullRecorder, Recorded
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from service.rpc.server import build_server


class KeptCalls(NullRecorder):
    def __init__(self) -> None:
        self.under_way = 0
        self.idle = asyncio.Event()
        self.finished: list[Call] = []

    def call_started(self, call: Call) -> None:
        self.under_way += 1
        self.idle.clear()

    def call_finished(self, call: Call, duration_s: float) -> None:
        self.under_way -= 1
        self.finished.append(call)
        if self.under_way == 0:
            self.idle.set()


REPORT = ValidationReport("pbmc", "1", 1, Coverage(3, 3, 0, 0, 1.0), Coverage(0, 0, 2, 0, 0.0), warnings=())


class FakeEngine:
    """Keeps what it is asked, waits at the gate where that is shut, and answers `answer` (`report`) or raises it."""

    def __init__(self) -> None:
        self.limits = Limits(max_request_bytes=1 << 20)
        self.health = Health()
        self.bodies = ByteGate(1 << 30, self.limits.max_request_bytes, lambda: 0.25)
        self.full: ServiceError | None = None
        self.calls = KeptCalls()
        self.timeouts: list[float | None] = []
        self.asked: list[tuple[EncodeRequest, str | None, str | None]] = []
        self.answer: EncodeReply | Exception = EncodeReply(model="pbmc", model_version="1", n_cells=1)
        self.report: ValidationReport | Exception = REPORT
        self.known: list[ModelCard] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

    def call(
        self, *, transport: str, operation: str, request_id: str, timeout_s: float | None = None, carried: object = None
    ) -> AbstractContextManager[Call]:
        self.timeouts.append(timeout_s)
        call = Call(transport, operation, request_id, started_s=time.monotonic(), bodies=self.bodies)
        return Recorded(self.calls, call)

    def refuse_if_full(self, call: Call) -> None:
        if self.full is not None:
            raise self.full

    async def encode(
        self, request: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> EncodeReply:
        await self._keep(request, model, version)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def validate(
        self, request: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> ValidationReport:
        await self._keep(request, model, version)
        if isinstance(self.report, Exception):
            raise self.report
        return self.report

    async def _keep(self, request: EncodeRequest, model: str | None, version: str | None) -> None:
        self.asked.append((request, model, version))
        self.entered.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def cards(self) -> list[ModelCard]:
        return self.known

    def card(self, model: str, version: str | None = None) -> ModelCard:
        for card in self.known:
            if card.name == model and version in (None, card.version):
                return card
        raise ServiceError(ErrorKind.NOT_FOUND, f"no model {model!r}; there are {[card.name for card in self.known]}")


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def port(engine: FakeEngine) -> AsyncIterator[int]:
    limit = engine.limits.max_request_bytes
    server = build_server(cast(Any, engine), max_message_bytes=limit)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


@pytest.fixture
async def channel(port: int) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Any:
    return EncoderServiceStub(channel)
