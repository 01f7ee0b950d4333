"""What an AnnData is to this package: matrices, names of columns, and what is told of cells; in memory or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError
from totalvi_client.matrices import ArrayMatrix, Matrix, StoredCsr
from totalvi_client.obs_columns import LabelColumn, label_column
from totalvi_client.spill import scratch_beside, stored_csc

Names = npt.NDArray[Any]
"""Text [columns]."""


class Table(Protocol):
    """Cells with their counts and what is told of them.

    `layer` is `X`, the name of a layer, or `raw`, which has columns of its own.

    Attributes:
        title: what messages call it.
        n_cells: rows of everything in it.
        choose_names: whether the names of its genes are nobody's choice yet (10x files name them twice).
    """

    title: str
    n_cells: int
    choose_names: bool

    def layers(self) -> list[str]:
        """What `matrix` takes, `X` and `raw` among it where they are there."""

    def matrix(self, layer: str) -> Matrix:
        """The numbers of a layer."""

    def var_names(self, layer: str) -> Names:
        """Names of the columns of a layer."""

    def var_columns(self, layer: str) -> list[str]:
        """What else is told of those columns."""

    def var_column(self, layer: str, name: str) -> Names:
        """One of these, as text."""

    def obs_columns(self) -> list[str]:
        """What is told of the cells."""

    def obs_column(self, name: str) -> LabelColumn:
        """One of these."""

    def obs_names(self) -> Names:
        """Names of the cells, in order."""

    def obsm_keys(self) -> list[str]:
        """Further matrices of the cells."""

    def obsm(self, key: str) -> tuple[Matrix, list[str] | None]:
        """One of these, and the names of its columns where it has some."""

    def uns(self, key: str) -> Any:
        """Something unstructured, or None."""


class AnnDataTable:
    """An AnnData in memory; of a backed one the counts stay in the file.

    Args:
        adata: of any kind: a view, backed, or lazy.
        title: what messages call it.
    """

    choose_names = False

    def __init__(self, adata: Any, title: str = "the AnnData") -> None:
        self.title = title
        self._adata = adata
        self.n_cells = int(adata.n_obs)
        self._matrices: dict[str, Matrix] = {}
        self._layers: list[str] | None = None

    def layers(self) -> list[str]:
        """Layers that there are."""
        if self._layers is None:
            # Once: a view copies its X each time that it is looked at.
            x = getattr(self._adata, "X", None)
            found = [] if x is None else ["X"]
            if x is not None:
                self._matrices["X"] = self._as_matrix(x)
            found += [str(name) for name in getattr(self._adata, "layers", ())]
            self._layers = [*found, "raw"] if self._raw is not None and "raw" not in found else found
        return self._layers

    @property
    def _raw(self) -> Any:
        return getattr(self._adata, "raw", None)

    def matrix(self, layer: str) -> Matrix:
        """The numbers of a layer; those of a view are copied once."""
        if layer not in self._matrices:
            if layer == "X":
                values = self._adata.X
            else:
                values = self._raw.X if self._is_raw(layer) else self._adata.layers[layer]
            self._matrices[layer] = self._as_matrix(values)
        return self._matrices[layer]

    def _as_matrix(self, values: Any) -> Matrix:
        group = getattr(values, "group", None)
        if group is None or not hasattr(values, "to_memory"):
            return ArrayMatrix(values)
        shape = (int(values.shape[0]), int(values.shape[1]))
        if not hasattr(group, "id"):
            # A zarr group.
            return ArrayMatrix(values)
        if values.format == "csr":
            return StoredCsr(group, shape)
        return stored_csc(group, shape, scratch_beside(Path(group.file.filename)))

    def _var(self, layer: str) -> Any:
        return self._raw.var if self._is_raw(layer) else self._adata.var

    def _is_raw(self, layer: str) -> bool:
        return layer == "raw" and self._raw is not None

    def var_names(self, layer: str) -> Names:
        """Names of the columns of a layer."""
        return np.asarray(self._var(layer).index.astype(str), dtype=object)

    def var_columns(self, layer: str) -> list[str]:
        """What else is told of those columns."""
        return [str(name) for name in self._var(layer).columns]

    def var_column(self, layer: str, name: str) -> Names:
        """One of these, as text."""
        return np.asarray(self._var(layer)[name].astype(str), dtype=object)

    def obs_columns(self) -> list[str]:
        """What is told of the cells."""
        return [str(name) for name in self._adata.obs.columns]

    def obs_column(self, name: str) -> LabelColumn:
        """One of these."""
        return label_column(self._adata.obs[name])

    def obs_names(self) -> Names:
        """Names of the cells."""
        return np.asarray(self._adata.obs_names.astype(str), dtype=object)

    def obsm_keys(self) -> list[str]:
        """Further matrices of the cells."""
        return [str(key) for key in self._adata.obsm]

    def obsm(self, key: str) -> tuple[Matrix, list[str] | None]:
        """One of these; the columns of a DataFrame have names."""
        values = self._adata.obsm[key]
        names = [str(name) for name in values.columns] if hasattr(values, "columns") else None
        matrix = values if names is None else values.to_numpy()
        if getattr(getattr(matrix, "dtype", None), "kind", "") == "O":
            import pandas as pd  # noqa: PLC0415

            # As pandas gives its nullable numbers: one that is missing becomes NaN, which is told of by its cell.
            try:
                matrix = pd.DataFrame(values).to_numpy(dtype=np.float64, na_value=np.nan)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"obsm[{key!r}] of {self.title} is not all numbers ({error}); keep the columns of numbers only"
                ) from error
        return ArrayMatrix(matrix), names

    def uns(self, key: str) -> Any:
        """Something unstructured, or None."""
        return self._adata.uns.get(key)


def cell_names(table: Table, cells: npt.NDArray[np.intp], most: int = 3) -> str:
    """A few cells by name, for a message."""
    names = table.obs_names()[cells[:most]]
    more = len(cells) - most
    return ", ".join(map(str, names)) + (f" and {more} more" if more > 0 else "")


def column_of(table: Table, layer: str, name: str | None) -> Names:
    """Names of the columns by the names themselves or a column of `var`.

    Raises:
        InputError: no such column.
    """
    if name is None or name in ("index", "var_names"):
        return table.var_names(layer)
    if name not in table.var_columns(layer):
        known = ", ".join(table.var_columns(layer)) or "none"
        raise InputError(f"{table.title} has no column {name!r} in var; it has: {known}")
    return table.var_column(layer, name)
