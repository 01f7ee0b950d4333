"""The model and the simulation beside a server: `python -m benchmarks.capacity.measured`; docs/capacity.md.

For each size of a call: the peak, as 16 callers that wait for their answers find it, then calls that come at random
(Poisson), whether or not earlier ones were answered, at shares of that peak. The machine of the hour is not that of
`make bench`, so the costs fitted to that are scaled by what a call of each size costs now; nothing else is fitted here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks import bodies, machine
from benchmarks.capacity.costs import IN_FLIGHT, RESULTS, Costs, crowd, fit
from benchmarks.capacity.queueing import forecast, peak_cells_per_s
from benchmarks.capacity.simulation import simulate
from benchmarks.cells import made_up_cells, made_up_encoder, made_up_spec, parts, write_compiled
from benchmarks.load import Callers, Load, Target, percentiles
from benchmarks.overload import RestLines
from benchmarks.server_process import ServerProcess, our_server

N_GENES, N_PROTEINS, N_CELLS = 4000, 100, 2048
SIZES = (1, 16, 256)
SHARES = (0.3, 0.6, 0.8)
TRANSPORT = "rest-protobuf"
PROTOBUF = "application/x-protobuf"


def run(seconds: float) -> list[dict[str, float]]:
    """A row for each size and share."""
    spec = made_up_spec(N_GENES, N_PROTEINS)
    cells = made_up_cells(spec, N_CELLS)
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        write_compiled(folder / "bench" / "1" / "encoder.pt", made_up_encoder(spec), spec)
        server = running.enter_context(our_server(folder))
        callers = running.enter_context(Callers())
        rows = []
        for n_cells in SIZES:
            calls = tuple(bodies.message(part) for part in parts(cells, n_cells))
            target = Target(server.pid, server.facts["http_port"], "/v1/encode", PROTOBUF, calls)
            costs, peak = _now(callers, Load(target, callers.answers(target), IN_FLIGHT, seconds / 2), n_cells)
            rows += [_row(server, costs, calls, peak, n_cells, share, seconds) for share in SHARES]
        return rows


def _now(callers: Callers, load: Load, n_cells: int) -> tuple[Costs, float]:
    """The costs as they are now, and the measured peak in cells a second."""
    measured = callers.run(load)
    costs = fit(RESULTS, TRANSPORT)
    then_s = costs.cpu_s(n_cells, crowd(n_cells, costs.max_batch))
    factor = measured.cpu_s / len(measured.latencies_s) / then_s
    return costs.scaled(factor), n_cells * len(measured.latencies_s) / measured.wall_s


def _row(
    server: ServerProcess,
    costs: Costs,
    calls: tuple[bytes, ...],
    peak: float,
    n_cells: int,
    share: float,
    seconds: float,
) -> dict[str, float]:
    cells_per_s = share * peak
    latencies = uvloop.run(_open_loop(server.facts["http_port"], calls, cells_per_s / n_cells, seconds))
    middle, high = percentiles(latencies)
    simulated = simulate(costs, cells_per_s, n_cells, n_calls=20_000)
    return {
        "n_cells": n_cells,
        "share": share,
        "cells_per_s": cells_per_s,
        "peak": peak,
        "peak_by_model": peak_cells_per_s(costs, n_cells),
        "calls": len(latencies),
        "p50_ms": middle,
        "p99_ms": high,
        "p50_ms_simulated": simulated.percentile_s(0.5) * 1e3,
        "p99_ms_simulated": simulated.percentile_s(0.99) * 1e3,
        "p99_ms_by_model": forecast(costs, cells_per_s, n_cells).p99_s * 1e3,
    }


async def _open_loop(port: int, calls: tuple[bytes, ...], calls_per_s: float, seconds: float) -> list[float]:
    """The latencies of calls by the clock, each from when it was due; those of the first second are left out."""
    source, latencies = random.Random(1), []
    with contextlib.closing(RestLines(port)) as lines:

        async def call(body: bytes, due_s: float, told: bool) -> None:
            outcome = await lines.ask(body)
            if outcome != "ok":
                raise AssertionError(f"a call was answered {outcome}")
            if told:
                latencies.append(time.perf_counter() - due_s)

        began = due_s = time.perf_counter()
        async with asyncio.TaskGroup() as under_way:
            while due_s < began + seconds + 1:
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                under_way.create_task(call(source.choice(calls), due_s, due_s > began + 1))
                due_s += source.expovariate(calls_per_s)
    return latencies


def table(rows: list[dict[str, float]]) -> str:
    """As Markdown."""
    head = (
        "| cells a call | of the peak | cells/s | p99 ms: measured | simulated | model | p50 ms: measured | simulated |"
    )
    lines = [head, "|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        times = ("p99_ms", "p99_ms_simulated", "p99_ms_by_model", "p50_ms", "p50_ms_simulated")
        told = " | ".join(f"{row[name]:.1f}" for name in times)
        lines.append(f"| {row['n_cells']} | {row['share']:.0%} | {row['cells_per_s']:,.0f} | {told} |")
    lines.append("")
    for n_cells in SIZES:
        row = next(row for row in rows if row["n_cells"] == n_cells)
        peaks = f"{row['peak']:,.0f} cells/s measured, {row['peak_by_model']:,.0f} by the model"
        lines.append(f"peak of {n_cells} cells a call: {peaks}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    rows = run(arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps({"where": machine.facts(), "rows": rows}, indent=1) + "\n")
    print(machine.described(), "", table(rows), sep="\n")


if __name__ == "__main__":
    main()
