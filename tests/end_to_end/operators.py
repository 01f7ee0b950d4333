"""What operators see: probes and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.server import PATIENCE_S, RunningServer

Samples = dict[tuple[str, ...], float]
"""Values of samples by their name, followed by the values of their labels in the order of the labels' names."""

IDLE = {
    "totalvi_requests_in_flight": 0.0,
    "totalvi_queue_cells": 0.0,
    "totalvi_queue_bytes": 0.0,
    "totalvi_queue_ratio": 0.0,
    "totalvi_body_bytes": 0.0,
}


def ask(server: RunningServer, path: str) -> httpx.Response:
    """A GET of the operators' port."""
    return httpx.get(f"http://127.0.0.1:{server.admin_port}/{path}", timeout=PATIENCE_S, trust_env=False)


def admin(server: RunningServer, method: str, path: str, token: str | None) -> httpx.Response:
    """A call of `/admin/models`."""
    url = f"http://127.0.0.1:{server.admin_port}/admin/models{path}"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.request(method, url, headers=headers, timeout=PATIENCE_S, trust_env=False)


def metrics(server: RunningServer) -> Samples:
    """All samples of `/metrics`, as Prometheus' own parser reads them."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(ask(server, "metrics").text)
        for sample in family.samples
    }


def gauges(server: RunningServer) -> dict[str, float]:
    """What is under way: calls of both transports and what the queue holds."""
    found = metrics(server)
    return {name: sum(value for key, value in found.items() if key[0] == name) for name in IDLE}


def until(holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
    """Ask again until it holds; every asking is a round trip to a server, so there is nothing to sleep for."""
    end = time.monotonic() + timeout_s
    while not (truth := holds()) and time.monotonic() < end:
        pass
    return truth


def batches(server: RunningServer) -> float:
    """How many batches were computed so far."""
    return metrics(server)["totalvi_batch_cells_count",]


def assert_idle(server: RunningServer) -> None:
    """Nothing is under way any more: a caller that left may do so a moment before the server has noticed."""
    until(lambda: gauges(server) == IDLE, 5.0)
    assert gauges(server) == IDLE
    assert server.alive
