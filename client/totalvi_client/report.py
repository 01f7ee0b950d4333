"""What was done, for a person and for a file: where the counts came from, what fitted the model, and what did not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from totalvi_client.joining import joined_notices
from totalvi_client.left_over import WRITTEN
from totalvi_client.results import Coverage, Encoding, Label, Notice


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the cells.

    Attributes:
        source: the file that was read; None for an object in memory.
        out: the file that was written, or None.
        model: name of the model.
        version: its version.
        sha256: of its artifact.
        input_transform: of the model.
        latent_distribution: of the model: `normal` or `ln`.
        n_cells: number of cells.
        n_latent: dimensions of the latent space.
        written: what was written, as `obsm['X_totalVI']`.
        counts: where the gene counts are, and why those were taken.
        gene_column: whose names matched: `var_names` or a column of `var`.
        genes: how they meet the model's.
        missing_genes: those that counted 0.
        protein_counts: where the protein counts are; empty: none.
        proteins: how they meet the model's.
        missing_proteins: those that counted 0.
        batch: where the labels are; None: the encoder takes none.
        batch_map: the labels of the data and what the model calls each.
        batch_cells: how many cells have each of them, by the model's label; empty where one was given for all.
        covariates: where each is.
        seed: of the draws; None: there are none.
        n_samples: draws for each cell.
        warnings: what to know.
        client_version: of this package.
        server_version: None where the server does not tell.
        resumed_cells: how many were there already, from a run that was interrupted.
        restarted: why cells of an interrupted run could not be used; None otherwise.
        seconds: that it took.
    """

    source: str | None = None
    out: str | None = None
    model: str
    version: str
    sha256: str
    input_transform: str
    latent_distribution: str
    n_cells: int
    n_latent: int
    written: tuple[str, ...] = ()
    counts: str
    gene_column: str
    genes: Coverage
    missing_genes: tuple[str, ...]
    protein_counts: str
    proteins: Coverage
    missing_proteins: tuple[str, ...]
    batch: str | None
    batch_map: Mapping[str, Label]
    batch_cells: Mapping[str, int]
    covariates: Mapping[str, str]
    seed: int | None
    n_samples: int
    warnings: tuple[Notice, ...]
    client_version: str
    server_version: str | None = None
    resumed_cells: int = 0
    restarted: str | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    def to_json(self, indent: int | None = None) -> str:
        """As JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def provenance(self) -> dict[str, Any]:
        """What belongs beside the result, in `uns`: nothing in it tells of the clock, or of how often it was begun."""
        return {
            "model": self.model,
            "model_version": self.version,
            "model_sha256": self.sha256,
            "input_transform": self.input_transform,
            "latent_distribution": self.latent_distribution,
            "n_cells": self.n_cells,
            WRITTEN: list(self.written),
            "counts": self.counts,
            "gene_column": self.gene_column,
            "genes": _coverage(self.genes),
            "missing_genes": list(self.missing_genes),
            "protein_counts": self.protein_counts,
            "proteins": _coverage(self.proteins),
            "missing_proteins": list(self.missing_proteins),
            "batch": self.batch or "",
            # Columns, as a label may have a / in it, or be a dot, and be no key of HDF5 then.
            "batch_map": {"given": list(self.batch_map), "model": [str(label) for label in self.batch_map.values()]},
            "covariates": {"name": list(self.covariates), "place": list(self.covariates.values())},
            # Text, as a seed may be larger than what a file's integers hold.
            "seed": "" if self.seed is None else str(self.seed),
            "n_samples": self.n_samples,
            "warnings": [f"{notice.code}: {notice.detail}" for notice in self.warnings],
            "client_version": self.client_version,
            "server_version": self.server_version or "",
        }

    def lines(self) -> list[str]:
        """For a person to read."""
        told = [
            f"{self.n_cells:,} cells, {self.n_latent} latent dimensions, model {self.model} version {self.version}",
            f"genes: {self.genes.known:,} of the model's {self.genes.known + self.genes.missing:,} "
            f"({self.genes.coverage:.1%}) by {self.gene_column}; {self.counts}",
        ]
        if self.proteins.known + self.proteins.missing:
            told.append(
                f"proteins: {self.proteins.known} of the model's {self.proteins.known + self.proteins.missing} "
                f"({self.proteins.coverage:.1%}) from {self.protein_counts or 'nowhere'}"
            )
        if self.batch is not None:
            cells = ", ".join(f"{label} ({n:,})" for label, n in self.batch_cells.items())
            told.append(f"batch: {self.batch}" + (f": {cells}" if cells else ""))
        told += [f"{name}: {place}" for name, place in self.covariates.items()]
        return told + [f"warning: {notice.detail}" for notice in self.warnings]

    def __str__(self) -> str:
        """The lines."""
        return "\n".join(self.lines())


def gathered(notices: Sequence[Notice], known: Sequence[Notice] = ()) -> tuple[Notice, ...]:
    """The warnings of many slices as those of the whole.

    Args:
        notices: of the slices, in order; those that are the same for each slice are told once.
        known: what was found for the whole before; the server says the like of each slice, which is left out.
    """
    codes = {notice.code for notice in known}
    told = tuple(notice for notice in notices if notice.code not in codes)
    return (*known, *joined_notices([Encoding("", "", 0, warnings=told)]))


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {name: getattr(coverage, name) for name in ("given", "known", "missing", "extra", "coverage")}
