"""What the core tells whoever counts: one record per call, one per batch."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypeAlias

from service.core.caller import CALLER
from service.core.errors import ErrorKind, ServiceError

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
        model: name once resolved.
        model_version: version once resolved.
        n_cells: cells once decoded.
        n_bytes: of the message, decompressed; the caller's side of what the call holds in memory.
        phase_s: seconds spent by phase.
        outcome: `ok` or the value of an `ErrorKind`.
        caller: name of the caller's token; empty where no token was asked for.
    """

    transport: str
    operation: str
    request_id: str
    started_s: float
    deadline_s: float | None = None
    model: str = ""
    model_version: str = ""
    n_cells: int = 0
    n_bytes: int = 0
    phase_s: dict[Phase, float] = dataclasses.field(default_factory=dict)
    outcome: str = "ok"
    caller: str = dataclasses.field(default_factory=CALLER.get)

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time one phase; a phase entered twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spend(name, time.perf_counter() - start)

    def spend(self, name: Phase, seconds: float) -> None:
        """Add to the time of one phase."""
        self.phase_s[name] = self.phase_s.get(name, 0.0) + seconds

    @property
    def server_timing(self) -> str:
        """The phases as a `Server-Timing` header, in milliseconds."""
        return ", ".join(f"{name};dur={self.phase_s[name] * 1000:.3f}" for name in PHASES if name in self.phase_s)


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


def outcome_of(error: BaseException) -> ErrorKind:
    """The kind under which an exception is counted and answered."""
    if isinstance(error, ServiceError):
        return error.kind
    # A caller that left shows as CancelledError (a BaseException): a normal outcome, no fault of ours.
    return ErrorKind.INTERNAL if isinstance(error, Exception) else ErrorKind.CANCELLED


@contextlib.contextmanager
def recorded(recorder: Recorder, call: Call, clock: Callable[[], float] = time.monotonic) -> Iterator[Call]:
    """Record one call, however it ends; an exception passes through unchanged.

    What counts as internal is logged here with its traceback, under the call's request id.
    """
    recorder.call_started(call)
    try:
        yield call
    except BaseException as error:
        kind = outcome_of(error)
        call.outcome = kind.value
        if kind is ErrorKind.INTERNAL:
            # The caller is told that the log has it under this id; of a failed batch the cause is in the chain.
            log.exception("call failed", extra={"request_id": call.request_id})
        raise
    finally:
        recorder.call_finished(call, clock() - call.started_s)
