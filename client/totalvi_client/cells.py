"""The cells of a call, or of one slice of a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


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
