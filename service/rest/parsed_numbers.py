"""What a JSON parser found → numpy, and rows that come piece by piece put together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import simdjson

from service.core.errors import invalid, malformed, too_large
from service.core.messages import Counts, CsrCounts, DenseCounts, Limits
from service.rest.plain_numbers import PlainRows

NumberType: TypeAlias = Literal["d", "i"]

Narrow: TypeAlias = Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]
"""Makes a smaller type of some of a list's numbers; the number of those before them is for its errors."""

DTYPES: dict[NumberType, type[np.generic]] = {"d": np.float64, "i": np.int64}


class MatrixReader:
    """Puts a matrix together from some of its rows after others.

    Args:
        limits: on rows and columns.
        field: its name for the caller.
        sparse: whether to keep the non-zeros only.
        narrow: of all numbers, zeros included; None: they stay as they are.
    """

    def __init__(self, limits: Limits, field: str, *, sparse: bool, narrow: Narrow | None = None) -> None:
        self._limits = limits
        self._field = field
        self._sparse = sparse
        self._narrow = narrow
        self._n_rows = 0
        self._width = 0
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._indices: list[npt.NDArray[np.int32]] = []
        self._data: list[npt.NDArray[Any]] = []

    def add(self, rows: simdjson.Array, *, suspect: bool) -> None:
        """Take rows that were parsed.

        Args:
            rows: of them nothing is kept.
            suspect: whether there may be lists among their numbers.

        Raises:
            ServiceError: as `NumberReader.matrix` does.
        """
        widths = [len(row) if isinstance(row, simdjson.Array) else -1 for row in rows]
        self._check_shape(widths)
        values = numbers_of(rows, self._field, "d", self._n_rows, of_rows=True, suspect=suspect)
        if self._narrow is not None:
            values = self._narrow(values, self._n_rows * self._width)
        self._add(len(widths), None, values)

    def add_plain(self, rows: PlainRows) -> None:
        """Take rows of plain numbers. Raises as `add` does."""
        self._check_shape([rows.width] * rows.n_rows)
        narrow = self._narrow
        values = rows.values if narrow is None else narrow(rows.values, self._n_rows * self._width)
        self._add(rows.n_rows, rows.places, values)

    def _add(self, n_rows: int, places: npt.NDArray[Any] | None, values: npt.NDArray[Any]) -> None:
        """Take rows; `places` as in `PlainRows`."""
        if self._sparse:
            if places is None:
                (places,) = (values != 0.0).nonzero()
                values = values[places]
            row_of, column_of = np.divmod(places, max(self._width, 1))
            self._lengths.append(np.bincount(row_of, minlength=n_rows))
            self._indices.append(column_of.astype(np.int32, copy=False))
        self._n_rows += n_rows
        self._data.append(values)

    def counts(self) -> Counts:
        """The whole matrix."""
        values = joined(self._data, np.float64)
        if not self._sparse:
            return DenseCounts(values.reshape(self._n_rows, self._width))
        indptr = np.zeros(self._n_rows + 1, dtype=np.int64)
        np.cumsum(joined(self._lengths, np.int64), out=indptr[1:])
        return CsrCounts(indptr, joined(self._indices, np.int32), values, n_columns=self._width)

    def _check_shape(self, widths: list[int]) -> None:
        """Hold the next rows against those before them and the limits."""
        field, n_before = self._field, self._n_rows
        if -1 in widths:
            index = n_before + widths.index(-1)
            malformed(f"{field} must be a list of rows; item {index} is not a list", field=field, index=index)
        if n_before == 0 and widths:
            self._width = widths[0]
        width = self._width
        limits = self._limits
        if width > limits.max_columns:
            refuse_columns(limits, field)
        if widths.count(width) != len(widths):
            place = next(place for place, other in enumerate(widths) if other != width)
            index = n_before + place
            detail = f"row {index} of {field} has {widths[place]} values where the rows before it have {width}"
            invalid(detail, field=field, index=index)
        if n_before + len(widths) > limits.max_request_cells:
            too_large(f"{field} has more rows than max_request_cells, {limits.max_request_cells}", field=field)


def refuse_columns(limits: Limits, field: str) -> NoReturn:
    """Refuse rows that are too long.

    Raises:
        ServiceError: TOO_LARGE.
    """
    too_large(f"{field} has more columns than max_columns, {limits.max_columns}", field=field)


def parsed(parser: simdjson.Parser, text: bytes | bytearray, name: str) -> Any:
    """What a text spells: simdjson's arrays and objects, or a plain value.

    Raises:
        ServiceError: MALFORMED, it is not JSON; the message calls it `name`.
    """
    try:
        return parser.parse(text)
    except (ValueError, RuntimeError) as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        malformed(f"{name} is not valid JSON ({reason.partition('  ')[0]})")


def is_number(value: object) -> bool:
    """Whether a parsed value is a number; JSON's true is none."""
    return type(value) in (int, float)


def _is_int64(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def numbers_of(
    items: simdjson.Array, field: str, of_type: NumberType, n_before: int, *, of_rows: bool, suspect: bool
) -> npt.NDArray[Any]:
    """The numbers in a list (or in its rows), flat; the first item that is none (or holds another) is refused by index.

    simdjson flattens lists hidden among them without a word: where the brackets say that there may be one (`suspect`),
    and where it failed, every item is looked at. The result outlives the parser's document.
    """
    if not suspect:
        with contextlib.suppress(TypeError, ValueError):
            return np.frombuffer(items.as_buffer(of_type=of_type), DTYPES[of_type])
    is_right = is_number if of_type == "d" else _is_int64
    for index, item in enumerate(items, n_before):
        if not (all(map(is_right, cast(simdjson.Array, item))) if of_rows else is_right(item)):
            wanted = "numbers" if of_type == "d" else "whole numbers of 64 bits"
            malformed(f"{field} must hold {wanted} alone; item {index} does not", field=field, index=index)
    return np.frombuffer(items.as_buffer(of_type=of_type), DTYPES[of_type])


def joined(pieces: list[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """One array of all; of `dtype` where there are none."""
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0] if pieces else np.zeros(0, dtype)
