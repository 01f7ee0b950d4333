"""The whole core on a worker of its own, with a fake encoder: what a transport sees, less the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from model.contract import LatentParams
from service.core.admission import ByteGate
from service.core.batch import BatcherLimits
from service.core.batcher import Batcher
from service.core.catalog import Catalog
from service.core.compute_step import compute
from service.core.engine import Engine
from service.core.health import Health
from service.core.messages import EncodeReply, EncodeRequest, Limits
from service.core.preparation import PreparedRequest
from service.core.priority import Priority
from service.core.worker import Worker
from tests.fakes import FakeEncoder, RecordingRecorder


class Core:
    """An engine on a worker of its own; `limits` are the batcher's; `gathers`: small requests are prepared together."""

    def __init__(
        self,
        root: Path,
        encoder: FakeEncoder,
        *,
        request_limits: Limits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        bodies: ByteGate | None = None,
        gathers: bool = False,
        **limits: Any,
    ) -> None:
        (root / "m" / "1").mkdir(parents=True)
        (root / "m" / "1" / "encoder.pt").touch()
        self.encoder = encoder
        self.recorder = RecordingRecorder()
        self.health = Health()
        self.catalog = Catalog(root, lambda path: encoder)
        loop = asyncio.get_running_loop()
        facts: dict[str, Any] = {
            "max_batch_cells": 256,
            "max_batch_entries": 100_000,
            "max_delay_s": 0.0,
            "max_queue_cells": 200_000,
            "max_queue_bytes": 1 << 30,
        }
        self.batcher = Batcher[PreparedRequest, LatentParams](
            BatcherLimits(**(facts | limits)), post=loop.call_soon_threadsafe, recorder=self.recorder
        )
        self.worker = Worker(
            self.batcher,
            lambda batch: compute(encoder, batch.slices),
            on_death=lambda error: self.health.mark_failed("dead"),
            recorder=self.recorder,
        )
        self.engine = Engine(
            self.catalog,
            self.batcher,
            limits=request_limits or Limits(),
            health=self.health,
            recorder=self.recorder,
            sleep=sleep,
            bodies=bodies,
            soon=loop.call_soon if gathers else None,
        )
        self.catalog.load_all()
        self.worker.start()
        self.health.mark_ready()

    async def encode(
        self,
        request: EncodeRequest,
        timeout_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
        **names: Any,
    ) -> EncodeReply:
        with self.engine.call(transport="rest", operation="encode", request_id="id", timeout_s=timeout_s) as call:
            call.priority = priority
            return await self.engine.encode(request, call, **names)

    async def close(self) -> None:
        """End the worker; nothing may be left of any call."""
        if self.encoder.gate is not None:
            self.encoder.gate.open()
        self.batcher.close()
        assert await asyncio.to_thread(self.worker.join, 20)
        assert self.batcher.n_waiting_cells == self.batcher.n_running_cells == 0
        assert self.recorder.n_in_flight == self.engine.bodies.held == 0
