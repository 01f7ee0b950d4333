"""Traces calls and the computations that they share, by OpenTelemetry. Loaded only where traces are wanted."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import cast

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from model.contract import LatentParams
from service.core.batch import Batch
from service.core.catalog import LoadedModel
from service.core.preparation import PreparedRequest
from service.core.tracing import Carried
from service.outbox import GATHER_S, Outbox
from service.spans import SAMPLED, EndedBatch, EndedCall, Ids, Interval, SpanMaker

log = logging.getLogger(__name__)

MOST_INTERVALS = 128
"""Of one call that are kept: a stream may go on for hours."""

LONGEST_STATE = 512
"""Characters of a `tracestate` that are kept, as many as W3C asks for; of a longer one, nothing."""

SAME_NS = 1_000_000
"""A phase that is entered again so soon goes on: what is between has no name of its own."""

Run = Callable[[Batch[PreparedRequest, LatentParams]], list[LatentParams]]


class RecordedCall:
    """A `CallTrace`, as plain numbers until the call has ended."""

    __slots__ = ("_intervals", "_n_left_out", "_outbox", "_parent", "_start_ns", "context")

    def __init__(self, context: SpanContext, parent: SpanContext | None, outbox: Outbox) -> None:
        self.context = context
        self._parent = parent
        self._outbox = outbox
        self._start_ns = time.monotonic_ns()
        self._intervals: list[Interval] = []
        self._n_left_out = 0

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.context.trace_id:032x}"

    @property
    def answer(self) -> str:
        """As `traceparent` would name the call's span."""
        return f"00-{self.trace_id}-{self.context.span_id:016x}-{self.context.trace_flags:02x}"

    def spent(self, phase: str, seconds: float) -> None:
        """A phase that took so long ends now."""
        end_ns = time.monotonic_ns()
        self.add(Interval(phase, end_ns - int(seconds * 1e9), end_ns))

    def waited(self, since_s: float) -> None:
        """Cells leave the queue that are not computed."""
        self.add(Interval("queue", int(since_s * 1e9), time.monotonic_ns()))

    def left_queue(self, since_ns: int, now_ns: int) -> None:
        """The first cells of a request are computed; a batch that is tried again in halves tells it again."""
        if not any(part.phase == "queue" and part.start_ns == since_ns for part in self._intervals):
            self.add(Interval("queue", since_ns, now_ns))

    def add(self, interval: Interval) -> None:
        """Take one part of the call, as far as there is room."""
        # The worker may add one of its own at any moment: what is replaced is told by its place.
        place = len(self._intervals) - 1
        last = None if place < 0 else self._intervals[place]
        if (
            last is not None
            and last.batch is interval.batch is None
            and last.phase == interval.phase
            and abs(interval.start_ns - last.end_ns) < SAME_NS
        ):
            self._intervals[place] = Interval(last.phase, last.start_ns, max(last.end_ns, interval.end_ns))
        elif len(self._intervals) < MOST_INTERVALS:
            self._intervals.append(interval)
        else:
            self._n_left_out += 1

    def end(self, name: str, attributes: Mapping[str, str | int]) -> None:
        """The call ends now."""
        if self._n_left_out:
            attributes = {**attributes, "totalvi.spans_left_out": self._n_left_out}
        # Of a caller that left, the worker may still be at work.
        intervals = tuple(self._intervals)
        end_ns = time.monotonic_ns()
        self._outbox.put(EndedCall(self.context, self._parent, name, attributes, self._start_ns, end_ns, intervals))


