"""What the core tells whoever counts: one record per call, one per batch."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

from service.core.admission import ByteGate
from service.core.caller import CALLER
from service.core.errors import Bound, ErrorKind, ServiceError
from service.core.priority import Priority
from service.core.tracing import CallTrace

Phase: TypeAlias = Literal["decode", "queue", "compute", "encode"]
PHASES: tuple[Phase, ...] = ("decode", "queue", "compute", "encode")

log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class Call:
    """One call from arrival to answer, as it fills up on its way; of a stream cells, bytes and phases are sums.

    Attributes:
        transport: `rest` or `grpc`.
        operation: `encode`, `encode_stream`, `validate`, …
        request_id: taken from the caller or made.
        started_s: monotonic seconds at arrival.
        deadline_s: monotonic seconds after which the caller no longer waits; None: it waits for ever.
        priority: whose turn its cells take in the queue.
        model: name once resolved.
        model_version: version once resolved.
        n_cells: cells once decoded.
        n_bytes: of the message, decompressed; the caller's side of what the call holds in memory.
        phase_s: seconds spent by phase.
        bodies: where the bytes that it holds are counted; None: nowhere.
        held_bytes: of its bodies in memory.
        outcome: `ok` or the value of an `ErrorKind`.
        status: of the transport, as its callers know it: `200`, `OK`; empty where nobody was answered.
        bound: what was full, where the outcome is `overloaded`.
        gene_coverage: share of the model's genes that the request has, from 0 to 1; None: it never came to that.
        protein_coverage: of its proteins.
        caller: name of the caller's token; empty where no token was asked for.
        trace: told of its phases; None: nobody traces it.
        trace_id: of the trace, 32 hexadecimal digits; None: nobody traces it.
    """

    transport: str
    operation: str
    request_id: str
    started_s: float
    deadline_s: float | None = None
    priority: Priority = Priority.INTERACTIVE
    model: str = ""
    model_version: str = ""
    n_cells: int = 0
    n_bytes: int = 0
    phase_s: dict[Phase, float] = dataclasses.field(default_factory=dict)
    bodies: ByteGate | None = None
    held_bytes: int = 0
    outcome: str = "ok"
    status: str = ""
    bound: Bound | None = None
    gene_coverage: float | None = None
    protein_coverage: float | None = None
    caller: str = dataclasses.field(default_factory=CALLER.get)
    trace: CallTrace | None = None
    trace_id: str | None = None

    def expect(self, n_bytes: int) -> None:
        """Refuse a body of that size at once where there is no room for it now; nothing is held yet.

        Raises:
            ServiceError: OVERLOADED.
        """
        if self.bodies is not None:
            self.bodies.check(n_bytes, own=self.held_bytes)

    def hold(self, n_bytes: int) -> None:
        """Count bytes that have come into memory, until they are released or the call ends.

        Raises:
            ServiceError: OVERLOADED, where there is no room; then they are not counted.
        """
        if self.bodies is not None:
            self.bodies.check(n_bytes, own=self.held_bytes)
            self.bodies.held += n_bytes
            self.held_bytes += n_bytes

    def release(self, n_bytes: int) -> None:
        """Give up bytes that it held."""
        if self.bodies is not None:
            self.bodies.held -= n_bytes
            self.held_bytes -= n_bytes

    def phase(self, name: Phase) -> Timed:
        """Time one phase, as a context; a phase entered twice adds up."""
        return Timed(self, name)

    def spend(self, name: Phase, seconds: float) -> None:
        """Add to the time of one phase."""
        self.phase_s[name] = self.phase_s.get(name, 0.0) + seconds

    def end_trace(self, name: str, attributes: Mapping[str, str | int]) -> None:
        """Tell its trace, where there is one, how it was answered; after it is recorded.

        Args:
            name: of the call, one of few.
            attributes: what the transport knows of it.
        """
        if self.trace is None:
            return
        own: dict[str, str | int] = {"totalvi.outcome": self.outcome, "totalvi.request_id": self.request_id}
        if self.model:
            own |= {"totalvi.model": self.model, "totalvi.model_version": self.model_version}
        if self.n_cells:
            own["totalvi.cells"] = self.n_cells
        self.trace.end(name, {**attributes, **own})

    @property
    def server_timing(self) -> str:
        """The phases as a `Server-Timing` header, in milliseconds."""
        return ", ".join(f"{name};dur={self.phase_s[name] * 1000:.3f}" for name in PHASES if name in self.phase_s)


class Timed:
    """The time that one phase of a call takes."""

    __slots__ = ("_call", "_name", "_start_s")

    def __init__(self, call: Call, name: Phase) -> None:
        self._call = call
        self._name = name

    def __enter__(self) -> None:
        """Begin."""
        self._start_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        """Add what it took."""
        seconds = time.perf_counter() - self._start_s
        self._call.spend(self._name, seconds)
        if self._call.trace is not None:
            self._call.trace.spent(self._name, seconds)


class Recorder(Protocol):
    """Counts calls, batches and the queue. Its methods are cheap, never raise, and may be called from any thread."""

    def call_started(self, call: Call) -> None:
        """A call arrived."""
        ...

    def call_finished(self, call: Call, duration_s: float) -> None:
        """A call was answered, refused, failed or abandoned; `call` is complete."""
        ...

    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        """The worker ran one batch."""
        ...

    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        """The queue now holds this much."""
        ...


class NullRecorder:
    """Counts nothing."""

    def call_started(self, call: Call) -> None:
        """Ignore it."""

    def call_finished(self, call: Call, duration_s: float) -> None:
        """Ignore it."""

    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        """Ignore it."""

    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        """Ignore it."""


class Recorders:
    """Tells two recorders; each event twice is all that it costs."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Recorder, second: Recorder) -> None:
        self._first = first
        self._second = second

    def call_started(self, call: Call) -> None:
        """A call arrived."""
        self._first.call_started(call)
        self._second.call_started(call)

    def call_finished(self, call: Call, duration_s: float) -> None:
        """A call ended."""
        self._first.call_finished(call, duration_s)
        self._second.call_finished(call, duration_s)

    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        """The worker ran one batch."""
        self._first.batch_computed(n_cells, n_entries, seconds)
        self._second.batch_computed(n_cells, n_entries, seconds)

    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        """The queue now holds this much."""
        self._first.queue_changed(n_cells, n_bytes)
        self._second.queue_changed(n_cells, n_bytes)


