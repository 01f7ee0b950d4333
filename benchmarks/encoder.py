"""What a cell costs in the encoder alone: compiled against eager, CPU time in one run on one thread.

    make bench-encoder        (or: python -m benchmarks.encoder [--cells N] [--genes N] [--proteins N] [--rounds N])

The encoders alternate, so that a busy neighbour disturbs both; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.cells import eager_call, made_up_cells, made_up_encoder, made_up_spec, write_compiled
from model.artifact import read_artifact
from model.device_encoder import DeviceEncoder

EAGER, WITH_LIBRARY, COMPILED = "eager, dense rows", "compiled, with the library", "compiled, without it"


def cpu_us_per_cell(call: Callable[[], object], n_cells: int) -> float:
    """Processor time of one call, in microseconds a cell."""
    start = time.process_time()
    call()
    return (time.process_time() - start) / n_cells * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("cells", 1024), ("genes", 4000), ("proteins", 100), ("rounds", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    spec = made_up_spec(arguments.genes, arguments.proteins)
    eager = made_up_encoder(spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.pt"
        write_compiled(path, eager, spec)
        compiled = DeviceEncoder(read_artifact(path), torch.device("cpu"), threads=1)
    cells = made_up_cells(spec, arguments.cells)
    calls: dict[str, Callable[[], object]] = {
        EAGER: eager_call(eager, spec, cells),
        WITH_LIBRARY: lambda: compiled.encode(cells),
        COMPILED: lambda: compiled.encode(cells, library=False),
    }
    torch.set_num_threads(1)
    for call in calls.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times[name].append(cpu_us_per_cell(call, arguments.cells))
    density = cells.n_entries / (arguments.cells * arguments.genes)
    print(f"{machine.described()}; one thread")
    print(f"{arguments.cells} cells, {arguments.genes} genes ({density:.1%} non-zero), {arguments.proteins} proteins")
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        spread = max(times[name]) / min(times[name])
        share = value / median[EAGER]
        print(f"  {name:26} {value:7.1f} us of CPU a cell, {share:.3f} of eager (largest over smallest: {spread:.2f})")


if __name__ == "__main__":
    main()
