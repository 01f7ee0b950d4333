"""What a cell costs in the encoder alone: compiled against eager, CPU time in one run on one thread.

    make bench        (or: python benchmarks/encoder.py [--cells N] [--genes N] [--proteins N] [--rounds N])

The encoders alternate, so that a busy neighbour disturbs both; the median of the rounds counts. Cells are made up like
real ones: gene frequencies skewed, about 8 % of entries non-zero, proteins dense.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from model import torchscript
from model.artifact import read_artifact, write_artifact
from model.compiled_encoder import compile_encoder
from model.contract import CategoricalField, CellBatch, EncoderSpec
from model.device_encoder import DeviceEncoder
from model.encoder_totalvi import EncoderTOTALVI


def made_up_spec(n_genes: int, n_proteins: int) -> EncoderSpec:
    """An ordinary model: two batches, 20 latent dimensions, two layers of 256."""
    return EncoderSpec(
        model_class="TOTALVI",
        genes=tuple(f"g{i}" for i in range(n_genes)),
        proteins=tuple(f"p{i}" for i in range(n_proteins)),
        batch=CategoricalField("batch", ("a", "b")),
        categorical_covariates=(),
        continuous_covariates=(),
        n_latent=20,
        n_hidden=256,
        n_layers=2,
        latent_distribution="normal",
        encode_covariates=True,
        input_transform="scaled",
        log_variational=True,
        input_transform_decision="made up",
        library_encoder_trained=False,
        proteins_missing_per_batch={},
        scvi_version=None,
        save_sha256="",
        deviation_from_eager={},
    )


def made_up_cells(spec: EncoderSpec, n_cells: int) -> CellBatch:
    """Counts with skewed gene frequencies, about 8 % of them not zero."""
    rng = np.random.default_rng(0)
    n_genes = len(spec.genes)
    frequency = rng.permutation(np.minimum(1.0, 0.08 * 0.33 * (np.arange(1, n_genes + 1) / n_genes) ** -0.75))
    counts = (rng.random((n_cells, n_genes)) < frequency) * (1 + rng.poisson(0.8, size=(n_cells, n_genes)))
    rows, columns = np.nonzero(counts)
    return CellBatch(
        indptr=np.searchsorted(rows, np.arange(n_cells + 1)).astype(np.int32),
        indices=columns.astype(np.int32),
        counts=counts[rows, columns].astype(np.float32),
        proteins=rng.negative_binomial(2, 0.02, size=(n_cells, len(spec.proteins))).astype(np.float32),
        continuous=np.zeros((n_cells, 0), dtype=np.float32),
        codes=rng.integers(0, 2, size=(n_cells, 1)).astype(np.int32),
    )


def eager_call(encoder: EncoderTOTALVI, spec: EncoderSpec, cells: CellBatch) -> Callable[[], object]:
    """The eager encoder on dense rows, transform included, as scvi-tools runs it."""
    dense = torch.zeros(cells.n_cells, len(spec.genes))
    rows = np.repeat(np.arange(cells.n_cells), np.diff(cells.indptr))
    dense[rows, cells.indices] = torch.from_numpy(cells.counts)
    proteins, codes = torch.from_numpy(cells.proteins), torch.from_numpy(cells.codes).long()

    def call() -> object:
        with torch.inference_mode():
            parts = [torch.log1p(x / (1 + x.mean(1, keepdim=True))) for x in (dense, proteins)]
            return encoder.posterior(torch.cat(parts, dim=1), codes)

    return call


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
    eager = EncoderTOTALVI(arguments.genes + arguments.proteins, 20, [2], distribution="normal").eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.pt"
        write_artifact(path, torchscript.script(compile_encoder(eager, spec)), spec)
        compiled = DeviceEncoder(read_artifact(path), torch.device("cpu"), threads=1)
    cells = made_up_cells(spec, arguments.cells)
    calls: dict[str, Callable[[], object]] = {
        "eager, dense rows": eager_call(eager, spec, cells),
        "compiled, sparse rows": lambda: compiled.encode(cells),
    }
    torch.set_num_threads(1)
    for call in calls.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times[name].append(cpu_us_per_cell(call, arguments.cells))
    processor = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    density = cells.n_entries / (arguments.cells * arguments.genes)
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{processor}, {os.cpu_count()} cores, one thread; {versions}")
    print(f"{arguments.cells} cells, {arguments.genes} genes ({density:.1%} non-zero), {arguments.proteins} proteins")
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        spread = max(times[name]) / min(times[name])
        print(f"  {name:24} {value:7.1f} us of CPU a cell (largest over smallest round: {spread:.2f})")
    ratio = median["compiled, sparse rows"] / median["eager, dense rows"]
    print(f"  compiled / eager         {ratio:7.3f}")


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
