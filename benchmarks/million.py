"""A million cells from file to file: `python -m benchmarks.million`; what it takes, and what a kill half-way costs.

A made-up h5ad is written in pieces, then encoded by processes of their own against a server with the example model: one
that is left alone, and one that is killed half-way and started again, whose file must be the same to the byte.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse

from benchmarks import machine
from benchmarks.server_process import ROOT, cpu_s, our_server
from totalvi_client import Client
from totalvi_client.elements import CsrWriter
from totalvi_client.run import encode_file

MIB = 1 << 20
DRAWS = 190
"""Molecules a cell: about 150 different genes."""
CELLS_AT_ONCE = 10_000
MOST_ABOVE_START_MIB = 1024


@dataclasses.dataclass
class Run:
    """What a process of a client took.

    Attributes:
        cells: encoded by it.
        seconds: of encoding and writing.
        cpu_s: processor time of the client for it.
        server_cpu_s: of the server.
        above_start_mib: highest resident memory, above that when everything was imported.
        most_mib: highest resident memory in all.
    """

    cells: int
    seconds: float
    cpu_s: float
    server_cpu_s: float
    above_start_mib: float
    most_mib: float


def write_cells(
    path: Path,
    genes: tuple[str, ...],
    proteins: tuple[str, ...],
    batches: tuple[str, ...],
    n: int,
    draws: int = DRAWS,
) -> None:
    """Write made-up cells: raw counts as rows in X, proteins in obsm, batch in obs."""
    rng = np.random.default_rng(20261127)
    often = np.cumsum(rng.lognormal(0, 1.3, len(genes)))
    obs = pd.DataFrame(
        {"batch": pd.Categorical.from_codes(rng.integers(len(batches), size=n), list(batches))},
        index=pd.Index([f"cell{i}" for i in range(n)]),
    )
    antibodies = pd.DataFrame(
        {name: rng.poisson(rng.lognormal(2.5, 1), n).astype(np.float32) for name in proteins}, index=obs.index
    )
    anndata.AnnData(
        obs=obs, var=pd.DataFrame(index=pd.Index(genes)), obsm={"protein_expression": antibodies}
    ).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        writer = CsrWriter(file, "X", (n, len(genes)), np.float32)
        for start in range(0, n, CELLS_AT_ONCE):
            cells = min(CELLS_AT_ONCE, n - start)
            drawn = np.searchsorted(often, rng.random(cells * draws) * often[-1])
            keys, counts = np.unique(np.repeat(np.arange(cells), draws) * len(genes) + drawn, return_counts=True)
            writer.append(_rows(keys, counts, cells, len(genes)))


def _rows(keys: Any, counts: Any, cells: int, n_genes: int) -> Any:
    rows, columns = keys // n_genes, keys % n_genes
    return scipy.sparse.csr_matrix((counts.astype(np.float32), (rows, columns)), shape=(cells, n_genes))


def encode(source: str, out: str, address: str) -> None:
    """Be the client: encode, tell of the progress on standard output, and at the end of what it took."""
    before = most_mib()
    cpu, began = time.process_time(), time.monotonic()
    report = encode_file(source, out, address, progress=lambda done, total: print(done, total, flush=True))
    most = most_mib()
    facts = {
        "cells": report.n_cells - report.resumed_cells,
        "seconds": time.monotonic() - began,
        "cpu_s": time.process_time() - cpu,
        "above_start_mib": most - before,
        "most_mib": most,
    }
    print(json.dumps(facts), flush=True)


def most_mib() -> float:
    """Highest resident memory of this process so far; the kernel's `ru_maxrss` would count that of its parent, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def run(source: Path, out: Path, address: str, server_pid: int, *, kill_at: float | None = None) -> Run | None:
    """A client in a process of its own; killed once it has that share of the cells."""
    began = cpu_s(server_pid)
    command = [sys.executable, "-m", "benchmarks.million", "--client", str(source), str(out), address]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                facts = json.loads(line)
                continue
            done, total = map(int, line.split())
            if kill_at is not None and done >= kill_at * total:
                process.kill()
                return None
        if process.wait() != 0:
            raise RuntimeError(f"the client ended with {process.returncode}")
    return Run(server_cpu_s=cpu_s(server_pid) - began, **facts)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def line(name: str, took: Run) -> str:
    """A row of the table."""
    per_cell = [1e6 * seconds / took.cells for seconds in (took.cpu_s, took.server_cpu_s)]
    return (
        f"| {name} | {took.cells:,} | {took.seconds:.1f} | {took.cells / took.seconds:,.0f} | {per_cell[0]:.1f} | "
        f"{per_cell[1]:.1f} | {took.above_start_mib:.0f} | {took.most_mib:.0f} |"
    )


def main() -> None:
    """Write, encode, kill, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--transport", choices=["http", "grpc"], default="http")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        encode(*arguments.client)
        return
    print(machine.described())
    with tempfile.TemporaryDirectory() as folder, our_server(ROOT / "examples" / "models") as server:
        address = f"{arguments.transport}://127.0.0.1:{server.facts[f'{arguments.transport}_port']}"
        with Client(address) as client:
            card = client.model()
        source, whole, resumed = (Path(folder, name) for name in ("cells.h5ad", "whole.h5ad", "resumed.h5ad"))
        began = time.monotonic()
        assert card.batch is not None
        write_cells(source, card.genes, card.proteins, tuple(map(str, card.batch.categories)), arguments.cells)
        print(f"{source.stat().st_size / MIB:,.0f} MiB of cells in {time.monotonic() - began:.0f} s")
        print("| run | cells | s | cells/s | client CPU µs a cell | of the server | MiB above start | MiB at most |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        alone = run(source, whole, address, server.pid)
        assert alone is not None
        print(line("left alone", alone), flush=True)
        run(source, resumed, address, server.pid, kill_at=0.5)
        assert not resumed.exists(), "a killed run has left a result"
        rest = run(source, resumed, address, server.pid)
        assert rest is not None
        print(line("killed half-way, the rest", rest))
        same = digest(whole) == digest(resumed)
        print(f"the two files are {'the same to the byte' if same else 'DIFFERENT'}")
        fits = max(alone.above_start_mib, rest.above_start_mib) < MOST_ABOVE_START_MIB
    if not (same and fits):
        sys.exit("not as it should be")


if __name__ == "__main__":
    main()