class Tracing:
    """A `Tracer`: W3C `traceparent` in, spans out.

    A caller's decision to record is followed; of calls that come without one, a share is recorded.

    Args:
        exporter: sends spans.
        ratio: the share.
        version: of the program.
        destination: for the log.
        gather_s: that a span waits for company before it is sent.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        ratio: float,
        version: str,
        destination: str,
        gather_s: float = GATHER_S,
    ) -> None:
        self.destination = destination
        self._ratio = ratio
        self._ids = Ids()
        self._random = random.Random()
        self._propagator = TraceContextTextMapPropagator()
        maker = SpanMaker(version, self._ids)
        self._outbox = Outbox(exporter, maker, destination=destination, gather_s=gather_s)

    def start(self) -> None:
        """Begin to send."""
        self._outbox.start()

    def close(self, timeout_s: float) -> bool:
        """Send what is left; False: not all of it within `timeout_s`."""
        return self._outbox.close(timeout_s)

    def begin(self, carried: Carried) -> RecordedCall | None:
        """The trace of a call that arrives now; None: it is not recorded."""
        try:
            parent = self._parent(carried)
            if parent is None:
                if self._random.random() >= self._ratio:
                    return None
                return RecordedCall(self._ids.root(), None, self._outbox)
            if not parent.trace_flags & SAMPLED:
                return None
            return RecordedCall(self._ids.child(parent), parent, self._outbox)
        except Exception:
            log.exception("a call could not be traced")
            return None

    def traced(self, run: Run) -> Run:
        """The same computation of a batch, told to the calls that have cells in it, and linked with them."""

        @functools.wraps(run)
        def run_and_tell(batch: Batch[PreparedRequest, LatentParams]) -> list[LatentParams]:
            if not any(piece.item.queued for piece in batch.slices):
                return run(batch)
            start_ns = time.monotonic_ns()
            error = ""
            try:
                return run(batch)
            except BaseException as failure:
                error = type(failure).__name__
                raise
            finally:
                self._tell(batch, start_ns, error)

        return run_and_tell

    def _parent(self, carried: Carried) -> SpanContext | None:
        """The caller's span; None where it names none, or in a way that is not the standard's."""
        given = carried("traceparent")
        if len(given) != 1:
            return None
        state = ",".join(carried("tracestate"))
        headers = {"traceparent": given[0], "tracestate": state if len(state) <= LONGEST_STATE else ""}
        parent = get_current_span(self._propagator.extract(headers, Context())).get_span_context()
        return parent if parent.is_valid else None

    def _tell(self, batch: Batch[PreparedRequest, LatentParams], start_ns: int, error: str) -> None:
        try:
            end_ns = time.monotonic_ns()
            context = self._ids.root()
            calls: list[tuple[SpanContext, int]] = []
            for piece in batch.slices:
                if piece.item.queued is None:
                    continue
                trace, queued_s = cast("tuple[RecordedCall, float]", piece.item.queued)
                if piece.start == 0:
                    trace.left_queue(int(queued_s * 1e9), start_ns)
                trace.add(Interval("compute", start_ns, end_ns, piece.n_cells, context))
                calls.append((trace.context, piece.n_cells))
            model = cast(LoadedModel, batch.key)
            attributes: dict[str, str | int] = {
                "totalvi.model": model.name,
                "totalvi.model_version": model.version,
                "totalvi.cells": batch.n_cells,
                "totalvi.entries": batch.n_entries,
                "totalvi.requests": len(batch.slices),
            }
            self._outbox.put(EndedBatch(context, attributes, start_ns, end_ns, calls, error))
        except Exception:
            log.exception("a batch could not be traced")


def build_tracing(endpoint: str, *, ratio: float, version: str) -> Tracing:
    """Tracing that sends to an OTLP collector over HTTP.

    Args:
        endpoint: its address; without a path, the standard's for traces is added.
        ratio: the share of calls that are recorded, of those that come without a trace of their own.
        version: of the program.
    """
    scheme, _, rest = endpoint.partition("://")
    host, _, path = rest.partition("/")
    url = f"{scheme}://{host}/{path or 'v1/traces'}"
    tracing = Tracing(OTLPSpanExporter(url), ratio=ratio, version=version, destination=url)
    # Only now, for it has warned of those of its variables that it cannot read. Of what is not sent the outbox tells,
    # and less often.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return tracing
