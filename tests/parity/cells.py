"""Counts with names and labels → the cells of an encoder, found by name. Knows no scvi-tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from model.contract import CellBatch, EncoderSpec


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells as a scientist holds them.

    Attributes:
        genes: dense counts [cells, genes].
        gene_names: of the columns.
        proteins: dense counts [cells, proteins].
        protein_names: of the columns.
        obs: column name → a label or number for each cell.
    """

    genes: npt.NDArray[Any]
    gene_names: list[str]
    proteins: npt.NDArray[Any]
    protein_names: list[str]
    obs: Mapping[str, list[Any]]

    def batch(self, spec: EncoderSpec) -> CellBatch:
        """The same cells over the encoder's columns, with its codes."""
        genes = self.genes[:, [self.gene_names.index(name) for name in spec.genes]]
        proteins = self.proteins[:, [self.protein_names.index(name) for name in spec.proteins]]
        n_cells = len(genes)
        rows, columns = np.nonzero(genes)
        continuous = [self.obs[name] for name in spec.continuous_inputs]
        codes = [self._codes(field.key, field.categories) for field in spec.categorical_inputs]
        return CellBatch(
            indptr=np.searchsorted(rows, np.arange(n_cells + 1)).astype(np.int32),
            indices=columns.astype(np.int32),
            counts=genes[rows, columns].astype(np.float32),
            proteins=proteins.astype(np.float32),
            continuous=np.array(continuous, dtype=np.float32).reshape(len(continuous), n_cells).T.copy(),
            codes=np.array(codes, dtype=np.int32).reshape(len(codes), n_cells).T.copy(),
        )

    def _codes(self, key: str, categories: tuple[Any, ...]) -> list[int]:
        # The type is part of a label: True is not 1.
        codes = {(type(category), category): code for code, category in enumerate(categories)}
        return [codes[type(label), label] for label in self.obs[key]]
