"""The capacity model beside the simulation, which runs the service's own batcher; seeds are fixed, nothing is timed."""

from __future__ import annotations

import dataclasses
import math

import pytest

from benchmarks.capacity.costs import RESULTS, TRANSPORTS, Costs, fit, fit_line
from benchmarks.capacity.plan import CORES, MARGIN, MOST_BUSY, NotPossible, plan
from benchmarks.capacity.queueing import forecast, peak_cells_per_s
from benchmarks.capacity.simulation import simulate

COSTS = Costs(call_s=0.0008, cell_s=8e-6, batch_s=0.0005, batch_cell_s=13e-6, parallel=1.2)


def test_a_line_is_found_again() -> None:
    assert fit_line({n: 3.0 + 0.5 * n for n in (1, 16, 256, 1024)}) == pytest.approx((3.0, 0.5))


@pytest.mark.parametrize("slope", [-0.5, 0.0])
def test_no_cost_is_negative(slope: float) -> None:
    fixed, each = fit_line({1: 10.0, 10: 10.0 + slope * 9})
    assert fixed > 0 and each == 0.0
    assert fit_line({1: 1.0, 10: 100.0})[0] == 0.0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_results_of_the_bench_are_told_within_a_third(transport: str) -> None:
    """Cells a second of 16 callers who wait for their answers, and so reach less than the peak."""
    costs = fit(RESULTS, transport)
    for n_cells, measured in MEASURED[transport].items():
        assert peak_cells_per_s(costs, n_cells) == pytest.approx(measured, rel=0.33), n_cells


MEASURED = {
    "grpc": {1: 702, 16: 10_167, 256: 39_255, 1024: 56_880},
    "grpc-small-integers": {1: 707, 16: 9_681, 256: 44_920, 1024: 60_009},
    "rest-protobuf": {1: 1_200, 16: 11_837, 256: 46_339, 1024: 53_836},
    "rest-json": {1: 1_212, 16: 9_480, 256: 23_157, 1024: 30_557},
    "rest-json-dense": {1: 1_098, 16: 6_720, 256: 10_559, 1024: 11_923},
}
"""docs/performance.md."""


@pytest.mark.parametrize("n_cells", [1, 16, 256, 1024])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_model_is_near_the_simulation_where_it_says_so(n_cells: int, share: float) -> None:
    load = share * peak_cells_per_s(COSTS, n_cells)
    simulated = simulate(COSTS, load, n_cells, n_calls=4000, seed=1)
    assert forecast(COSTS, load, n_cells).p99_s == pytest.approx(simulated.percentile_s(0.99), rel=0.35)
    assert simulated.cells_per_s == pytest.approx(load, rel=0.05)


@pytest.mark.parametrize("n_cells", [1, 16, 256])
def test_the_peak_is_where_the_queue_begins_to_grow(n_cells: int) -> None:
    peak = peak_cells_per_s(COSTS, n_cells)
    below, above = (simulate(COSTS, share * peak, n_cells, n_calls=6000, seed=1) for share in (0.85, 1.25))
    assert above.cells_per_s == pytest.approx(peak, rel=0.12)
    assert above.percentile_s(0.99) > 5 * below.percentile_s(0.99)
    assert forecast(COSTS, peak, n_cells).p99_s == math.inf


def test_batches_grow_while_the_worker_is_busy_and_only_then() -> None:
    slow = dataclasses.replace(COSTS, batch_s=0.02)
    quiet, busy = (simulate(slow, rate, 1, n_calls=2000, seed=1).batch_cells for rate in (5.0, 600.0))
    assert sum(quiet) / len(quiet) < 1.2
    assert sum(busy) / len(busy) > 8
    assert max(simulate(COSTS, 40_000, 256, n_calls=2000, seed=1).batch_cells) <= COSTS.max_batch


def test_a_lone_call_takes_its_own_costs() -> None:
    alone = simulate(COSTS, 0.1, 100, n_calls=20, seed=1)
    own_s = COSTS.idle_s + COSTS.loop_s(100) + COSTS.compute_s(100)
    assert alone.latencies_s == pytest.approx([own_s] * len(alone.latencies_s))
    assert forecast(COSTS, 0.0, 100).p99_s == pytest.approx(own_s)


def test_the_same_seed_gives_the_same_latencies() -> None:
    one, again, other = (simulate(COSTS, 500, 1, n_calls=300, seed=seed).latencies_s for seed in (1, 1, 2))
    assert one == again != other


def test_a_plan_is_the_least_that_holds() -> None:
    for load, n_cells, p99_s in ((1e6, 256, 0.2), (1e6, 256, 0.04), (3000, 1, 0.02), (10, 1, 0.02)):
        found = plan(COSTS, load, n_cells, p99_s)
        assert found.cores == found.replicas * CORES
        assert found.forecast.p99_s * MARGIN <= p99_s and found.forecast.utilization <= MOST_BUSY
        if found.replicas > 1:
            fewer = forecast(COSTS, load / (found.replicas - 1), n_cells)
            assert fewer.p99_s * MARGIN > p99_s or fewer.utilization > MOST_BUSY


def test_what_no_replica_can_do_is_refused() -> None:
    with pytest.raises(NotPossible, match=r"a call of 1024 cells takes \d+\.\d ms"):
        plan(COSTS, 1000, 1024, 0.005)
