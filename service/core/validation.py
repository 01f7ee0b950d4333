"""Counts, labels and limits: every request is checked here, once, whatever transport it came by.

A matrix that decodes can still be none that was ever counted: negative, ragged, log-normalised. Most such mistakes give
plausible latents (see docs/fidelity.md), so each entry is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from model.contract import CategoricalField, Float32Array, Int32Array, Label
from service.core.alignment import ColumnMap, shown
from service.core.errors import invalid, too_large
from service.core.messages import Counts, CsrCounts, DenseCounts, EncodeRequest, Labels, Limits, Notice

# log1p of 10,000 counts per cell is at most 9.2 and of a million 13.9; raw counts of a panel go far beyond.
_LOG_LIKE_MAX = 20.0
_ALLOWED_SHOWN = 20
# Far beyond any cell, and the sum over all columns is still far within float32.
_MAX_COUNT = 2**32 - 1


def check_limits(request: EncodeRequest, limits: Limits, *, n_samples: int, n_latent: int) -> None:
    """Refuse what is over a published limit.

    Args:
        request: unchecked.
        limits: the published ones.
        n_samples: draws per cell that it will get.
        n_latent: of the model.

    Raises:
        ServiceError: TOO_LARGE, naming the limit.
    """
    if request.n_cells > limits.max_request_cells:
        too_large(f"{request.n_cells} cells are over max_request_cells = {limits.max_request_cells}; split the matrix")
    if n_samples > limits.max_samples:
        too_large(f"{n_samples} samples are over max_samples = {limits.max_samples}", field="n_samples")
    n_values = n_samples * request.n_cells * (n_latent + 1)
    if n_values > limits.max_sample_values:
        too_large(
            f"{n_samples} samples of {request.n_cells} cells are {n_values} values, over max_sample_values = "
            f"{limits.max_sample_values}; split the matrix (first_cell keeps the draws the same)",
            field="n_samples",
        )
    for field in ("genes", "proteins"):
        names = getattr(request, field)
        if names is not None and len(names) > limits.max_columns:
            too_large(f"{len(names)} {field} are over max_columns = {limits.max_columns}", field=field)


def check_options(request: EncodeRequest) -> None:
    """Refuse options outside their range.

    Raises:
        ServiceError: INVALID, naming the field.
    """
    if request.n_samples < 0:
        invalid("n_samples is negative", field="n_samples")
    if request.seed is not None and not 0 <= request.seed < 1 << 64:
        invalid("seed is not in 0 to 2^64 - 1", field="seed")
    if not 0 <= request.first_cell < 1 << 63:
        invalid("first_cell is not in 0 to 2^63 - 1", field="first_cell")
    if not 0.0 <= request.min_gene_coverage <= 1.0:
        invalid("min_gene_coverage is not in 0 to 1", field="min_gene_coverage")
    for field in ("gene_counts", "protein_counts"):
        counts = getattr(request, field)
        # Said before anything is compared with a number of cells that it has not got.
        if isinstance(counts, CsrCounts) and counts.indptr.size == 0:
            _does_not_begin(field)
    if request.cells is not None and len(request.cells) != request.n_cells:
        invalid(f"cells has {len(request.cells)} names for {request.n_cells} cells", field="cells")
    if request.protein_counts is not None and request.protein_counts.n_cells != request.n_cells:
        invalid(
            f"protein_counts has {request.protein_counts.n_cells} cells, gene_counts {request.n_cells}",
            field="protein_counts",
        )


def gene_rows(
    counts: Counts, columns: ColumnMap, *, n_genes: int, allow_non_integer: bool
) -> tuple[Int32Array, Int32Array, Float32Array, tuple[Notice, ...]]:
    """Counts of the request's columns → sorted rows over the model's genes.

    Args:
        counts: unchecked.
        columns: where each of their columns goes.
        n_genes: width of the model.
        allow_non_integer: take counts that look log-normalised.

    Returns:
        indptr int32 [cells + 1], indices int32 [entries] strictly ascending in each row, counts float32 [entries]
        without zeros, and warnings.

    Raises:
        ServiceError: INVALID, with the field and the first offending cell.
    """
    clean = _clean_rows(counts, columns, n_genes)
    if clean is not None:
        return *clean, ()
    n_cells = counts.n_cells
    rows, found, values = _entries(counts, columns, "gene_counts")
    notices = _check_values(values, lambda entry: int(rows[entry]), "gene_counts", allow_non_integer)
    targets = columns.targets[found]
    kept = (targets >= 0) & (values != 0)
    if not kept.all():
        rows, targets, values = rows[kept], targets[kept], values[kept]
    keys = rows * n_genes + targets
    if not np.all(keys[1:] > keys[:-1]):
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        # Entries of one cell and gene are summed, as scipy.sparse does.
        values = np.add.reduceat(values[order].astype(np.float64), starts)
        rows, targets = rows[order][starts], targets[order][starts]
    indptr = np.zeros(n_cells + 1, dtype=np.int32)
    np.cumsum(np.bincount(rows, minlength=n_cells), out=indptr[1:])
    return indptr, targets.astype(np.int32, copy=False), _as_float32(values, "gene_counts"), notices


def _clean_rows(counts: Counts, columns: ColumnMap, n_genes: int) -> tuple[Int32Array, Int32Array, Float32Array] | None:
    """CSR counts that already are as the model wants them, uncopied where their types are too; None: they may not be.

    Most callers' are. A few looks at all entries tell, where setting them right takes dozens.
    """
    if not isinstance(counts, CsrCounts) or not columns.in_order or not _is_sorted(counts, columns.n_columns):
        return None
    indptr, indices, values = counts.indptr, counts.indices, counts.data
    if not _are_clean(values, least=1):
        return None
    # All columns known, in order and as many as the model has are the model's own.
    targets = indices if columns.n_columns == n_genes else columns.targets[indices]
    return (
        indptr.astype(np.int32, copy=False),
        targets.astype(np.int32, copy=False),
        values.astype(np.float32, copy=False),
    )


def _is_sorted(counts: CsrCounts, n_columns: int) -> bool:
    """Whether the parts fit each other and there are entries, their columns ascending in each row."""
    indptr, indices = counts.indptr, counts.indices
    if not indptr.ndim == indices.ndim == counts.data.ndim == 1 or counts.n_columns not in (None, n_columns):
        return False
    if indptr.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        return False
    if not (indptr.size > 1 and indptr[0] == 0 and indptr[-1] == indices.size == counts.data.size > 0):
        return False
    starts, stops = indptr[:-1], indptr[1:]
    if not (starts < stops).all():
        # Equal where a cell has no counts; of the others the first and the last columns are looked at.
        if (stops < starts).any():
            return False
        starts, stops = (bounds[starts < stops] for bounds in (starts, stops))
    if indices[starts].min() < 0 or indices[stops - 1].max() >= n_columns:
        return False
    ascends = indices[1:] > indices[:-1]
    # Where a row begins, its first column may be any.
    ascends[starts[1:] - 1] = True
    return bool(ascends.all())


def protein_rows(
    counts: Counts | None, columns: ColumnMap, *, n_cells: int, n_proteins: int, allow_non_integer: bool
) -> tuple[Float32Array, tuple[Notice, ...]]:
    """Counts of the request's protein columns → dense rows over the model's proteins.

    Returns:
        float32 [cells, n_proteins], a protein that was not measured being 0, and warnings.

    Raises:
        ServiceError: INVALID, with the field and the first offending cell.
    """
    if isinstance(counts, DenseCounts) and columns.in_order and columns.n_columns == n_proteins:
        values = _dense_values(counts, columns, "protein_counts")
        if values.size and _are_clean(values):
            return values.astype(np.float32), ()
    dense = np.zeros((n_cells, n_proteins), dtype=np.float64)
    if counts is None:
        return dense.astype(np.float32), ()
    known = columns.targets >= 0
    if isinstance(counts, DenseCounts):
        values = _dense_values(counts, columns, "protein_counts")
        width = max(values.shape[1], 1)
        notices = _check_values(values.reshape(-1), lambda entry: entry // width, "protein_counts", allow_non_integer)
        if values.size:
            dense[:, columns.targets[known]] = values[:, known]
    else:
        rows, found, data = _sparse_entries(counts, columns, "protein_counts")
        notices = _check_values(data, lambda entry: int(rows[entry]), "protein_counts", allow_non_integer)
        kept = known[found]
        np.add.at(dense, (rows[kept], columns.targets[found[kept]]), data[kept])
    return _as_float32(dense, "protein_counts"), notices


def category_codes(labels: Labels | None, field: CategoricalField, n_cells: int, name: str) -> Int32Array:
    """Labels → codes of a field that the encoder takes.

    Args:
        labels: as the caller wrote them.
        field: the model's.
        n_cells: of the request.
        name: of the request's field, for messages.

    Returns:
        int32 [cells].

    Raises:
        ServiceError: INVALID, missing, of the wrong length, or unknown; the allowed labels are listed.
    """
    allowed = {_label_key(category): code for code, category in enumerate(field.categories)}
    if labels is None:
        invalid(f"the model needs {name}, one of {_listed(field.categories)}", field=name)
    codes = np.array([allowed.get(_label_key(label), -1) for label in labels.categories], dtype=np.int32)
    if labels.codes is None:
        if len(labels.categories) != 1:
            invalid(f"{name} has {len(labels.categories)} categories but no codes", field=name)
        per_cell = np.broadcast_to(codes, (n_cells,))
    else:
        if labels.codes.shape != (n_cells,):
            invalid(f"{name} has {labels.codes.size} labels for {n_cells} cells", field=name)
        outside = (labels.codes < 0) | (labels.codes >= len(codes))
        if outside.any():
            invalid(f"{name} has a code outside its categories", field=name, index=int(np.argmax(outside)))
        per_cell = codes[labels.codes.astype(np.int64, copy=False)]
    unknown = per_cell < 0
    if unknown.any():
        index = int(np.argmax(unknown))
        label = labels.categories[0 if labels.codes is None else int(labels.codes[index])]
        invalid(
            f"{name} {shown(label)} is unknown to the model; allowed: {_listed(field.categories)}",
            field=name,
            index=index,
            counts={"offenders": int(unknown.sum())},
        )
    return per_cell


def unknown_labels(labels: Labels, field: CategoricalField) -> list[Label]:
    """The labels of a request that a field does not know, where that does no harm."""
    allowed = {_label_key(category) for category in field.categories}
    return [label for label in labels.categories if _label_key(label) not in allowed]


def continuous_column(values: npt.NDArray[Any] | None, key: str, n_cells: int) -> Float32Array:
    """One continuous covariate, float32 [cells], in the trainer's units.

    Raises:
        ServiceError: INVALID, missing, of the wrong length, or not finite.
    """
    name = f"continuous_covariates.{key}"
    if values is None:
        invalid(f"the model needs {name}: one number for all cells, or one for each", field=name)
    if values.shape not in ((), (n_cells,)):
        invalid(f"{name} has {values.size} numbers for {n_cells} cells", field=name)
    with np.errstate(over="ignore"):
        column = np.broadcast_to(values, (n_cells,)).astype(np.float32)
    if not np.isfinite(column).all():
        invalid(f"{name} has a number that is not finite", field=name, index=int(np.argmin(np.isfinite(column))))
    return column


def _entries(
    counts: Counts, columns: ColumnMap, field: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp], npt.NDArray[Any]]:
    """Row, column and value of each stored entry, rows ascending; of dense rows each entry that is not 0."""
    if isinstance(counts, CsrCounts):
        return _sparse_entries(counts, columns, field)
    values = _dense_values(counts, columns, field)
    if values.size and not columns.in_order:
        # Columns in model order give sorted rows, so that no entry has to be sorted later.
        source = np.argsort(columns.targets, kind="stable")
        rows, position = np.nonzero(values[:, source])
        found = source[position]
    else:
        rows, found = np.nonzero(values)
    return rows.astype(np.int64, copy=False), found, values[rows, found]


def _dense_values(counts: DenseCounts, columns: ColumnMap, field: str) -> npt.NDArray[Any]:
    values = counts.values
    if values.ndim != 2:
        invalid(f"{field} is not a matrix of cells and columns", field=field)
    # Without a row there is no width to be wrong.
    if values.shape[0] and values.shape[1] != columns.n_columns:
        invalid(f"{field} has {values.shape[1]} columns where {columns.n_columns} are expected", field=field)
    return values


def _does_not_begin(field: str) -> NoReturn:
    invalid(f"{field}.indptr does not begin with 0", field=f"{field}.indptr", index=0)


def _sparse_entries(
    counts: CsrCounts, columns: ColumnMap, field: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp], npt.NDArray[Any]]:
    indptr, indices, data = counts.indptr, counts.indices, counts.data
    for part, array in (("indptr", indptr), ("indices", indices), ("data", data)):
        if array.ndim != 1:
            invalid(f"{field}.{part} is not one-dimensional", field=f"{field}.{part}")
        if part != "data" and array.dtype.kind not in "iu":
            invalid(f"{field}.{part} holds numbers that are not integers", field=f"{field}.{part}")
    if indptr.size == 0 or indptr[0] != 0:
        _does_not_begin(field)
    # Compared, not subtracted: a difference of hostile numbers can wrap around to a plausible one.
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        invalid(f"{field}.indptr decreases", field=f"{field}.indptr", index=int(np.argmax(falls)) + 1)
    if not indptr[-1] == indices.size == data.size:
        invalid(
            f"{field}.indptr ends at {indptr[-1]}, but there are {indices.size} indices and {data.size} data",
            field=f"{field}.indptr",
        )
    lengths = np.diff(indptr).astype(np.int64)
    if counts.n_columns is not None and counts.n_columns != columns.n_columns:
        invalid(f"{field} has {counts.n_columns} columns where {columns.n_columns} are expected", field=field)
    outside = (indices < 0) | (indices >= columns.n_columns)
    if outside.any():
        invalid(
            f"{field}.indices has a column outside 0 to {columns.n_columns - 1}",
            field=f"{field}.indices",
            index=int(np.argmax(outside)),
            counts={"offenders": int(outside.sum())},
        )
    return np.repeat(np.arange(lengths.size, dtype=np.int64), lengths), indices.astype(np.intp, copy=False), data


def _check_values(
    values: npt.NDArray[Any], cell_of: Callable[[int], int], field: str, allow_non_integer: bool
) -> tuple[Notice, ...]:
    """Refuse entries that are no counts; `cell_of` tells the cell of an entry, for the message."""
    kind = values.dtype.kind
    if kind not in "biuf":
        invalid(f"{field} holds values that are not numbers", field=field)
    if kind == "f":
        _refuse_any(~np.isfinite(values), cell_of, field, "a count that is not finite")
    if kind in "if":
        _refuse_any(values < 0, cell_of, field, "a negative count; send raw counts, neither scaled nor centred")
    if kind != "f":
        return ()
    fractional = values != np.floor(values)
    n_fractional = int(np.count_nonzero(fractional))
    if n_fractional == 0:
        return ()
    if not allow_non_integer and 2 * n_fractional > np.count_nonzero(values) and values.max() <= _LOG_LIKE_MAX:
        invalid(
            f"{field} looks log-normalised: most entries are fractions and none is over {_LOG_LIKE_MAX:.0f}; send raw "
            "counts (often in layers['counts']), or set allow_non_integer if these are counts",
            field=field,
            index=cell_of(int(np.argmax(fractional))),
            counts={"offenders": n_fractional},
        )
    detail = (
        f"{n_fractional} entries of {field} are not whole numbers; the model was trained on raw counts "
        "(ambient-corrected or imputed counts shift the latents, normalised ones ruin them)"
    )
    return (Notice("non_integer_counts", detail, n_fractional),)


def _are_clean(values: npt.NDArray[Any], least: int = 0) -> bool:
    """Whether all of them (some) are raw counts: whole, at least `least`, and not beyond any cell."""
    kind, n_bytes = values.dtype.kind, values.dtype.itemsize
    if kind not in "iuf":
        return False
    # A NaN fails the first comparison.
    if not ((kind == "u" and least == 0) or values.min() >= least):
        return False
    if (kind == "f" or n_bytes > 4) and not values.max() <= _MAX_COUNT:
        return False
    return kind != "f" or bool((values == np.floor(values)).all())


def _as_float32(values: npt.NDArray[Any], field: str) -> Float32Array:
    if values.size and values.max() > _MAX_COUNT:
        invalid(f"{field} has a count over {_MAX_COUNT}; no cell has", field=field)
    return values.astype(np.float32)


def _refuse_any(offenders: npt.NDArray[np.bool_], cell_of: Callable[[int], int], field: str, what: str) -> None:
    if offenders.any():
        cell = cell_of(int(np.argmax(offenders)))
        number = int(np.count_nonzero(offenders))
        invalid(f"{field} has {what} (first in cell {cell})", field=field, index=cell, counts={"offenders": number})


def _label_key(label: Label) -> tuple[str, Label]:
    """Labels are the same if type and value are; an integer and a float of one value are the same number."""
    if isinstance(label, bool):
        return "bool", label
    return ("text" if isinstance(label, str) else "number"), label


def _listed(categories: tuple[Label, ...]) -> str:
    listed = ", ".join(shown(category) for category in categories[:_ALLOWED_SHOWN])
    return listed + (f" and {len(categories) - _ALLOWED_SHOWN} more" if len(categories) > _ALLOWED_SHOWN else "")
