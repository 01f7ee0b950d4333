"""What Prometheus is told of the parts of a server, read whenever it asks: none of it costs a call anything."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable

from service.core.admission import ByteGate
from service.core.batch import BatcherLimits, In, Out
from service.core.batcher import Batcher
from service.core.catalog import Catalog
from service.core.health import Health
from service.core.messages import VersionState
from service.core.priority import Priority
from service.core.served_models import last_load_failed
from service.core.worker import Worker
from service.memory_limit import memory_limit_bytes
from service.metrics import PrometheusRecorder
from service.tallies import ByLabels
from service.version import installed_version

STATES: tuple[VersionState, ...] = ("loading", "ready", "failed", "unloaded")

_OF_VERSION = ("model", "version")


def watch_process(recorder: PrometheusRecorder, health: Health) -> None:
    """The build, the state and the memory of the process and of its device."""
    build = (installed_version(), platform.python_version(), _installed("torch"))
    watch = recorder.watch
    watch("totalvi_build_info", "1, for its labels.", lambda: {build: 1.0}, ("version", "python", "torch"))
    watch("totalvi_ready", "1 while new calls should be sent here.", lambda: float(health.ready))
    watch(
        "totalvi_memory_limit_bytes",
        "Most memory of the container, by its control group; left out where it has none.",
        memory_limit_bytes,
    )
    watch(
        "totalvi_device_memory_bytes",
        "Memory of the CUDA device: its size, what is in use by anybody, and what this process has of it.",
        lambda: _device_memory() if health.started else {},
        ("device", "kind"),
    )


def watch_work(
    recorder: PrometheusRecorder,
    batcher: Batcher[In, Out],
    worker: Worker[In, Out],
    bodies: ByteGate,
    limits: BatcherLimits,
) -> None:
    """The queue, the worker and the bodies in memory."""
    watch = recorder.watch
    watch(
        "totalvi_queue_ratio",
        "How full the queue of a priority is, by the fuller of its bounds (cells and bytes); at 1 it refuses.",
        lambda: {(priority.value,): batcher.fill(priority) for priority in Priority},
        ("priority",),
    )
    watch(
        "totalvi_queue_oldest_age_seconds", "How long the oldest call in the queue waits.", lambda: batcher.oldest_age_s
    )
    watch(
        "totalvi_queue_capacity_cells",
        "Cells of each priority that may wait (--max-queue-cells).",
        lambda: limits.max_queue_cells,
    )
    watch(
        "totalvi_queue_capacity_bytes",
        "Memory of the cells of each priority that may wait (--max-queue-bytes).",
        lambda: limits.max_queue_bytes,
    )
    watch(
        "totalvi_queue_dropped_cells_total",
        "Cells that left the queue uncomputed: their callers left, their time was up, or what they are part of failed.",
        lambda: batcher.n_dropped_cells,
    )
    watch("totalvi_body_bytes", "Memory of the bodies of calls not yet answered.", lambda: bodies.held)
    watch(
        "totalvi_body_capacity_bytes", "Memory that bodies may take (--max-inflight-bytes).", lambda: bodies.max_bytes
    )
    watch(
        "totalvi_worker_busy_seconds_total",
        "Seconds in which the worker computed; its rate is the share of time that it is busy.",
        lambda: worker.total_busy_s,
    )
    watch(
        "totalvi_worker_batch_age_seconds",
        "How long the computation has run that runs now; 0 while none does.",
        lambda: worker.busy_s,
    )


def watch_models(recorder: PrometheusRecorder, catalog: Catalog) -> None:
    """The models of the directory, served or not."""

    def states() -> ByLabels:
        index = catalog.index()
        return {(model.name, model.version, state): float(model.state == state) for model in index for state in STATES}

    def successes() -> ByLabels:
        return {(model.name, model.version): float(not last_load_failed(model)) for model in catalog.index()}

    watch = recorder.watch
    watch(
        "totalvi_model_state",
        "1 for the state that a version is in, 0 for the others.",
        states,
        (*_OF_VERSION, "state"),
    )
    watch(
        "totalvi_model_last_load_successful",
        "0 where a version could not be loaded when it was last tried, though it may be served as it was before.",
        successes,
        _OF_VERSION,
    )
    watch("totalvi_model_loads_total", "Loads of a model's versions.", lambda: catalog.loads, ("model", "outcome"))
    watch(
        "totalvi_model_load_duration_seconds",
        "What reading, loading and warming a served version took.",
        lambda: catalog.load_s,
        _OF_VERSION,
    )


def watch_expiries(
    recorder: PrometheusRecorder,
    certificate: Callable[[], float] | None,
    tokens: Callable[[], ByLabels] | None,
) -> None:
    """When callers will be shut out by time alone, in seconds since 1970.

    Args:
        recorder: that is to tell of it.
        certificate: the end of the certificate that the callers' ports show; None: they show none.
        tokens: the end of the last token of each caller whose tokens all end; None: none are asked for.
    """
    watch = recorder.watch
    watch(
        "totalvi_certificate_expiry_timestamp_seconds",
        "When the certificate ends that callers are shown; left out without TLS.",
        certificate or dict,
    )
    watch(
        "totalvi_token_expiry_timestamp_seconds",
        "When the last token of a caller ends; left out where one has no end.",
        tokens or dict,
        ("caller",),
    )


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _device_memory() -> ByLabels:
    """Of the devices that the models are on; torch is not loaded for it."""
    if "torch" not in sys.modules:
        return {}
    from model.device_memory import device_memory  # noqa: PLC0415

    return device_memory()
