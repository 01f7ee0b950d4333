"""What belongs to each cell beside its counts: labels, numbers, names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.counts import Array
from totalvi_client.errors import InputError
from totalvi_client.results import Label


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Categories of cells.

    Attributes:
        categories: distinct labels, each of its own Python type.
        codes: int64 [cells], positions in `categories`; None: the one category holds for every cell.
    """

    categories: tuple[Label, ...]
    codes: npt.NDArray[np.int64] | None = None

    def rows(self, start: int, stop: int) -> Labels:
        """Those of some of the cells, with the categories that they have."""
        if self.codes is None:
            return self
        used, codes = np.unique(self.codes[start:stop], return_inverse=True)
        return Labels(tuple(self.categories[code] for code in used), codes.reshape(-1))


def read_labels(given: Any, field: str, n_cells: int) -> Labels:
    """A caller's labels: one for all cells, or one for each.

    Args:
        given: text, integer, float or bool; or as many of them as there are cells, in a list, an array, or a pandas
            Series, Index or Categorical.
        field: its name, for messages.
        n_cells: number of cells.

    Raises:
        InputError: a label is missing or of another type, or there is not one for each cell.
    """
    given = _unboxed(given)
    if isinstance(given, (str, bytes)) or not hasattr(given, "__len__"):
        return Labels((_label(given, field, None),))
    if len(given) != n_cells:
        raise InputError(f"{field} has {len(given)} labels for {n_cells} cells")
    if hasattr(given, "categories") and hasattr(given, "codes"):
        return _of_categorical(given, field)
    if isinstance(given, np.ndarray) and given.dtype.kind in "Uiub":
        values, codes = np.unique(given, return_inverse=True)
        return Labels(tuple(_label(value, field, None) for value in values), codes.reshape(-1))
    # Labels of different types stay different: 1, True and "1".
    positions: dict[tuple[type, Label], int] = {}
    codes = np.empty(n_cells, dtype=np.int64)
    for cell, one in enumerate(given):
        label = _label(one, field, cell)
        codes[cell] = positions.setdefault((type(label), label), len(positions))
    return Labels(tuple(label for _, label in positions), codes)


def read_numbers(given: Any, field: str, n_cells: int) -> Array:
    """A caller's numbers, f32 or f64: [] for one that holds for all cells, or [cells].

    Raises:
        InputError: they are no numbers, or there is not one for each cell.
    """
    try:
        values = np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)
        # None and pandas' NA among them make an array of objects.
        values = values.astype(np.float64) if values.dtype.kind == "O" else values
    except (TypeError, ValueError):
        raise InputError(f"{field} must be numbers, one for all cells or one for each, none missing") from None
    if values.dtype.kind not in "biuf":
        raise InputError(f"{field} must be numbers, not {values.dtype}")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != n_cells):
        raise InputError(f"{field} has {values.size} numbers for {n_cells} cells")
    return values.astype("<f4" if values.dtype.kind == "f" and values.itemsize <= 4 else "<f8", copy=False)


def read_names(given: Iterable[Any], field: str) -> tuple[str, ...]:
    """Names of columns or cells; whole numbers are taken as their digits.

    Raises:
        InputError: it is no list of names.
    """
    if isinstance(given, (str, bytes)):
        raise InputError(f"{field} must be a list of names, not one text")
    return tuple(_name(one, field, index) for index, one in enumerate(given))


def _name(given: Any, field: str, index: int) -> str:
    if isinstance(given, str):
        return str(given)
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return str(int(given))
    raise InputError(f"{field} must be text; number {index} is {type(given).__name__} {given!r:.40}")


def _unboxed(given: Any) -> Any:
    """What a pandas Series or Index, or an array of one value holds."""
    dtype = getattr(given, "dtype", None)
    if hasattr(dtype, "categories"):
        given = getattr(given, "array", getattr(given, "values", given))
    elif hasattr(given, "to_numpy"):
        given = given.to_numpy()
    return given.item() if isinstance(given, (np.ndarray, np.generic)) and given.ndim == 0 else given


def _of_categorical(given: Any, field: str) -> Labels:
    codes = np.asarray(given.codes, dtype=np.int64)
    if codes.size and codes.min() < 0:
        raise _missing(field, int(np.argmin(codes)))
    used, codes = np.unique(codes, return_inverse=True)
    categories = list(given.categories)
    return Labels(tuple(_label(categories[code], field, None) for code in used), codes.reshape(-1))


def _label(given: Any, field: str, cell: int | None) -> Label:
    """A label as a Python value of the type it has."""
    value = given.item() if isinstance(given, np.generic) else given
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{field} {value} is beyond 64 bits")
        return int(value)
    # NaN, pandas' NaT and NA are not equal to themselves; comparing NA gives NA, which has no truth.
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:  # noqa: PLR0124
        raise _missing(field, cell)
    if isinstance(value, float):
        return float(value)
    raise InputError(f"{field} must be text, whole numbers, numbers or booleans, not {type(value).__name__}")


def _missing(field: str, cell: int | None) -> InputError:
    where = "is missing" if cell is None else f"of cell {cell} is missing"
    return InputError(f"{field} {where} (NaN): give each cell a label that the model knows, or leave the cell out")
