"""How many replicas a load needs."""

from __future__ import annotations

import dataclasses
import math

from benchmarks.capacity.costs import Costs
from benchmarks.capacity.queueing import Forecast, forecast, peak_cells_per_s

MOST_BUSY = 0.7
"""Of a replica's peak that is planned for: the rest is for restarts, for bursts and for the model's errors."""

MARGIN = 2.5
"""Of the latency: by so much a measured tail is longer than the model's, as docs/capacity.md tells."""

CORES = 2
"""That a replica is given: one for its loop, one for its computations."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a load needs.

    Attributes:
        replicas: processes.
        cores: for all of them.
        forecast: for each.
    """

    replicas: int
    cores: int
    forecast: Forecast


class NotPossible(Exception):
    """Not even an idle replica is so quick, with the margin."""


def plan(
    costs: Costs,
    cells_per_s: float,
    n_cells: int,
    p99_s: float,
    *,
    most_busy: float = MOST_BUSY,
    margin: float = MARGIN,
) -> Plan:
    """The fewest replicas that carry the load within that latency.

    Args:
        costs: of the transport.
        cells_per_s: in all.
        n_cells: of a call.
        p99_s: that the 99th percentile of the latency may not exceed.
        most_busy: of the peak that may be used.
        margin: how many times the model's latency must fit into that.

    Raises:
        NotPossible: for `p99_s` is less than a call takes by itself.
    """
    peak = peak_cells_per_s(costs, n_cells)
    idle_s = forecast(costs, 0.0, n_cells).p99_s
    if p99_s <= margin * idle_s:
        text = f"a call of {n_cells} cells takes {idle_s * 1e3:.1f} ms on a replica that does nothing else"
        raise NotPossible(f"{text}: ask for more than {margin:g} times that, or send fewer cells a call")
    replicas = max(1, math.ceil(cells_per_s / (peak * most_busy)))
    most = max(replicas, math.ceil(cells_per_s * 1e4 / peak))
    low, high = replicas - 1, replicas
    while forecast(costs, cells_per_s / high, n_cells).p99_s > p99_s / margin and high < most:
        low, high = high, 2 * high
    while high - low > 1 and low >= replicas:  # the latency falls with every replica
        middle = (low + high) // 2
        if forecast(costs, cells_per_s / middle, n_cells).p99_s > p99_s / margin:
            low = middle
        else:
            high = middle
    return Plan(high, high * CORES, forecast(costs, cells_per_s / high, n_cells))
