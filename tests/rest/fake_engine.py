"""An engine that computes nothing: it answers zeros, or waits at a gate, or raises what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import numpy as np

from service.core.activity import Activity, Queue
from service.core.admission import ByteGate
from service.core.errors import ErrorKind, ServiceError
from service.core.health import ServingState
from service.core.messages import Coverage, EncodeReply, EncodeRequest, Limits, ModelCard, Notice, ValidationReport
from service.core.recent import Recent
from service.core.recorder import Call, Recorded
from tests.fakes import RecordingRecorder

CARD = ModelCard(
    name="pbmc",
    version="2",
    versions=("1", "2"),
    state="ready",
    sha256="ab" * 32,
    manifest={"genes": ("CD3E", "LYZ"), "n_latent": 2, "name": "not this one"},
)


WARNINGS = (Notice("missing_genes", "12 genes are missing", 12, ("CD8A",)),)


class FakeEngine:
    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.bodies: ByteGate | None = None
        self.error: BaseException | None = None
        self.full: ServiceError | None = None
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.withdrawn = 0
        self.card_served = CARD
        self.n_latent = 2
        self.calls: list[Call] = []
        self.recorder = RecordingRecorder()
        self.recent = Recent()
        self.requests: list[tuple[EncodeRequest, str | None, str | None]] = []

    @contextlib.contextmanager
    def call(
        self, *, transport: str, operation: str, request_id: str, timeout_s: float | None = None, carried: object = None
    ) -> Iterator[Call]:
        now = time.monotonic()
        deadline_s = None if timeout_s is None else now + timeout_s
        call = Call(transport, operation, request_id, now, deadline_s, bodies=self.bodies)
        self.calls.append(call)
        with Recorded(self.recorder, call):
            yield call

    def refuse_if_full(self, call: Call) -> None:
        if self.full is not None:
            raise self.full

    async def encode(
        self, request: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> EncodeReply:
        self.requests.append((request, model, version))
        if call.deadline_s is not None and call.deadline_s <= time.monotonic():
            raise ServiceError(ErrorKind.DEADLINE, "the deadline passed")
        if self.error is not None:
            raise self.error
        with call.phase("queue"):
            self.entered.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.withdrawn += 1
                raise
        n = request.n_cells
        return EncodeReply(
            model=model or "pbmc",
            model_version=version or "2",
            n_cells=n,
            cells=request.cells,
            qz_mean=np.zeros((n, self.n_latent), np.float32),
            qz_variance=np.ones((n, self.n_latent), np.float32),
            warnings=WARNINGS,
        )

    async def validate(
        self, request: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> ValidationReport:
        self.requests.append((request, model, version))
        if call.deadline_s is not None and call.deadline_s <= time.monotonic():
            raise ServiceError(ErrorKind.DEADLINE, "the deadline passed")
        if self.error is not None:
            raise self.error
        with call.phase("decode"):
            self.entered.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.withdrawn += 1
                raise
        return ValidationReport(
            model=model or "pbmc",
            model_version=version or "2",
            n_cells=request.n_cells,
            genes=Coverage(given=5, known=3, missing=12, extra=2, coverage=0.2),
            proteins=Coverage(given=0, known=0, missing=4, extra=0, coverage=0.0),
            warnings=WARNINGS,
        )

    def activity(self) -> Activity:
        return self.recent.activity(
            state=ServingState.READY, queue=Queue(cells=3, limit_cells=100, bytes=30, limit_bytes=1000)
        )

    def cards(self) -> list[ModelCard]:
        return [self.card_served]

    def card(self, model: str, version: str | None = None) -> ModelCard:
        if self.error is not None:
            raise self.error
        if model != CARD.name or version not in (None, *CARD.versions):
            raise ServiceError(ErrorKind.NOT_FOUND, "no such model; there is: pbmc")
        return self.card_served
