"""The cells of a call, or of one slice of a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.counts import Array, Counts, column_names, read_counts
from totalvi_client.errors import InputError
from totalvi_client.labels import Labels, read_labels, read_names, read_numbers


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Raw counts of cells, with what belongs to each of them.

    Attributes:
        gene_counts: raw counts [cells, genes]: an array of numbers, rows of numbers, or any sparse matrix (what has
            `tocsr()`). A pandas DataFrame's columns are the names of the genes where none are given.
        protein_counts: raw counts [cells, proteins], of the same kinds; None: no protein was measured.
        batch: the batch: one label for all cells, or [cells] labels (list, array, pandas Series or Categorical).
            A label keeps its type: 1 and 1.0 are one, "1" is another.
        categorical_covariates: labels by the key of the covariate, of the same kinds as `batch`.
        continuous_covariates: [cells] numbers, or one for all, by the name of the covariate, in the trainer's units.
        cells: [cells] names, echoed in order; duplicates are kept.
    """

    gene_counts: Any
    protein_counts: Any = None
    batch: Any = None
    categorical_covariates: Mapping[str, Any] | None = None
    continuous_covariates: Mapping[str, Any] | None = None
    cells: Any = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ReadCells:
    """The same as it can be sent.

    Attributes:
        gene_counts: [cells, genes].
        protein_counts: [cells, proteins], or None.
        batch: labels, or None.
        categorical_covariates: labels by key.
        continuous_covariates: f32 or f64, [] or [cells], by name.
        cells: names, or None.
        genes: names that came with the counts, or None.
        proteins: names that came with the counts, or None.
    """

    gene_counts: Counts
    protein_counts: Counts | None
    batch: Labels | None
    categorical_covariates: Mapping[str, Labels]
    continuous_covariates: Mapping[str, Array]
    cells: tuple[str, ...] | None
    genes: tuple[str, ...] | None = None
    proteins: tuple[str, ...] | None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.gene_counts.n_cells

    def rows(self, start: int, stop: int) -> ReadCells:
        """Some of the cells; of the counts nothing is copied."""
        return dataclasses.replace(
            self,
            gene_counts=self.gene_counts.rows(start, stop),
            protein_counts=None if self.protein_counts is None else self.protein_counts.rows(start, stop),
            batch=None if self.batch is None else self.batch.rows(start, stop),
            categorical_covariates={
                key: labels.rows(start, stop) for key, labels in self.categorical_covariates.items()
            },
            continuous_covariates={
                name: values[start:stop] if values.ndim else values
                for name, values in self.continuous_covariates.items()
            },
            cells=None if self.cells is None else self.cells[start:stop],
        )

    def row_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [cells]: about what each takes on the wire, rather more than less."""
        sizes = self.gene_counts.row_bytes() + 4 * (1 + len(self.categorical_covariates))
        sizes += 8 * len(self.continuous_covariates)
        if self.protein_counts is not None:
            sizes += self.protein_counts.row_bytes()
        if self.cells is not None:
            sizes += np.fromiter((4 * len(name) + 6 for name in self.cells), dtype=np.int64, count=self.n_cells)
        return sizes


def read_cells(given: Cells) -> ReadCells:
    """Bring what a caller gives into the form in which it is sent.

    Raises:
        InputError: it cannot be: no matrix, a label missing, or not as many of something as there are cells.
    """
    if not isinstance(given, Cells):
        raise InputError(f"a slice must be Cells(gene_counts, …), not {type(given).__name__}")
    gene_counts = read_counts(given.gene_counts, "gene_counts")
    n_cells = gene_counts.n_cells
    protein_counts = None if given.protein_counts is None else read_counts(given.protein_counts, "protein_counts")
    if protein_counts is not None and protein_counts.n_cells != n_cells:
        raise InputError(f"protein_counts has {protein_counts.n_cells} cells, gene_counts {n_cells}")
    cells = None if given.cells is None else read_names(given.cells, "cells")
    if cells is not None and len(cells) != n_cells:
        raise InputError(f"cells has {len(cells)} names for {n_cells} cells")
    categorical, continuous = given.categorical_covariates or {}, given.continuous_covariates or {}
    return ReadCells(
        gene_counts=gene_counts,
        protein_counts=protein_counts,
        batch=None if given.batch is None else read_labels(given.batch, "batch", n_cells),
        categorical_covariates={
            key: read_labels(labels, f"categorical_covariates.{key}", n_cells) for key, labels in categorical.items()
        },
        continuous_covariates={
            name: read_numbers(values, f"continuous_covariates.{name}", n_cells) for name, values in continuous.items()
        },
        cells=cells,
        genes=_names_of(given.gene_counts, "genes"),
        proteins=_names_of(given.protein_counts, "proteins"),
    )


def _names_of(counts: Any, field: str) -> tuple[str, ...] | None:
    names = column_names(counts)
    return None if names is None else read_names(names, field)
