"""`make bench`: what the service costs, as two tables. docs/performance.md explains them."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import signal
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from benchmarks import machine, report, rows
from benchmarks.bench import N_GENES, N_PROTEINS, Bench, Rounds, opened, tell


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement; their median counts")
    parser.add_argument("--seconds", type=float, default=0.7, help="length of one measurement")
    parser.add_argument("--sizes", default="1,16,256,1024", help="cells a request, in the table of costs")
    parser.add_argument("--stream-cells", type=int, default=1_000_000, help="length of the stream; 0 leaves it out")
    parser.add_argument("--scvi-python", type=Path, default=Path(".venv-parity/bin/python"), help="has scvi-tools")
    parser.add_argument("--limit-s", type=int, default=1800, help="give up after so many seconds")
    parser.add_argument("--json", type=Path, help="write the raw numbers here")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(arguments.limit_s)
    began, where = time.monotonic(), machine.facts()
    print(f"{machine.described()}\n")
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), arguments.scvi_python) as bench:
        rounds = bench.rounds([int(size) for size in arguments.sizes.split(",")], arguments.rounds, arguments.seconds)
        print(_circumstances(bench), report.costs(rounds), sep="\n\n", end="\n\n", flush=True)
        promises = [
            *rows.of_scvi_tools(bench, arguments.rounds, arguments.seconds),
            *rows.of_the_costs(bench, rounds),
            *rows.of_the_floors(bench, arguments.rounds, arguments.seconds),
            *rows.of_one_cell_calls(bench, arguments.rounds, 2 * arguments.seconds),
            *rows.of_idle_calls(bench, arguments.rounds, 2 * arguments.seconds),
            *(rows.of_the_stream(bench, arguments.stream_cells) if arguments.stream_cells else ()),
            *rows.of_a_neighbour(bench, 10 * arguments.seconds),
        ]
    print(report.promises(promises))
    tell(f"{time.monotonic() - began:.0f} s in all")
    if arguments.json:
        _write(arguments.json, where | bench.versions, rounds, promises)


def _give_up(*_: object) -> NoReturn:
    raise TimeoutError("the run took longer than --limit-s")


def _circumstances(bench: Bench) -> str:
    density = bench.cells.n_entries / bench.cells.n_cells / N_GENES
    lines = [
        f"{N_GENES:,} genes ({density:.1%} non-zero), {N_PROTEINS} proteins; q(z), z and the library's size asked for.",
        "One thread everywhere; 16 calls in flight, 4 to the endpoint by hand. CPU is the server's, user and system;",
        "spread is the largest over the smallest round. Every answer was checked.",
        *(f"Without {name}: {why}." for name, why in bench.absent.items()),
        *(f"scvi-tools runs beside: {name} {version}." for name, version in bench.versions.items()),
    ]
    return "\n".join(lines)


def _write(path: Path, where: dict[str, str], rounds: Rounds, promises: list[report.Row]) -> None:
    content = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "where": where,
        "costs": {
            name: {size: [dataclasses.asdict(each) for each in measured] for size, measured in sizes.items()}
            for name, sizes in rounds.items()
        },
        "promises": [dataclasses.asdict(row) | {"met": row.met} for row in promises],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


if __name__ == "__main__":
    main()