def outcome_of(error: BaseException) -> ErrorKind:
    """The kind under which an exception is counted and answered."""
    if isinstance(error, ServiceError):
        return error.kind
    # A caller that left shows as CancelledError (a BaseException): a normal outcome, no fault of ours.
    return ErrorKind.INTERNAL if isinstance(error, Exception) else ErrorKind.CANCELLED


class Recorded:
    """Records one call, however it ends, as a context; an exception passes through unchanged.

    What counts as internal is logged here with its traceback, under the call's request id.
    """

    __slots__ = ("_call", "_clock", "_recorder")

    def __init__(self, recorder: Recorder, call: Call, clock: Callable[[], float] = time.monotonic) -> None:
        self._recorder = recorder
        self._call = call
        self._clock = clock

    def __enter__(self) -> Call:
        """The call has arrived."""
        self._recorder.call_started(self._call)
        return self._call

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """The call has ended."""
        call = self._call
        if error is not None:
            kind = outcome_of(error)
            call.outcome = kind.value
            call.bound = getattr(error, "bound", None)
            if kind is ErrorKind.INTERNAL:
                # The caller is told that the log has it under this id; of a failed batch the cause is in the chain.
                log.error("call failed", exc_info=error, extra={"request_id": call.request_id})
        call.release(call.held_bytes)
        self._recorder.call_finished(call, self._clock() - call.started_s)
