"""Matrices of counts: what a caller may give, and the smallest form of it that holds the same numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError

Array: TypeAlias = npt.NDArray[Any]

_UNSIGNED: Final = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<u4"))
_MOST_EXACT = 2**32 - 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class DenseCounts:
    """Rows of counts.

    Attributes:
        values: [cells, columns], of a type that the wire has.
    """

    values: Array

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    def rows(self, start: int, stop: int) -> DenseCounts:
        """Some of the cells; nothing is copied."""
        return DenseCounts(self.values[start:stop])

    def row_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [cells]: what each takes on the wire."""
        return np.full(self.n_cells, self.values.shape[1] * self.values.itemsize, dtype=np.int64)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CsrCounts:
    """Compressed sparse rows of counts.

    Attributes:
        indptr: int64 [cells + 1], where each cell's entries begin in the two others; it need not begin with 0.
        indices: u16 or u32 [entries].
        data: [entries], of a type that the wire has.
        n_columns: width of the matrix.
    """

    indptr: npt.NDArray[np.int64]
    indices: Array
    data: Array
    n_columns: int

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    def rows(self, start: int, stop: int) -> CsrCounts:
        """Some of the cells; nothing is copied."""
        return dataclasses.replace(self, indptr=self.indptr[start : stop + 1])

    def parts(self) -> tuple[Array, Array, Array]:
        """The row pointers from 0 on in their smallest type, and the indices and data of just these rows."""
        first, last = int(self.indptr[0]), int(self.indptr[-1])
        # The wire has no u8 for positions.
        indptr = (self.indptr - first).astype(np.uint16 if last - first < 1 << 16 else np.int64)
        return indptr, self.indices[first:last], self.data[first:last]

    def row_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [cells]: what each takes on the wire, at most."""
        sizes: npt.NDArray[np.int64] = np.diff(self.indptr) * (self.indices.itemsize + self.data.itemsize) + 8
        return sizes


Counts: TypeAlias = DenseCounts | CsrCounts


def read_counts(given: Any, field: str) -> Counts:
    """A caller's matrix, in the form and the types that take the fewest bytes; its values are left as they are.

    Args:
        given: an array or rows of numbers, a pandas DataFrame, or anything sparse that has `tocsr()`.
        field: its name, for messages.

    Raises:
        InputError: it is no matrix of numbers.
    """
    if hasattr(given, "tocsr"):
        return _read_sparse(given, field)
    values = _numbers(given.to_numpy() if hasattr(given, "to_numpy") else given, field)
    if values.ndim != 2:
        raise InputError(f"{field} must be a matrix of cells and columns, not an array of {values.ndim} axes")
    return _smaller_form(smallest(values))


def column_names(given: Any) -> list[Any] | None:
    """The names of the columns, where the matrix is a pandas DataFrame; None: it has none."""
    return list(given.columns) if hasattr(given, "columns") and hasattr(given, "to_numpy") else None


def smallest(values: Array) -> Array:
    """The same numbers in the smallest type of the wire that holds each of them exactly.

    Whole numbers from 0 to 2^32 - 1 become u8, u16 or u32, whatever type they had. All others keep theirs, or the
    nearest one that the wire has, so that the server sees what the caller has and says what is wrong with it.
    """
    kind = values.dtype.kind
    if kind == "b":
        return values.view(np.uint8)
    if not values.size:
        return values.astype(np.uint8)
    low, high = values.min().item(), values.max().item()
    # A NaN fails the comparison.
    if low >= 0 and high <= _MOST_EXACT:
        whole = values.astype(_unsigned_for(int(high)), copy=False)
        if kind != "f" or np.array_equal(whole, values):
            return whole
    if kind == "f":
        return values.astype("<f8" if values.itemsize > 4 else "<f4", copy=False)
    if low >= -(2**31) and high < 2**31:
        return values.astype("<i4", copy=False)
    # Beyond 2^63 - 1 there is only f64; the server refuses such counts in either type.
    return values.astype("<i8" if high < 2**63 else "<f8", copy=False)


def _read_sparse(given: Any, field: str) -> CsrCounts:
    csr = given.tocsr()
    n_cells, n_columns = (int(length) for length in csr.shape)
    indptr, indices = (np.asarray(getattr(csr, part)) for part in ("indptr", "indices"))
    data = _numbers(csr.data, field)
    fits = (
        indptr.shape == (n_cells + 1,)
        and indptr[0] == 0
        and bool(np.all(indptr[1:] >= indptr[:-1]))
        and indptr[-1] <= len(indices)
        and len(indices) == len(data)
        and (not indices.size or (indices.min() >= 0 and indices.max() < n_columns))
    )
    if not fits:
        raise InputError(f"{field} is not a valid sparse matrix: its indptr and indices do not fit its shape")
    columns = indices.astype(np.uint16 if n_columns <= 1 << 16 else np.uint32, copy=False)
    return CsrCounts(indptr.astype(np.int64, copy=False), columns, smallest(data), n_columns)


def _smaller_form(values: Array) -> Counts:
    """Rows of mostly zeros as their entries, where that is shorter."""
    n_cells, n_columns = values.shape
    index = np.dtype(np.uint16 if n_columns <= 1 << 16 else np.uint32)
    n_entries = int(np.count_nonzero(values))
    if n_entries * (values.itemsize + index.itemsize) + 4 * (n_cells + 1) >= values.nbytes:
        return DenseCounts(values)
    rows, columns = np.nonzero(values)
    indptr = np.zeros(n_cells + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_cells), out=indptr[1:])
    return CsrCounts(indptr, columns.astype(index), values[rows, columns], n_columns)


def _numbers(given: Any, field: str) -> Array:
    try:
        values = np.asarray(given)
    except ValueError:
        raise InputError(f"{field} has rows of different lengths") from None
    if values.dtype.kind not in "biuf" and values.size:
        raise InputError(f"{field} must hold numbers, not {values.dtype}")
    return values if values.dtype.kind in "biuf" else values.astype(np.uint8)


def _unsigned_for(highest: int) -> np.dtype[Any]:
    return next(dtype for dtype in _UNSIGNED if highest <= _LARGEST[dtype])


_LARGEST: Final[Mapping[np.dtype[Any], int]] = {dtype: int(np.iinfo(dtype).max) for dtype in _UNSIGNED}
