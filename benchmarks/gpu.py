"""What a batch costs on a GPU: the compiled encoder against itself on the CPU and against the eager one on the GPU.

    python -m benchmarks.gpu [--sizes 1,16,…] [--rounds N] [--device cuda:0]

Counts come from the host's memory and answers go back there, as in the service. Each precision that the service can be
told to take has lines of its own, and its largest error against the eager encoder in float64.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import machine
from benchmarks.cells import dense_genes, made_up_cells, made_up_encoder, made_up_spec, write_compiled
from benchmarks.report import markdown
from model.artifact import read_artifact
from model.contract import CellBatch, Precision
from model.device_encoder import DeviceEncoder, available_cores
from model.encoder_totalvi import EncoderTOTALVI

N_GENES, N_PROTEINS, N_DISTINCT = 4000, 100, 1024
FLOAT32: Precision = "float32"
SIZES = "1,4,16,64,256,1024,4096,16384"

Means: TypeAlias = npt.NDArray[np.float32]


def compiled_on(encoder: DeviceEncoder, cells: CellBatch) -> Callable[[], Means]:
    """The compiled encoder on sparse cells that lie in the host's memory."""
    return lambda: encoder.encode(cells, library=False).qz_mean


def eager_on(device: torch.device, encoder: EncoderTOTALVI, cells: CellBatch) -> Callable[[], Means]:
    """The eager encoder on dense rows that lie in the host's memory."""
    on_device = encoder.to(device)
    host = [torch.from_numpy(rows) for rows in (dense_genes(cells, N_GENES), cells.proteins, cells.codes)]

    def call() -> Means:
        with torch.inference_mode():
            genes, proteins, codes = (rows.to(device, non_blocking=True) for rows in host)
            transformed = [torch.log1p(x / (1 + x.mean(1, keepdim=True))) for x in (genes, proteins)]
            return on_device.posterior(torch.cat(transformed, dim=1), codes)[0].cpu().numpy()

    return call


def in_float64(encoder: EncoderTOTALVI, cells: CellBatch) -> npt.NDArray[np.float64]:
    """The mean of q(z) by the eager encoder, every step in float64."""
    exact = [torch.from_numpy(rows).double() for rows in (dense_genes(cells, N_GENES), cells.proteins)]
    with torch.inference_mode():
        transformed = [torch.log1p(x / (1 + x.mean(1, keepdim=True))) for x in exact]
        return encoder.double().posterior(torch.cat(transformed, dim=1), torch.from_numpy(cells.codes))[0].numpy()


def ms_a_call(call: Callable[[], object], rounds: int) -> float:
    """The median of some rounds; a call ends when its answer is in the host's memory."""
    for _ in range(5):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> None:
    """Measure and print, or say why not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help="cells a batch")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cuda:0", help="cpu tries the program out")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"no CUDA device here (torch {torch.__version__}): nothing to measure")
        return
    spec = made_up_spec(N_GENES, N_PROTEINS)
    distinct = made_up_cells(spec, N_DISTINCT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.pt"
        write_compiled(path, made_up_encoder(spec), spec)
        artifact = read_artifact(path)
    shorter: list[Precision] = ["tf32", "bfloat16"] if device.type == "cuda" else ["bfloat16"]
    on_device = {name: DeviceEncoder(artifact, device, precision=name) for name in (FLOAT32, *shorter)}
    on_cpu = DeviceEncoder(artifact, torch.device("cpu"), threads=available_cores())
    reference = in_float64(made_up_encoder(spec), distinct)
    eager = made_up_encoder(spec)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU, to try the program out"
    print(f"{machine.described()}\non {where}; {available_cores()} of {os.cpu_count()} cores for the CPU\n")
    lines = []
    for size in map(int, arguments.sizes.split(",")):
        cells = CellBatch.concatenate([distinct] * -(-size // N_DISTINCT)).cells(0, size)
        calls: dict[tuple[str, str], Callable[[], Means]] = {}
        for precision, encoder in on_device.items():
            calls["compiled, GPU", precision] = compiled_on(encoder, cells)
        rows = eager_on(device, eager, cells)
        calls |= {("eager on dense rows, GPU", name): rows for name in on_device if name != "bfloat16"}
        calls["compiled, CPU", FLOAT32] = compiled_on(on_cpu, cells)
        for (which, by), call in calls.items():
            # One flag for the process, which an encoder of that precision has set.
            torch.backends.cuda.matmul.allow_tf32 = by == "tf32"
            error = np.abs(call()[:N_DISTINCT] - reference[:size]).max()
            ms = ms_a_call(call, arguments.rounds)
            speed = f"{size / ms * 1e3:,.0f}"
            lines.append((f"{size:,}", which, by, f"{ms:.3f}", f"{ms / size * 1e3:.2f}", speed, f"{error:.1e}"))
    print(markdown(("cells", "", "precision", "ms", "µs a cell", "cells/s", "largest error"), lines, left={1, 2}))


if __name__ == "__main__":
    main()
