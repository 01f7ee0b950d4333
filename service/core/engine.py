"""The only door to the encoder: each call of each transport comes in here and is admitted, timed and recorded once."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from model.contract import LatentParams
from service.core.activity import Activity, Queue
from service.core.admission import ByteGate
from service.core.batcher import Batcher
from service.core.catalog import Catalog, LoadedModel
from service.core.errors import ErrorKind, ServiceError
from service.core.health import Health
from service.core.messages import EncodeReply, EncodeRequest, Limits, ModelCard, ModelState, Output, ValidationReport
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.preparation import PreparedRequest, prepare
from service.core.recent import Recent
from service.core.recorder import Call, Recorded, Recorder
from service.core.reply import compose_reply
from service.core.repository import Repository
from service.core.room import Place
from service.core.stream import EncodeStream, StreamSlice
from service.core.ticket import Ticket
from service.core.together import MOST_BYTES, Asked, Gathering
from service.core.tracing import Carried, Tracer


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AdmittedSlice:
    """A slice of a stream in the queue.

    Attributes:
        prepared: its cells.
        model: that computes them.
        ticket: its place.
        n_bytes: of its message.
    """

    prepared: PreparedRequest
    model: LoadedModel
    ticket: Ticket[LatentParams]
    n_bytes: int


T = TypeVar("T")

_LATE = "the deadline passed before the answer was ready"


class Engine:
    """Encodes requests with the models of a catalog.

    Args:
        catalog: the served models.
        batcher: the queue in front of the worker; its key is the `LoadedModel`.
        limits: on one request.
        health: of the process.
        recorder: told of every call.
        bodies: counts what all calls hold; None: they may hold anything.
        repository_api: whether callers may load and unload models.
        soon: runs a callback at the end of the event loop's turn, so that small requests can be prepared together.
            None: each is prepared by itself.
        tracer: told of every call and of the phases of those that it records; None: nobody traces.
        recent: what `activity` tells, fed by the same events as the recorder; None: nobody feeds it.
        clock: monotonic seconds, the batcher's.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        batcher: Batcher[PreparedRequest, LatentParams],
        *,
        limits: Limits,
        health: Health,
        recorder: Recorder,
        bodies: ByteGate | None = None,
        repository_api: bool = False,
        soon: Callable[[Callable[[], None]], object] | None = None,
        tracer: Tracer | None = None,
        recent: Recent | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.limits = limits
        self.health = health
        self.bodies = bodies or ByteGate(sys.maxsize, 0, lambda: batcher.retry_after_s)
        self.repository = Repository(catalog, health)
        self._repository_api = repository_api
        self._gathering = None
        if soon is not None:
            self._gathering = Gathering(limits, is_idle=lambda: batcher.is_idle, soon=soon)
            batcher.tell_batch_ends(self._gathering.prepare_all)
        self._catalog = catalog
        self._batcher = batcher
        self._recorder = recorder
        self._tracer = tracer
        self._recent = recent or Recent(clock)
        self._clock = clock
        self._sleep = sleep

    def call(
        self,
        *,
        transport: str,
        operation: str,
        request_id: str,
        timeout_s: float | None = None,
        carried: Carried | None = None,
    ) -> Recorded:
        """Open a call; on leaving the context it is recorded, however it ended. Its trace the transport ends.

        Args:
            transport: `rest` or `grpc`.
            operation: what is asked, `encode` for example.
            request_id: the caller's or a made one.
            timeout_s: seconds the caller will wait; None: for ever.
            carried: what it came with, of which the caller's trace is read.
        """
        now = self._clock()
        deadline = None if timeout_s is None else now + timeout_s
        call = Call(transport, operation, request_id, now, deadline, bodies=self.bodies)
        if self._tracer is not None and carried is not None:
            call.trace = trace = self._tracer.begin(carried)
            call.trace_id = None if trace is None else trace.trace_id
        return Recorded(self._recorder, call, self._clock)

    def refuse_if_full(self, call: Call) -> None:
        """Refuse a call whose cells would find no room in the queue, before anything is spent on decoding them.

        Raises:
            ServiceError: OVERLOADED, with the time to come again.
        """
        self._batcher.refuse_if_full(call.priority)

    async def encode(
        self, request: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> EncodeReply:
        """Encode a request. Cancelling the task withdraws its cells from the queue.

        Args:
            request: decoded, unchecked.
            call: the open call; model, cells and phases are filled in.
            model: name; None: the only model.
            version: None: the highest.

        Raises:
            ServiceError: of any kind.
        """
        loaded = self._resolve(call, model, version)
        with self._reserve(request, call) as place:
            prepared = await self._prepare(request, loaded, call)
            ticket = self._submit(prepared, loaded, call, place)
        return await self._answer(prepared, loaded, ticket, call)

    async def open_stream(
        self, first: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> EncodeStream:
        """Begin a stream with its first message: the model that it resolves to computes the whole of it.

        Args:
            first: decoded, unchecked; `NO_CELLS` where it brings none.
            call: the open call; model and phases are filled in.
            model: name; None: the only model.
            version: None: the highest.

        Raises:
            ServiceError: for the model, or for what the first message says of all cells.
        """
        loaded = self._resolve(call, model, version)
        with call.phase("decode"):
            heavy = first.nbytes + call.n_bytes > HEAVY_BYTES
            return await off_loop_if(heavy, EncodeStream, first, loaded, self.limits)

    async def hold_message(self, n_bytes: int, call: Call) -> None:
        """Count a later message of a stream among those that are held, until `encode_slice` has answered it.

        The first message may be refused by `Call.hold`; a later one waits for room, as a slice waits for the queue.

        Raises:
            ServiceError: DEADLINE.
        """
        await self._in_time(self._once_there_is_room(functools.partial(call.hold, n_bytes)), call)

    async def admit_slice(self, piece: StreamSlice, call: Call) -> AdmittedSlice:
        """Check a slice of a stream and queue it as one request. What is admitted must go to `encode_slice` at once.

        A full queue refuses a request, but a slice waits for it: its caller could come again only by giving up the
        stream. It tries again after the time that the refusal tells, until the call's deadline. A stream whose next
        slice is read only then has no more than one outside the queue's bounds, and slows its caller down.

        Args:
            piece: of a stream that was opened with this call.
            call: cells and phases are added to it.

        Raises:
            ServiceError: of any kind but OVERLOADED.
        """
        request, loaded = piece.request, piece.stream.model
        call.n_cells += request.n_cells
        with call.phase("decode"):
            held = request.nbytes + piece.n_bytes
            prepared = await off_loop_if(held > HEAVY_BYTES, piece.prepare, self.limits, held_bytes=held)
        _tell_coverage(prepared, call)
        with call.phase("queue"):
            admitting = self._once_there_is_room(functools.partial(self._submit, prepared, loaded, call))
            return AdmittedSlice(prepared, loaded, await self._in_time(admitting, call), piece.n_bytes)

    async def encode_slice(self, admitted: AdmittedSlice, call: Call) -> EncodeReply:
        """Wait for the answer to a slice. Cancelling the task withdraws its cells from the queue.

        Raises:
            ServiceError: of any kind but OVERLOADED.
        """
        try:
            return await self._answer(admitted.prepared, admitted.model, admitted.ticket, call)
        finally:
            call.release(admitted.n_bytes)

    async def validate(
        self, request: EncodeRequest, call: Call, *, model: str | None = None, version: str | None = None
    ) -> ValidationReport:
        """Check a request as `encode` would, without computing it.

        Raises:
            ServiceError: what `encode` would refuse the request with.
        """
        loaded = self._resolve(call, model, version)
        prepared = await self._prepare(request, loaded, call)
        if call.deadline_s is not None and call.deadline_s <= self._clock():
            raise ServiceError(ErrorKind.DEADLINE, _LATE)
        return ValidationReport(
            model=loaded.name,
            model_version=loaded.version,
            n_cells=prepared.n_cells,
            genes=prepared.gene_coverage,
            proteins=prepared.protein_coverage,
            warnings=prepared.notices,
        )

    def cards(self) -> list[ModelCard]:
        """The card of each served model, by name."""
        self._refuse_before_start()
        return self._catalog.cards()

    def card(self, model: str, version: str | None = None) -> ModelCard:
        """The card of one model.

        Raises:
            ServiceError: NOT_FOUND, listing what there is.
        """
        self._refuse_before_start()
        return self._catalog.card(model, version)

    def activity(self) -> Activity:
        """What the service does now, and did over the last minutes; told in every state."""
        batcher = self._batcher
        return self._recent.activity(
            state=self.health.state,
            queue=Queue(
                cells=batcher.n_waiting_cells,
                limit_cells=batcher.limits.max_queue_cells,
                bytes=batcher.n_waiting_bytes,
                limit_bytes=batcher.limits.max_queue_bytes,
            ),
        )

    def repository_index(self, ready: bool = False) -> list[ModelState]:
        """Every version that is served or was tried, by name and version; `ready`: only those that are served."""
        return self.repository.index(ready)

    async def load_model(self, name: str) -> None:
        """Load a model's versions afresh, for a caller, and switch to them if all of them can be loaded.

        Raises:
            ServiceError: FORBIDDEN unless the service allows it on callers' ports; else as `Repository.load`.
        """
        self._refuse_unless_allowed()
        await self.repository.load(name)

    async def unload_model(self, name: str) -> None:
        """Serve a model no more, for a caller.

        Raises:
            ServiceError: FORBIDDEN unless the service allows it on callers' ports; else as `Repository.unload`.
        """
        self._refuse_unless_allowed()
        await self.repository.unload(name)

    def _refuse_unless_allowed(self) -> None:
        if not self._repository_api:
            text = "callers may not load or unload models here; an operator may, or set --repository-api on"
            raise ServiceError(ErrorKind.FORBIDDEN, text)

    def _refuse_before_start(self) -> None:
        if not self.health.started:
            raise ServiceError(ErrorKind.UNAVAILABLE, "the models are still being loaded; try again", retry_after_s=1.0)

    def _reserve(self, request: EncodeRequest, call: Call) -> Place:
        """Keep room for a request while it is checked, so that a full queue refuses it before that and at once.

        The place is empty for one that has more cells than a request may have, or than its bytes can hold: those are
        other refusals.
        """
        n_cells = request.n_cells
        if n_cells > min(self.limits.max_request_cells, request.gene_counts.nbytes):
            n_cells = 0
        return self._batcher.reserve(n_cells, request.nbytes + call.n_bytes if n_cells else 0, call.priority)

    async def _prepare(self, request: EncodeRequest, loaded: LoadedModel, call: Call) -> PreparedRequest:
        """Hold a request against its model."""
        call.n_cells = request.n_cells
        with call.phase("decode"):
            held = request.nbytes + call.n_bytes
            if self._gathering is not None and held <= MOST_BYTES:
                prepared = await self._in_time(self._gathering.prepare(Asked(request, loaded, held)), call)
            else:
                prepared = await off_loop_if(held > HEAVY_BYTES, prepare, request, loaded, self.limits, held_bytes=held)
        _tell_coverage(prepared, call)
        return prepared

    def _resolve(self, call: Call, model: str | None, version: str | None) -> LoadedModel:
        """Find the model, and put it on the call."""
        self._refuse_before_start()
        loaded = self._catalog.resolve(model, version)
        call.model, call.model_version = loaded.name, loaded.version
        return loaded

    def _submit(
        self, prepared: PreparedRequest, loaded: LoadedModel, call: Call, place: Place | None = None
    ) -> Ticket[LatentParams]:
        """Queue a request, or refuse it."""
        if call.trace is not None:
            prepared = dataclasses.replace(prepared, queued=(call.trace, self._clock()))
        return self._batcher.submit(
            prepared, key=loaded, deadline_s=call.deadline_s, priority=call.priority, place=place
        )

    async def _once_there_is_room(self, attempt: Callable[[], T]) -> T:
        """Do what may find no room, again and again until it finds some."""
        while True:
            try:
                return attempt()
            except ServiceError as error:
                if error.kind is not ErrorKind.OVERLOADED or error.retry_after_s is None:
                    raise
                retry_after_s = error.retry_after_s
            await self._sleep(retry_after_s)

    async def _answer(
        self, prepared: PreparedRequest, loaded: LoadedModel, ticket: Ticket[LatentParams], call: Call
    ) -> EncodeReply:
        """What follows once a request is in the queue."""
        params = await self._posterior(ticket, loaded, call)
        with call.phase("encode"):
            return await self._compose(prepared, params, loaded, call)

    async def _posterior(self, ticket: Ticket[LatentParams], loaded: LoadedModel, call: Call) -> LatentParams:
        """Wait, join the slices. A caller that leaves or whose time is up gives its place in the queue back."""
        since_s = 0.0 if call.trace is None else self._clock()
        try:
            parts = await self._in_time(ticket.future, call)
        except BaseException:
            if call.trace is not None and not ticket.queue_s:
                call.trace.waited(since_s)
            raise
        finally:
            # After a normal end this does nothing.
            ticket.cancel()
            call.spend("queue", ticket.queue_s)
            call.spend("compute", ticket.compute_s)
        return LatentParams.concatenate(parts) if parts else LatentParams.empty(loaded.spec.n_latent)

    async def _compose(
        self, prepared: PreparedRequest, params: LatentParams, loaded: LoadedModel, call: Call
    ) -> EncodeReply:
        """Build the answer; work in a thread cannot be interrupted, so it asks whether it is still wanted."""
        if _reply_bytes(prepared, loaded) <= HEAVY_BYTES:
            return compose_reply(prepared, params, loaded)
        abandoned = threading.Event()
        try:
            composing = asyncio.to_thread(compose_reply, prepared, params, loaded, abandoned.is_set)
            return await self._in_time(composing, call)
        finally:
            abandoned.set()

    async def _in_time(self, awaited: Awaitable[T], call: Call) -> T:
        """Wait for it, and interrupt it once the caller's time is up."""
        if call.deadline_s is None:
            return await awaited
        try:
            async with asyncio.timeout(call.deadline_s - self._clock()):
                return await awaited
        except TimeoutError:
            raise ServiceError(ErrorKind.DEADLINE, _LATE) from None


def _tell_coverage(prepared: PreparedRequest, call: Call) -> None:
    call.gene_coverage = prepared.gene_coverage.coverage
    call.protein_coverage = prepared.protein_coverage.coverage


def _reply_bytes(prepared: PreparedRequest, loaded: LoadedModel) -> int:
    """About what composing the answer touches: a mean of softmax costs like some hundred draws."""
    draws = prepared.n_samples
    if loaded.spec.latent_distribution == "ln" and Output.Z in prepared.outputs:
        draws += 100
    return draws * prepared.n_cells * (loaded.spec.n_latent + 1) * 4
