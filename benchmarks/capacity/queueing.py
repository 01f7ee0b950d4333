"""The analytic model: an event loop, and a worker that computes all that has gathered (a bulk-service queue).

*The peak.* While both have work, they share `Costs.parallel` processors. Of the two stations one is never idle at the
peak. A call takes its own time D there, and the other's as far as that holds it up: D = l + n w (2 / parallel - 1)
where it is the loop, l being the loop's time for the call and w the worker's for a cell of a full batch.

*The latency.* What a call takes alone, and a wait like that of an M/D/1 queue with service D and utilization u, whose
tail falls off as exp(-2 (1 - u) t / D). A batch that is not full makes the wait longer than that, since its fixed
cost is shared by few: the more so, the more of a call's cost that is. `STRETCH` of that share was fitted to the
simulation.
"""

from __future__ import annotations

import dataclasses
import math

from benchmarks.capacity.costs import Costs

TAIL = 0.01
"""What p99 leaves out."""

STRETCH = 4.0
"""By which the wait is longer, for the share that a batch's fixed cost has in that of a call that is alone."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a replica does under a load.

    Attributes:
        p99_s: of the latency; infinite where the load is beyond the peak.
        utilization: the load over the peak.
        cores: processors in use, at most; larger batches take less.
    """

    p99_s: float
    utilization: float
    cores: float


def peak_cells_per_s(costs: Costs, n_cells: int) -> float:
    """Most cells a second of a replica that is asked in calls of `n_cells`: that of the station which is never idle."""
    loop_s, worker_s = costs.loop_s(n_cells), n_cells * costs.compute_s(costs.max_batch) / costs.max_batch
    slowed = 2 / costs.parallel - 1
    return n_cells / max(loop_s + slowed * worker_s, worker_s + slowed * loop_s)


def forecast(costs: Costs, cells_per_s: float, n_cells: int) -> Forecast:
    """A replica under calls of `n_cells` that come at random, so many cells a second in all."""
    peak = peak_cells_per_s(costs, n_cells)
    utilization = cells_per_s / peak
    cores = cells_per_s / n_cells * costs.cpu_s(n_cells, min(n_cells, costs.max_batch))
    if utilization >= 1:
        return Forecast(math.inf, utilization, min(cores, costs.parallel))
    alone_s = costs.loop_s(n_cells) + costs.compute_s(n_cells)
    shared = costs.batch_s / alone_s
    # Where the other station works, too, all takes longer.
    alone_s *= 1 + utilization * (2 / costs.parallel - 1) / 2
    tail_s = math.log(max(utilization, TAIL) / TAIL) * n_cells / peak / (2 * (1 - utilization))
    return Forecast(costs.idle_s + alone_s + (1 + STRETCH * shared) * tail_s, utilization, min(cores, costs.parallel))
