"""Draws the example cells from the example model's own decoder, and asks scvi-tools what it makes of them.

No measured cell is in the result: latents come from the prior, counts from the decoder's distributions. Needs
scvi-tools (pip install -e '.[parity]') and the save the example model was exported from, with any AnnData that it fits:

    python examples/draw_cells.py SAVE QUERY.h5ad

writes examples/request.json (a few cells, as a caller would send them), tests/golden/pbmc.npz (more cells, with
scvi-tools' answers) and examples/cells.h5ad (more still, around a few places of the latent space, so that a picture of
them has something to show).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
import scvi
import torch

ROOT = Path(__file__).resolve().parents[1]
N_CELLS, N_IN_REQUEST, SEED = 40, 5, 20261122
POPULATIONS = {"CD4": 170, "CD14": 130, "CD8a": 120, "CD56": 90, "CD19": 90}
"""Cells of examples/cells.h5ad, by the protein that the decoder gives most of where they were drawn."""

N_PLACES, SPREAD = 4000, 0.45
"""Draws of the prior among which those places are; standard deviation of the cells around them."""


def decode(model: scvi.model.TOTALVI, z: torch.Tensor, batches: np.ndarray[Any, Any], depths: Any) -> tuple[Any, Any]:
    """What the decoder says of the genes and of the proteins at latents [cells, n_latent]."""
    with torch.no_grad():
        generated = model.module.eval().generative(
            z=z,
            library_gene=torch.tensor(depths, dtype=torch.float32)[:, None],
            batch_index=torch.tensor(batches)[:, None],
            label=torch.zeros(len(z), 1, dtype=torch.long),
        )
    return generated["px_"], generated["py_"]


def draw(model: scvi.model.TOTALVI, z: torch.Tensor, batches: np.ndarray[Any, Any], depths: Any) -> tuple[Any, Any]:
    """Counts [cells, genes] and [cells, proteins] from the decoder."""
    px, py = decode(model, z, batches, depths)
    with torch.no_grad():
        genes = scvi.distributions.NegativeBinomial(mu=px["rate"], theta=px["r"]).sample()
        background = torch.rand_like(py["mixing"]) < torch.sigmoid(py["mixing"])
        rate = torch.where(background, py["rate_back"], py["rate_fore"])
        proteins = scvi.distributions.NegativeBinomial(mu=rate, theta=py["r"]).sample()
    return genes.numpy().astype(np.int64), proteins.numpy().astype(np.int64)


def draw_populations(
    model: scvi.model.TOTALVI, genes: list[str], proteins: list[str], labels: list[str]
) -> anndata.AnnData:
    """Cells around those draws of the prior at which the decoder gives most of one protein."""
    rng = np.random.default_rng(SEED)
    places = torch.randn(N_PLACES, model.module.n_latent)
    _, at = decode(model, places, np.zeros(N_PLACES, np.int64), np.full(N_PLACES, 1300.0))
    mixing = torch.sigmoid(at["mixing"])
    expected = mixing * at["rate_back"] + (1 - mixing) * at["rate_fore"]
    centres = {name: places[expected[:, proteins.index(f"{name}_TotalSeqB")].argmax()] for name in POPULATIONS}
    of_cell = np.repeat(list(POPULATIONS), list(POPULATIONS.values()))
    rng.shuffle(of_cell)
    z = torch.stack([centres[name] for name in of_cell])
    z = z + SPREAD * torch.randn(z.shape)
    batches = rng.integers(0, len(labels), size=len(z))
    gene_counts, protein_counts = draw(model, z, batches, rng.lognormal(7.0, 0.3, size=len(z)))
    cells = [f"drawn-{i}" for i in range(len(z))]
    return anndata.AnnData(
        scipy.sparse.csr_matrix(gene_counts.astype(np.float32)),
        obs=pd.DataFrame(
            {
                "batch": pd.Categorical([labels[code] for code in batches]),
                "population": pd.Categorical([f"{name} high" for name in of_cell]),
            },
            index=cells,
        ),
        var=pd.DataFrame(index=genes),
        obsm={"protein_expression": pd.DataFrame(protein_counts.astype(np.float32), index=cells, columns=proteins)},
    )


def main() -> None:
    """Draw, ask scvi-tools, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("save", type=Path)
    parser.add_argument("query", type=Path)
    arguments = parser.parse_args()
    scvi.settings.seed = SEED
    query = anndata.read_h5ad(arguments.query)
    model = scvi.model.TOTALVI.load(arguments.save, adata=query, accelerator="cpu")
    labels = list(model.adata_manager.get_state_registry("batch").categorical_mapping)
    proteins_measured = list(model.adata_manager.get_state_registry("proteins").column_names)
    rng = np.random.default_rng(SEED)
    batches = rng.integers(0, len(labels), size=N_CELLS)
    genes, proteins = draw(
        model, torch.randn(N_CELLS, model.module.n_latent), batches, rng.lognormal(7.2, 0.3, size=N_CELLS)
    )
    cells = [f"drawn-{i}" for i in range(N_CELLS)]
    drawn = anndata.AnnData(
        genes.astype(np.float32),
        obs=pd.DataFrame({"batch": [labels[code] for code in batches]}, index=cells),
        var=query.var[[]],
        obsm={"protein_expression": pd.DataFrame(proteins, index=cells, columns=proteins_measured)},
    )
    qz_mean, qz_variance = model.get_latent_representation(drawn, return_dist=True)
    names = [str(name) for name in drawn.var_names]
    rows, columns = np.nonzero(genes[:N_IN_REQUEST])
    request = {
        "cells": cells[:N_IN_REQUEST],
        "genes": names,
        "gene_counts": {
            "indptr": np.searchsorted(rows, np.arange(N_IN_REQUEST + 1)).tolist(),
            "indices": columns.tolist(),
            "data": genes[rows, columns].tolist(),
        },
        "proteins": proteins_measured,
        "protein_counts": proteins[:N_IN_REQUEST].tolist(),
        "batch": drawn.obs["batch"].tolist()[:N_IN_REQUEST],
    }
    (ROOT / "examples" / "request.json").write_text(json.dumps(request, separators=(",", ":")) + "\n")
    np.savez_compressed(
        ROOT / "tests" / "golden" / "pbmc.npz",
        genes=genes.astype(np.uint16),
        proteins=proteins.astype(np.uint16),
        gene_names=np.array(names),
        protein_names=np.array(proteins_measured),
        batch=np.array(drawn.obs["batch"]).astype("U"),
        qz_mean=qz_mean,
        qz_variance=qz_variance,
        scvi_version=np.array(scvi.__version__),
    )
    draw_populations(model, names, proteins_measured, labels).write_h5ad(
        ROOT / "examples" / "cells.h5ad", compression="gzip"
    )


if __name__ == "__main__":
    main()
