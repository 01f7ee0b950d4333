"""What tracing costs a call of one cell: `python -m benchmarks.tracing`; docs/tracing.md.

Calls of one cell by REST, 16 in flight, against servers that trace nothing, a share and everything. They take turns, so
that a busy neighbour disturbs all alike; each number is the median of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from benchmarks import bodies, machine
from benchmarks.cells import made_up_cells, made_up_encoder, made_up_spec, parts, write_compiled
from benchmarks.load import Callers, Load, Measured, Target, percentiles
from benchmarks.server_process import ServerProcess, our_server

N_GENES, N_PROTEINS, N_CELLS = 4000, 100, 64
IN_FLIGHT = 16
PROTOBUF = "application/x-protobuf"


def measure(rounds: int, seconds: float) -> dict[str, list[Measured]]:
    """What each server's calls cost, round by round."""
    spec = made_up_spec(N_GENES, N_PROTEINS)
    calls = tuple(bodies.message(part) for part in parts(made_up_cells(spec, N_CELLS), 1))
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        write_compiled(folder / "bench" / "1" / "encoder.pt", made_up_encoder(spec), spec)
        collector = running.enter_context(ServerProcess("benchmarks.peers.collector"))
        endpoint = ("--traces-endpoint", f"http://127.0.0.1:{collector.facts['port']}", "--traces-ratio")
        flags = {"off": (), "on, none": (*endpoint, 0), "on, one in 100": (*endpoint, 0.01), "on, all": (*endpoint, 1)}
        callers = running.enter_context(Callers())
        loads: dict[str, Load] = {}
        for name, own in flags.items():
            server = running.enter_context(our_server(folder, *own))
            target = Target(server.pid, server.facts["http_port"], "/v1/encode", PROTOBUF, calls)
            loads[name] = Load(target, callers.answers(target), IN_FLIGHT, seconds)
        measured: dict[str, list[Measured]] = {name: [] for name in loads}
        for _ in range(rounds):
            for name, load in loads.items():
                measured[name].append(callers.run(load))
        return measured


def table(measured: dict[str, list[Measured]]) -> str:
    """The medians."""
    lines = ["| traces | CPU µs a call | more than off | calls/s | p50 ms | p99 ms |", "|---|--:|--:|--:|--:|--:|"]
    costs = {name: [one.cpu_s / len(one.latencies_s) * 1e6 for one in all_] for name, all_ in measured.items()}
    for name, all_ in measured.items():
        more = statistics.median(one - off for one, off in zip(costs[name], costs["off"], strict=True))
        rate = statistics.median(len(one.latencies_s) / one.wall_s for one in all_)
        middle, high = (
            statistics.median(values) for values in zip(*(percentiles(one.latencies_s) for one in all_), strict=True)
        )
        cost = statistics.median(costs[name])
        lines.append(f"| {name} | {cost:,.0f} | {more:+,.0f} | {rate:,.0f} | {middle:.1f} | {high:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load")
    arguments = parser.parse_args()
    print(machine.described(), "", table(measure(arguments.rounds, arguments.seconds)), sep="\n")


if __name__ == "__main__":
    main()
