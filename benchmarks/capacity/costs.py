"""What calls and computations cost, fitted to the results of `make bench`."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "2026-11-26-epyc-2-cores.json"
ENCODER = "compiled encoder, in process"
TRANSPORTS = {
    "grpc": "gRPC, CSR",
    "grpc-small-integers": "gRPC, CSR in small integers",
    "rest-protobuf": "REST, protobuf CSR",
    "rest-json": "REST, JSON CSR",
    "rest-json-dense": "REST, JSON dense",
}
IN_FLIGHT = 16
"""Calls at a time under which the results were measured."""

BEFORE = 0.6
"""Of what the loop does for a call, the part that comes before its computation."""

IDLE_S = 0.0015
"""By which a call on an idle machine took longer than its own costs add up to: threads are woken, caches are cold."""


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of one processor.

    Attributes:
        call_s: of the event loop for a call, whatever its size.
        cell_s: of the event loop for a cell.
        batch_s: of the worker for a batch, whatever its size.
        batch_cell_s: of the worker for a cell.
        parallel: processors that the loop and the worker together keep busy while both have work, at most 2. They share
            the interpreter, so it is far less.
        max_batch: most cells of a batch.
        idle_s: what a call takes beyond.
    """

    call_s: float
    cell_s: float
    batch_s: float
    batch_cell_s: float
    parallel: float
    max_batch: int = 1024
    idle_s: float = IDLE_S

    def loop_s(self, n_cells: float) -> float:
        """Of the loop for a call of so many cells."""
        return self.call_s + n_cells * self.cell_s

    def compute_s(self, n_cells: float) -> float:
        """Of the worker for a batch of so many cells."""
        return self.batch_s + n_cells * self.batch_cell_s

    def cpu_s(self, n_cells: float, batch: float) -> float:
        """For a call of so many cells, where batches are of `batch` cells."""
        return self.loop_s(n_cells) + n_cells * self.compute_s(batch) / batch

    def scaled(self, factor: float) -> Costs:
        """Of a machine that takes so many times as long."""
        times = {name: getattr(self, name) * factor for name in ("call_s", "cell_s", "batch_s", "batch_cell_s")}
        return dataclasses.replace(self, **times)


def fit(results: Path, transport: str) -> Costs:
    """The costs of a transport.

    Args:
        results: as `make bench` writes them.
        transport: one of `TRANSPORTS`.
    """
    rounds: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = json.loads(results.read_text())["costs"]
    encoder, served = ({int(n): some for n, some in rounds[name].items()} for name in (ENCODER, TRANSPORTS[transport]))
    batch_s, batch_cell_s = fit_line({n: _cpu_s(some) for n, some in encoder.items()})
    costs = Costs(0.0, 0.0, batch_s, batch_cell_s, 1.0)
    on_loop = {n: _cpu_s(some) - n * costs.compute_s(b := crowd(n, costs.max_batch)) / b for n, some in served.items()}
    call_s, cell_s = fit_line(on_loop)
    busy = [one["cpu_s"] / one["wall_s"] for n, some in served.items() if n >= 256 for one in some]
    return dataclasses.replace(costs, call_s=call_s, cell_s=cell_s, parallel=max(1.0, statistics.median(busy)))


def crowd(n_cells: float, max_batch: int, in_flight: int = IN_FLIGHT) -> float:
    """About the cells of a batch when there are always so many calls: half of them gather while the others run."""
    return max(1.0, min(max_batch, n_cells * in_flight / 2))


def fit_line(seconds: Mapping[int, float]) -> tuple[float, float]:
    """Fixed and per-cell costs that fit what was measured by number of cells; neither negative, errors relative.

    Least squares of (a + b n) / y - 1, by its normal equations.
    """
    points = [(1 / y, n / y) for n, y in seconds.items()]
    uu, uv, vv = (sum(p[i] * p[j] for p in points) for i, j in ((0, 0), (0, 1), (1, 1)))
    u, v = (sum(p[i] for p in points) for i in (0, 1))
    determinant = uu * vv - uv * uv
    a, b = (u * vv - v * uv) / determinant, (uu * v - uv * u) / determinant
    if a < 0:
        return 0.0, v / vv
    return (a, b) if b >= 0 else (u / uu, 0.0)


def _cpu_s(rounds: Sequence[Mapping[str, Any]]) -> float:
    """Processor time of a call, the median of the rounds."""
    return statistics.median(one["cpu_s"] / len(one["latencies_s"]) for one in rounds)
