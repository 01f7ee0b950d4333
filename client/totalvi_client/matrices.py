"""Matrices of cells and columns that are read a few rows at a time, wherever they lie."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError

SAMPLED_BLOCKS = 16
SAMPLED_ROWS = 64
"""Of each block: what a look at the kind of numbers costs is the same for a sample and for an atlas."""


class Matrix(Protocol):
    """Numbers of cells [rows] and columns.

    Attributes:
        shape: cells, columns.
    """

    shape: tuple[int, int]

    def rows(self, start: int, stop: int) -> Any:
        """Those rows: a numpy array, or a scipy matrix in CSR."""


class ArrayMatrix:
    """What has rows that can be sliced: a numpy array, a sparse matrix, an open HDF5 data set, a lazy array.

    Args:
        values: two-dimensional.
    """

    def __init__(self, values: Any) -> None:
        form = getattr(values, "format", None)
        # Rows cannot be cut out of columns; what is in memory already may be turned around there.
        self._values = _wide(values).tocsr() if form not in (None, "csr") and hasattr(values, "tocsr") else values
        self.shape: tuple[int, int] = (int(values.shape[0]), int(values.shape[1]))

    def rows(self, start: int, stop: int) -> Any:
        """Those rows."""
        block = self._values[start:stop]
        if hasattr(block, "compute"):
            block = block.compute()
        if hasattr(block, "tocsr"):
            return block.tocsr()
        return np.asarray(block)


class StoredCsr:
    """A matrix in compressed rows in an HDF5 file, read by ranges of its entries.

    Args:
        group: with `data`, `indices` and `indptr`; one row a cell.
        shape: cells, columns.
    """

    def __init__(self, group: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._data, self._indices = group["data"], group["indices"]
        self._indptr: npt.NDArray[np.int64] = np.asarray(group["indptr"][:], dtype=np.int64)
        check_indptr(self._indptr, shape[0], min(self._data.shape[0], self._indices.shape[0]), group.name)

    def rows(self, start: int, stop: int) -> Any:
        """Those rows."""
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        return csr(
            self._data[first:last], self._indices[first:last], self._indptr[start : stop + 1] - first, self.shape[1]
        )


class StoredFrame:
    """The columns of a data frame in an HDF5 file, read by rows.

    Args:
        columns: open data sets of numbers, each [cells].
        n_cells: number of cells.
    """

    def __init__(self, columns: list[Any], n_cells: int) -> None:
        self.shape = (n_cells, len(columns))
        self._columns = columns

    def rows(self, start: int, stop: int) -> Any:
        """Those rows."""
        if not self._columns:
            return np.empty((stop - start, 0))
        return np.stack([column[start:stop] for column in self._columns], axis=1)


class Columns:
    """Some columns of a matrix.

    Args:
        matrix: with all of them.
        positions: those wanted, in any order.
    """

    def __init__(self, matrix: Matrix, positions: npt.NDArray[np.intp]) -> None:
        self._matrix, self._positions = matrix, positions
        self.shape = (matrix.shape[0], len(positions))

    def rows(self, start: int, stop: int) -> Any:
        """Those rows."""
        return self._matrix.rows(start, stop)[:, self._positions]


def csr(data: Any, indices: Any, indptr: Any, n_columns: int) -> Any:
    """A scipy matrix of rows; columns outside of it are refused here, before anything is counted by them.

    Raises:
        InputError: for a column that is not there.
    """
    import scipy.sparse  # noqa: PLC0415

    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < n_columns:
        raise InputError(f"the file is damaged: an entry stands outside of the {n_columns} columns; get a new copy")
    return scipy.sparse.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, n_columns), copy=False)


def check_indptr(indptr: npt.NDArray[np.int64], n_lines: int, n_entries: int, where: str) -> None:
    """Refuse an index of lines that cannot be.

    Raises:
        InputError: the file is damaged.
    """
    if len(indptr) != n_lines + 1 or indptr[0] != 0 or indptr[-1] > n_entries or bool((np.diff(indptr) < 0).any()):
        raise InputError(f"the file is damaged: the index of the sparse matrix {where} is wrong; get a new copy")


def as_csr(block: Any) -> Any:
    """A block of rows as CSR, zeros of a dense one left out."""
    if hasattr(block, "tocsr"):
        return block.tocsr()
    block = np.asarray(block)
    # In fewer passes than scipy's own way.
    stored = block != 0
    indptr = np.zeros(block.shape[0] + 1, dtype=np.int64)
    np.cumsum(np.count_nonzero(stored, axis=1), out=indptr[1:])
    places = np.flatnonzero(stored)
    columns = (places % max(block.shape[1], 1)).astype(np.int32)
    return csr(block.ravel()[places], columns, indptr, block.shape[1])


def as_dense(block: Any) -> npt.NDArray[Any]:
    """A block of rows as an array."""
    return np.asarray(_wide(block).toarray() if hasattr(block, "toarray") else block)


def _wide(matrix: Any) -> Any:
    """A sparse matrix whose entries of one place may add up: a small integer would not hold the sum."""
    if np.dtype(matrix.dtype).kind not in "iub" or getattr(matrix, "has_canonical_format", False):
        return matrix
    return matrix.astype(np.promote_types(matrix.dtype, np.uint32), copy=False)


def values_of(block: Any) -> npt.NDArray[Any]:
    """The stored numbers of a block, in one line."""
    return np.asarray(block.data if hasattr(block, "tocsr") else block).reshape(-1)


def sampled_rows(matrix: Matrix) -> list[Any]:
    """Blocks of rows from all over a matrix: enough to tell what kind of numbers it has."""
    n_rows = matrix.shape[0]
    starts = np.unique(np.linspace(0, max(n_rows - SAMPLED_ROWS, 0), SAMPLED_BLOCKS).astype(int))
    return [matrix.rows(int(start), min(int(start) + SAMPLED_ROWS, n_rows)) for start in starts] if n_rows else []
