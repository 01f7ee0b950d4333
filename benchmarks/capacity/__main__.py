"""`python -m benchmarks.capacity --cells-per-s X --p99-ms Y --cells-per-request N`; docs/capacity.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.capacity.costs import RESULTS, TRANSPORTS, fit
from benchmarks.capacity.plan import MARGIN, MOST_BUSY, NotPossible, plan
from benchmarks.capacity.queueing import peak_cells_per_s
from benchmarks.capacity.simulation import simulate


def main() -> None:
    """Answer."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description="How many replicas a load needs."
    )
    parser.add_argument("--cells-per-s", type=float, required=True, help="at the busiest time, of all callers")
    parser.add_argument("--p99-ms", type=float, required=True, help="that 99 of 100 calls may take, at most")
    parser.add_argument("--cells-per-request", type=int, required=True)
    parser.add_argument("--transport", choices=TRANSPORTS, default="grpc")
    parser.add_argument("--most-busy", type=float, default=MOST_BUSY, help="share of a replica's peak to plan for")
    parser.add_argument(
        "--margin", type=float, default=MARGIN, help="how many times the model's p99 must fit into yours"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="of make bench BENCH_ARGS='--json FILE'")
    given = parser.parse_args()
    costs, n_cells = fit(given.results, given.transport), given.cells_per_request
    try:
        found = plan(
            costs, given.cells_per_s, n_cells, given.p99_ms / 1e3, most_busy=given.most_busy, margin=given.margin
        )
    except NotPossible as error:
        parser.error(str(error))
    each = given.cells_per_s / found.replicas
    simulated = simulate(costs, each, n_cells, n_calls=5000)
    print(f"{found.replicas} replicas, {found.cores} cores")
    print(
        f"each: {each:,.0f} of {peak_cells_per_s(costs, n_cells):,.0f} cells/s, {found.forecast.cores:.2f} cores busy"
    )
    print(f"p99: {found.forecast.p99_s * 1e3:.1f} ms by the model, {simulated.percentile_s(0.99) * 1e3:.1f} simulated")


if __name__ == "__main__":
    main()
