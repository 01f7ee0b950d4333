"""Prometheus counts of calls, batches and the queue, and the one log line of each call."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, ParamSpec

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.core.health import Health
from service.core.recorder import Call

log = logging.getLogger(__name__)
access = logging.getLogger("totalvi.access")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PHASE_SECONDS = (0.0001, 0.00025, 0.0005, *SECONDS)
CELLS = tuple(float(1 << power) for power in range(0, 15))
ENTRIES = tuple(float(1 << power) for power in range(8, 24, 2))

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


class PrometheusRecorder:
    """A `Recorder` on a registry of its own; safe from any thread, and none of its methods raises.

    Label values are bounded: transport, operation, outcome and phase are words of our code, model and version are set
    only once the server has resolved them.
    """

    def __init__(self, *, version: str, queue_capacity_cells: int, health: Health) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "totalvi_requests_total",
            "Calls that ended, by how.",
            ("transport", "operation", "model", "version", "outcome"),
            registry=registry,
        )
        self._duration = Histogram(
            "totalvi_request_duration_seconds",
            "From a call's arrival to its answer.",
            ("transport", "operation"),
            buckets=SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "totalvi_requests_in_flight", "Calls not yet answered.", ("transport",), registry=registry
        )
        self._phases = Histogram(
            "totalvi_phase_duration_seconds",
            "Where a call's time went.",
            ("phase",),
            buckets=PHASE_SECONDS,
            registry=registry,
        )
        self._cells = Counter(
            "totalvi_cells_total",
            "Cells computed for calls that ended well.",
            ("transport", "model", "version"),
            registry=registry,
        )
        self._batch_cells = Histogram(
            "totalvi_batch_cells", "Cells of a computation.", buckets=CELLS, registry=registry
        )
        self._batch_entries = Histogram(
            "totalvi_batch_entries", "Non-zero gene counts of a computation.", buckets=ENTRIES, registry=registry
        )
        self._batch_duration = Histogram(
            "totalvi_batch_duration_seconds", "One computation.", buckets=PHASE_SECONDS, registry=registry
        )
        self._queue_cells = Gauge("totalvi_queue_cells", "Cells that wait.", registry=registry)
        self._queue_bytes = Gauge("totalvi_queue_bytes", "Memory of the cells that wait.", registry=registry)
        self._queue_ratio = Gauge(
            "totalvi_queue_ratio", "Cells that wait over cells that may: what to scale by.", registry=registry
        )
        self._lock = threading.Lock()
        self._n_in_flight = 0
        self._capacity = queue_capacity_cells
        Gauge("totalvi_queue_capacity_cells", "Cells that may wait.", registry=registry).set(queue_capacity_cells)
        Gauge("totalvi_build_info", "1, for its labels.", ("version",), registry=registry).labels(version).set(1)
        ready = Gauge("totalvi_ready", "1 while new calls should be sent here.", registry=registry)
        ready.set_function(lambda: float(health.ready))
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.PlatformCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)

    def text(self) -> tuple[bytes, str]:
        """All metrics now, and their content type."""
        return prometheus_client.generate_latest(self.registry), prometheus_client.CONTENT_TYPE_LATEST

    @property
    def n_in_flight(self) -> int:
        """Calls not yet answered, of all transports."""
        return self._n_in_flight

    @_guarded
    def call_started(self, call: Call) -> None:
        """Count the call as in flight."""
        with self._lock:
            self._n_in_flight += 1
        self._in_flight.labels(call.transport).inc()

    @_guarded
    def call_finished(self, call: Call, duration_s: float) -> None:
        """Count how the call ended and where its time went, and log its one line."""
        with self._lock:
            self._n_in_flight -= 1
        self._in_flight.labels(call.transport).dec()
        self._requests.labels(call.transport, call.operation, call.model, call.model_version, call.outcome).inc()
        self._duration.labels(call.transport, call.operation).observe(duration_s)
        for phase, seconds in call.phase_s.items():
            self._phases.labels(phase).observe(seconds)
        if call.outcome == "ok" and "compute" in call.phase_s:
            self._cells.labels(call.transport, call.model, call.model_version).inc(call.n_cells)
        if access.isEnabledFor(logging.INFO):
            access.info("%s %s", call.operation, call.outcome, extra=_facts(call, duration_s))

    @_guarded
    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        """Count one computation."""
        self._batch_cells.observe(n_cells)
        self._batch_entries.observe(n_entries)
        self._batch_duration.observe(seconds)

    @_guarded
    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        """Set what the queue holds."""
        self._queue_cells.set(n_cells)
        self._queue_bytes.set(n_bytes)
        self._queue_ratio.set(n_cells / self._capacity)


def _facts(call: Call, duration_s: float) -> dict[str, Any]:
    """What the access log says of a call: sizes and times, never counts."""
    return {
        "request_id": call.request_id,
        "transport": call.transport,
        "operation": call.operation,
        "model": call.model,
        "version": call.model_version,
        "n_cells": call.n_cells,
        "outcome": call.outcome,
        "duration_ms": round(duration_s * 1000, 3),
        "phases_ms": {phase: round(seconds * 1000, 3) for phase, seconds in call.phase_s.items()},
    } | ({"caller": call.caller} if call.caller else {})
