"""What OpenTelemetry is told of calls and computations that have ended, as its spans.

Spans are made here from plain numbers, on the thread that sends them, and not while a call runs: its own way of making
five of them takes as long as encoding a cell.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from service.core.errors import ErrorKind

DISTRIBUTION = "totalvi-serve"
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
FAULTS = frozenset(kind.value for kind in (ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE))
"""Outcomes that are an error of the server; what the caller could have known is none."""

_CLOCK_WAS_SET_NS = 1_000_000
_UNSET = Status(StatusCode.UNSET)


class Interval(NamedTuple):
    """A part of a call.

    Attributes:
        phase: its name.
        start_ns: monotonic nanoseconds, as all times here.
        end_ns: likewise.
        n_cells: that were computed; 0: of all other phases.
        batch: the computation that did it; None: of all other phases.
    """

    phase: str
    start_ns: int
    end_ns: int
    n_cells: int = 0
    batch: SpanContext | None = None


class EndedCall(NamedTuple):
    """A call that has ended.

    Attributes:
        context: of its span.
        parent: of its span; None: the trace begins here.
        name: of its span.
        attributes: of its span.
        start_ns: of the call.
        end_ns: of the call.
        intervals: its parts.
    """

    context: SpanContext
    parent: SpanContext | None
    name: str
    attributes: Mapping[str, str | int]
    start_ns: int
    end_ns: int
    intervals: Sequence[Interval]


class EndedBatch(NamedTuple):
    """A computation that has ended.

    Attributes:
        context: of its span, in a trace of its own.
        attributes: of its span.
        start_ns: of the computation.
        end_ns: of it.
        calls: the spans of the calls whose cells were in it, with the cells of each.
        error: name of what it failed with; empty: it did not.
    """

    context: SpanContext
    attributes: Mapping[str, str | int]
    start_ns: int
    end_ns: int
    calls: Sequence[tuple[SpanContext, int]]
    error: str


Ended: TypeAlias = EndedCall | EndedBatch


class Ids:
    """Makes the ids of spans."""

    def __init__(self) -> None:
        # Not the module's, which a library may have seeded.
        self._random = random.Random()

    def root(self) -> SpanContext:
        """A span that begins a trace."""
        return SpanContext(self._random.getrandbits(128) or 1, self._span(), False, SAMPLED)

    def child(self, parent: SpanContext) -> SpanContext:
        """A span in the trace of another, whose state it takes over."""
        return SpanContext(parent.trace_id, self._span(), False, SAMPLED, parent.trace_state)

    def _span(self) -> int:
        return self._random.getrandbits(64) or 1


class SpanMaker:
    """Makes the spans of what has ended.

    Args:
        version: of the program.
        ids: of the spans below those of calls.
        wall_ns: nanoseconds since 1970.
    """

    def __init__(self, version: str, ids: Ids, *, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._ids = ids
        self._wall_ns = wall_ns
        self._offset_ns = 0
        self._scope = InstrumentationScope(DISTRIBUTION, version)
        # With OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
        told = Resource.create()
        own = {"service.version": version}
        if str(told.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
            own["service.name"] = DISTRIBUTION
        self._resource = told.merge(Resource(own))

    def spans(self, ended: Ended) -> Iterator[ReadableSpan]:
        """The spans of a call, with those of its parts before it, or the one of a computation."""
        self._set_offset()
        if isinstance(ended, EndedBatch):
            yield self._of_batch(ended)
            return
        for interval in ended.intervals:
            yield self._of_interval(interval, ended.context)
        outcome = str(ended.attributes.get("totalvi.outcome", ""))
        faulty = outcome in FAULTS
        yield ReadableSpan(
            ended.name,
            ended.context,
            ended.parent,
            self._resource,
            {**ended.attributes, "error.type": outcome} if faulty else ended.attributes,
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR) if faulty else _UNSET,
            start_time=ended.start_ns + self._offset_ns,
            end_time=ended.end_ns + self._offset_ns,
            instrumentation_scope=self._scope,
        )

    def _set_offset(self) -> None:
        """What turns monotonic time into that of the day, the same for all spans unless the day's clock was set."""
        offset_ns = self._wall_ns() - time.monotonic_ns()
        if abs(offset_ns - self._offset_ns) > _CLOCK_WAS_SET_NS:
            self._offset_ns = offset_ns

    def _of_interval(self, interval: Interval, call: SpanContext) -> ReadableSpan:
        links = () if interval.batch is None else (Link(interval.batch),)
        return ReadableSpan(
            interval.phase,
            self._ids.child(call),
            call,
            self._resource,
            {"totalvi.cells": interval.n_cells} if interval.n_cells else {},
            links=links,
            status=_UNSET,
            start_time=interval.start_ns + self._offset_ns,
            end_time=interval.end_ns + self._offset_ns,
            instrumentation_scope=self._scope,
        )

    def _of_batch(self, batch: EndedBatch) -> ReadableSpan:
        return ReadableSpan(
            "compute batch",
            batch.context,
            None,
            self._resource,
            {**batch.attributes, "error.type": batch.error} if batch.error else batch.attributes,
            links=[Link(call, {"totalvi.cells": n_cells}) for call, n_cells in batch.calls],
            status=Status(StatusCode.ERROR) if batch.error else _UNSET,
            start_time=batch.start_ns + self._offset_ns,
            end_time=batch.end_ns + self._offset_ns,
            instrumentation_scope=self._scope,
        )
