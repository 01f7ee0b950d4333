"""The model and the cells that everything is measured with, made up like real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from model import torchscript
from model.artifact import write_artifact
from model.compiled_encoder import compile_encoder
from model.contract import CategoricalField, CellBatch, EncoderSpec, LatentParams
from model.encoder_totalvi import EncoderTOTALVI

N_LATENT = 20
BATCHES = ("a", "b")

MOST_PARTS = 64
"""Different requests of a kind: enough that no cache holds a single one's cells."""


def made_up_spec(n_genes: int, n_proteins: int) -> EncoderSpec:
    """An ordinary model: two batches, 20 latent dimensions, two layers of 256, the observed library size."""
    return EncoderSpec(
        model_class="TOTALVI",
        genes=tuple(f"g{i}" for i in range(n_genes)),
        proteins=tuple(f"p{i}" for i in range(n_proteins)),
        batch=CategoricalField("batch", BATCHES),
        categorical_covariates=(),
        continuous_covariates=(),
        n_latent=N_LATENT,
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


def made_up_encoder(spec: EncoderSpec) -> EncoderTOTALVI:
    """The eager encoder of the spec, with weights and batch-norm statistics as if it had been trained."""
    generator = torch.Generator().manual_seed(0)
    encoder = EncoderTOTALVI(len(spec.genes) + len(spec.proteins), spec.n_latent, [len(BATCHES)], distribution="normal")
    for module in encoder.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            torch.nn.init.normal_(module.bias, std=0.1, generator=generator)
        if isinstance(module, torch.nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            torch.nn.init.normal_(module.running_mean, std=0.3, generator=generator)
            torch.nn.init.uniform_(module.running_var, 0.3, 2.0, generator=generator)
    return encoder.eval()


def made_up_cells(spec: EncoderSpec, n_cells: int) -> CellBatch:
    """Counts with skewed gene frequencies, about 10 % of them not zero; proteins are dense."""
    rng = np.random.default_rng(0)
    n_genes = len(spec.genes)
    frequency = rng.permutation(np.minimum(1.0, 0.033 * (np.arange(1, n_genes + 1) / n_genes) ** -0.75))
    counts = (rng.random((n_cells, n_genes)) < frequency) * (1 + rng.poisson(0.8, size=(n_cells, n_genes)))
    rows, columns = np.nonzero(counts)
    return CellBatch(
        indptr=np.searchsorted(rows, np.arange(n_cells + 1)).astype(np.int32),
        indices=columns.astype(np.int32),
        counts=counts[rows, columns].astype(np.float32),
        proteins=rng.negative_binomial(2, 0.02, size=(n_cells, len(spec.proteins))).astype(np.float32),
        continuous=np.zeros((n_cells, 0), dtype=np.float32),
        codes=rng.integers(0, len(BATCHES), size=(n_cells, 1)).astype(np.int32),
    )


def parts(cells: CellBatch, size: int) -> list[CellBatch]:
    """The first cells in requests of `size`: as many as there are whole ones, and no more than `MOST_PARTS`."""
    starts = range(0, cells.n_cells - size + 1, size)
    return [cells.cells(start, start + size) for start in starts[:MOST_PARTS]]


def dense_genes(cells: CellBatch, n_genes: int) -> npt.NDArray[np.float32]:
    """The gene counts as rows of numbers."""
    dense = np.zeros((cells.n_cells, n_genes), dtype=np.float32)
    dense[np.repeat(np.arange(cells.n_cells), np.diff(cells.indptr)), cells.indices] = cells.counts
    return dense


def eager_call(encoder: EncoderTOTALVI, spec: EncoderSpec, cells: CellBatch) -> Callable[[], LatentParams]:
    """The eager encoder on dense rows, transform included, as scvi-tools runs it."""
    genes, proteins = torch.from_numpy(dense_genes(cells, len(spec.genes))), torch.from_numpy(cells.proteins)
    codes = torch.from_numpy(cells.codes).long()

    def call() -> LatentParams:
        with torch.inference_mode():
            transformed = [torch.log1p(x / (1 + x.mean(1, keepdim=True))) for x in (genes, proteins)]
            qz_mean, qz_variance, ql_mean, ql_variance = encoder.posterior(torch.cat(transformed, dim=1), codes)
        return LatentParams(qz_mean.numpy(), qz_variance.numpy(), ql_mean[:, 0].numpy(), ql_variance[:, 0].numpy())

    return call


def write_compiled(path: Path, encoder: EncoderTOTALVI, spec: EncoderSpec) -> None:
    """Write the artifact that is served and measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_artifact(path, torchscript.script(compile_encoder(encoder, spec)), spec)
