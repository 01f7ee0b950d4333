"""Prometheus counts of calls, batches and the queue, and the one log line of each call."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, ParamSpec

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from service import tallies
from service.core.recorder import Call

log = logging.getLogger(__name__)
access = logging.getLogger("totalvi.access")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PHASE_SECONDS = (0.0001, 0.00025, 0.0005, *SECONDS)
CELLS = tuple(float(1 << power) for power in range(0, 15))
ENTRIES = tuple(float(1 << power) for power in range(8, 24, 2))
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The form that has exemplars; Prometheus asks for it."""

P = ParamSpec("P")


def _guarded(method: Callable[P, None]) -> Callable[P, None]:
    """A method that loses a count rather than a call."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            log.exception("a record was lost")

    return guarded


class PrometheusRecorder(Collector):
    """A `Recorder` on a registry of its own; safe from any thread, and none of its methods raises.

    Label values are bounded: transport, operation, outcome, bound and phase are words of our code, model and version
    are set only once the server has resolved them, and a metric has at most `tallies.MOST_SERIES` of its own.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        calls = ("transport", "operation", "model", "version", "outcome")
        self._requests = tallies.Counter("totalvi_requests_total", "Calls that ended, by how.", calls)
        self._duration = tallies.Histogram(
            "totalvi_request_duration_seconds", "From a call's arrival to its answer.", SECONDS, calls[:2]
        )
        self._in_flight = tallies.Level("totalvi_requests_in_flight", "Calls not yet answered.", ("transport",))
        self._refusals = tallies.Counter(
            "totalvi_refusals_total", "Calls that were refused as overload, by what was full.", ("transport", "bound")
        )
        self._phases = tallies.Histogram(
            "totalvi_phase_duration_seconds", "Where a call's time went.", PHASE_SECONDS, ("phase",)
        )
        self._cells = tallies.Counter(
            "totalvi_cells_total", "Cells computed for calls that ended well.", ("transport", "model", "version")
        )
        self._coverage = tallies.Histogram(
            "totalvi_coverage_ratio", "Share of the model's columns that a call has.", SHARES, ("model", "columns")
        )
        self._batch_cells = tallies.Histogram("totalvi_batch_cells", "Cells of a computation.", CELLS)
        self._batch_entries = tallies.Histogram(
            "totalvi_batch_entries", "Non-zero gene counts of a computation.", ENTRIES
        )
        self._batch_duration = tallies.Histogram("totalvi_batch_duration_seconds", "One computation.", PHASE_SECONDS)
        self._queue_cells = tallies.Level("totalvi_queue_cells", "Cells that wait, of both priorities.")
        self._queue_bytes = tallies.Level("totalvi_queue_bytes", "Memory of the cells that wait, of both priorities.")
        self._tallies: tuple[tallies.Tally, ...] = (
            self._requests,
            self._duration,
            self._in_flight,
            self._refusals,
            self._phases,
            self._cells,
            self._coverage,
            self._batch_cells,
            self._batch_entries,
            self._batch_duration,
            self._queue_cells,
            self._queue_bytes,
        )
        self._readings: list[tallies.Reading] = []
        self._lock = threading.Lock()
        self._n_in_flight = 0
        registry.register(self)
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.PlatformCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)

    def collect(self) -> Iterator[Metric]:
        """What has been counted, and what is read from other parts: asked for by the registry."""
        with self._lock:
            counted = [tally.family() for tally in self._tallies]
        yield from counted
        # Without the lock: they may wait for others' own.
        for reading in self._readings:
            yield reading.family()

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics now, and their content type: with exemplars for those that `accept` OpenMetrics."""
        if "application/openmetrics-text" in accept:
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return text, OPEN_METRICS
        return prometheus_client.generate_latest(self.registry), TEXT

    def watch(
        self,
        name: str,
        text: str,
        read: Callable[[], float | tallies.ByLabels],
        labels: tallies.Labels = (),
    ) -> None:
        """Tell numbers that another part keeps, read whenever somebody asks; see `tallies.Reading`."""
        self._readings.append(tallies.Reading(name, text, read, labels))

    @property
    def told(self) -> tuple[tallies.Tally, ...]:
        """All metrics but those that the client library itself tells of the process."""
        return (*self._tallies, *self._readings)

    @property
    def n_in_flight(self) -> int:
        """Calls not yet answered, of all transports."""
        return self._n_in_flight

    @_guarded
    def call_started(self, call: Call) -> None:
        """Count the call as in flight."""
        with self._lock:
            self._n_in_flight += 1
            self._in_flight.add(1, (call.transport,))

    @_guarded
    def call_finished(self, call: Call, duration_s: float) -> None:
        """Count how the call ended and where its time went, and log its one line."""
        transport, model, version = call.transport, call.model, call.model_version
        with self._lock:
            self._n_in_flight -= 1
            self._in_flight.add(-1, (transport,))
            self._requests.add(1, (transport, call.operation, model, version, call.outcome))
            self._duration.observe(duration_s, (transport, call.operation), call.trace_id)
            for phase, seconds in call.phase_s.items():
                self._phases.observe(seconds, (phase,))
            if call.gene_coverage is not None:
                self._coverage.observe(call.gene_coverage, (model, "genes"))
            if call.protein_coverage is not None:
                self._coverage.observe(call.protein_coverage, (model, "proteins"))
            if call.outcome == "ok" and "compute" in call.phase_s:
                self._cells.add(call.n_cells, (transport, model, version))
            if call.bound is not None:
                self._refusals.add(1, (transport, call.bound))
        if access.isEnabledFor(logging.INFO):
            # Not `info`, which would look for the line of code it was called from.
            access.handle(logging.makeLogRecord(_facts(call, duration_s)))

    @_guarded
    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        """Count one computation."""
        with self._lock:
            self._batch_cells.observe(n_cells)
            self._batch_entries.observe(n_entries)
            self._batch_duration.observe(seconds)

    @_guarded
    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        """Set what the queue holds."""
        # No lock: a number is replaced in one step, and the queue tells of its changes one after another.
        self._queue_cells.set(n_cells)
        self._queue_bytes.set(n_bytes)


def _facts(call: Call, duration_s: float) -> dict[str, Any]:
    """The record of the access log for a call: sizes and times, never counts."""
    facts: dict[str, Any] = {
        "name": access.name,
        "levelno": logging.INFO,
        "levelname": "INFO",
        "msg": f"{call.operation} {call.outcome}",
        "request_id": call.request_id,
        "transport": call.transport,
        "operation": call.operation,
        "model": call.model,
        "version": call.model_version,
        "priority": call.priority.value,
        "n_cells": call.n_cells,
        "n_bytes": call.n_bytes,
        "outcome": call.outcome,
        "status": call.status,
        "duration_ms": round(duration_s * 1000, 3),
        "phases_ms": {phase: round(seconds * 1000, 3) for phase, seconds in call.phase_s.items()},
    }
    if call.caller:
        facts["caller"] = call.caller
    if call.bound is not None:
        facts["bound"] = call.bound
    if call.trace_id is not None:
        facts["trace_id"] = call.trace_id
    return facts
