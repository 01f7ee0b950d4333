"""Long lists of numbers in a JSON body → numpy, piece by piece.

A parser that takes 64 MiB in one go holds the interpreter lock for a second or two, and half a gigabyte of memory. So
the lists are cut out of the body before it is parsed, and read in pieces that fit a processor's second cache: that is
twice as fast, needs next to no memory, and lets the event loop run in between.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import simdjson

from service.core.errors import invalid, malformed, too_large
from service.core.messages import Counts, CsrCounts, DenseCounts, Limits
from service.rest.plain_numbers import FEWEST_BYTES, PlainRows, plain_rows, plain_vector

NumberType: TypeAlias = Literal["d", "i"]

Narrow: TypeAlias = Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]
"""Makes a smaller type of some of a list's numbers; the number of those before them is for its errors."""

PIECE_BYTES = 1 << 16
"""Text read in one go, a fraction of a millisecond's; all that is made of it on the way fits the second cache."""


class ListText(NamedTuple):
    """A list as JSON: `body[start:stop]`, from bracket to bracket."""

    body: bytes | bytearray
    start: int
    stop: int


_DTYPES: dict[NumberType, type[np.generic]] = {"d": np.float64, "i": np.int64}
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*([\[{])")
_SPACE = re.compile(rb"[ \t\r\n]*")


def parsed_without_lists(
    body: bytes | bytearray, members: dict[str, Collection[str]]
) -> tuple[Any, dict[int, ListText]]:
    """The document that a body spells, short of the lists that `cut_lists` cuts out of a long one.

    Raises:
        ServiceError: MALFORMED, it is not JSON.
    """
    # A parser of its own, because one cannot be used again while anything of its last document lives.
    if len(body) <= PIECE_BYTES:
        return parsed(simdjson.Parser(), body, "the body"), {}
    skeleton, texts = cut_lists(body, members)
    return parsed(simdjson.Parser(), skeleton, "the body"), texts


def cut_lists(
    body: bytes | bytearray, members: dict[str, Collection[str]]
) -> tuple[bytes | bytearray, dict[int, ListText]]:
    """Take the lists of numbers out of a body.

    Args:
        body: JSON, not looked at yet.
        members: which of its members hold a list of numbers, or an object of which the members named here do.

    Returns:
        The body with a number in the place of each such list, and the list's text by that number. A number that is
        found where its list is wanted proves that it stood there: it is drawn anew for each body, so that no caller can
        write it. What is not found (a name written with escapes) stays in the body.
    """
    spans: list[tuple[int, int]] = []
    for name, parts in members.items():
        opening, at = _value(body, name, 0)
        if opening == b"[":
            spans.append(_list_at(body, at))
        elif opening == b"{":
            inner = (_value(body, part, at) for part in parts)
            spans += [_list_at(body, start) for opening, start in inner if opening == b"["]
    return _cut(body, spans)


def cut_every_list(body: bytes | bytearray, name: str, most: int) -> tuple[bytes | bytearray, dict[int, ListText]]:
    """Take the lists of numbers out of a body that are members called `name`; at most so many members are looked at.

    Returns:
        As `cut_lists` does.
    """
    spans: list[tuple[int, int]] = []
    quoted, at = b'"%s"' % name.encode(), 0
    for _ in range(most):
        if (at := body.find(quoted, at)) < 0:
            break
        found = _COLON.match(body, at + len(quoted))
        at += len(quoted)
        if found and found[1] == b"[":
            spans.append(_list_at(body, found.start(1)))
            at = max(at, spans[-1][1])
    return _cut(body, spans)


def _cut(body: bytes | bytearray, spans: list[tuple[int, int]]) -> tuple[bytes | bytearray, dict[int, ListText]]:
    texts: dict[int, ListText] = {}
    token, kept, end = secrets.randbits(61), [], 0
    for start, stop in sorted(set(spans)):
        if start < end or stop <= start:
            continue
        kept += [body[end:start], b"%d" % (token + len(texts))]
        texts[token + len(texts)] = ListText(body, start, stop)
        end = stop
    return b"".join([*kept, body[end:]]) if texts else body, texts


def _value(body: bytes | bytearray, name: str, start: int) -> tuple[bytes, int]:
    """The bracket that opens the value of the first member called `name` from `start` on, and where; (b"", 0): none."""
    at = body.find(b'"%s"' % name.encode(), start)
    found = _COLON.match(body, at + len(name) + 2) if at >= 0 else None
    return (found[1], found.start(1)) if found else (b"", 0)


def _behind_space(text: bytes | bytearray, start: int) -> int:
    space = _SPACE.match(text, start)
    return space.end() if space else start


def _list_at(body: bytes | bytearray, start: int) -> tuple[int, int]:
    """Where the list of numbers that begins at `start` ends: at the last bracket before the next name or brace."""
    end = None
    for character in (b'"', b"}"):
        at = body.find(character, start, end)
        end = at if at >= 0 else end
    return start, body.rfind(b"]", start, end) + 1


class NumberReader:
    """Reads lists of numbers of one body.

    Attributes:
        limits: on rows and columns.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser: simdjson.Parser | None = None

    def vector(self, text: ListText, field: str, of_type: NumberType, narrow: Narrow | None = None) -> npt.NDArray[Any]:
        """A flat list as float64 ("d"), int64 ("i") or, where its numbers are plain, uint32; or what `narrow` makes.

        Raises:
            ServiceError: MALFORMED, with the index of the first item that is no such number.
        """
        pieces: list[npt.NDArray[Any]] = []
        for piece in self._pieces(text, b",", field):
            n_before = sum(map(len, pieces))
            values: npt.NDArray[Any] | None = plain_vector(piece) if len(piece) >= FEWEST_BYTES else None
            if values is None:
                items = self._items(piece, field)
                values = numbers_of(items, field, of_type, n_before, of_rows=False, suspect=b"[" in piece)
                del items  # the parser waits for it
            pieces.append(values if narrow is None else narrow(values, n_before))
        return _joined(pieces, _DTYPES[of_type])

    def matrix(self, text: ListText, field: str, *, sparse: bool, narrow: Narrow | None = None) -> Counts:
        """A list of rows, as float64 or, where its numbers are plain, uint32; or as what `narrow` makes of its pieces.

        Args:
            text: the list.
            field: its name for the caller.
            sparse: whether to keep the non-zeros only.
            narrow: of all numbers, zeros included.

        Raises:
            ServiceError: MALFORMED or INVALID with the index of the first row that is none or is of another width;
                TOO_LARGE, over the limits.
        """
        matrix = MatrixReader(self._limits, field, sparse=sparse, narrow=narrow)
        for piece in self._pieces(text, b"]", field):
            plain = plain_rows(piece, sparse=sparse and narrow is None) if len(piece) >= FEWEST_BYTES else None
            if plain is not None:
                matrix.add_plain(plain)
                continue
            rows = self._items(piece, field)
            matrix.add(rows, suspect=piece.count(b"[") != len(rows))
            del rows  # the parser waits for it
        return matrix.counts()

    def dense(self, text: ListText, field: str, narrow: Narrow) -> npt.NDArray[Any]:
        """A list of rows with all its numbers, zeros included. Raises as `matrix` does."""
        counts = self.matrix(text, field, sparse=False, narrow=narrow)
        assert isinstance(counts, DenseCounts)
        return counts.values

    def _pieces(self, text: ListText, end: bytes, field: str) -> Iterator[bytes]:
        """Cut a list between items, of which `end` (a comma, or the bracket of a row) ends each but the last.

        Yields:
            Some of the items, with commas between them.
        """
        body, at, stop = text.body, text.start + 1, text.stop - 1
        while stop - at > PIECE_BYTES and (cut := body.find(end, at + PIECE_BYTES, stop)) >= 0:
            comma = _behind_space(body, cut + 1) if end == b"]" else cut
            if comma >= stop:
                break
            if cut - at > 2 * PIECE_BYTES and body.count(b",", at + PIECE_BYTES, cut) >= self._limits.max_columns:
                refuse_columns(self._limits, field)
            if _behind_space(body, at) == comma:
                malformed(f"{field} is not valid JSON (nothing before a comma)", field=field)
            yield bytes(body[at:comma])
            if body[comma : comma + 1] != b",":
                malformed(f"{field} holds lists that are not closed where a row ends", field=field)
            at = comma + 1
        if at > text.start + 1 and _behind_space(body, at) == stop:
            malformed(f"{field} is not valid JSON (nothing after a comma)", field=field)
        yield bytes(body[at:stop])

    def _items(self, piece: bytes, field: str) -> simdjson.Array:
        if len(piece) >= PIECE_BYTES:
            # Whoever waits for the interpreter, the event loop above all, has it before the parser takes it for long;
            # numpy's passes over plain numbers give it away by themselves.
            time.sleep(0)
        if self._parser is None:
            # Its tape grows to the largest piece and is used again; nothing of a piece may outlive the next parse.
            self._parser = simdjson.Parser()
        items = parsed(self._parser, b"[%b]" % piece, field)
        if not isinstance(items, simdjson.Array):
            malformed(f"{field} is not valid JSON", field=field)
        return items


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
        values = _joined(self._data, np.float64)
        if not self._sparse:
            return DenseCounts(values.reshape(self._n_rows, self._width))
        indptr = np.zeros(self._n_rows + 1, dtype=np.int64)
        np.cumsum(_joined(self._lengths, np.int64), out=indptr[1:])
        return CsrCounts(indptr, _joined(self._indices, np.int32), values, n_columns=self._width)

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
            return np.frombuffer(items.as_buffer(of_type=of_type), _DTYPES[of_type])
    is_right = is_number if of_type == "d" else _is_int64
    for index, item in enumerate(items, n_before):
        if not (all(map(is_right, cast(simdjson.Array, item))) if of_rows else is_right(item)):
            wanted = "numbers" if of_type == "d" else "whole numbers of 64 bits"
            malformed(f"{field} must hold {wanted} alone; item {index} does not", field=field, index=index)
    return np.frombuffer(items.as_buffer(of_type=of_type), _DTYPES[of_type])


def _joined(pieces: list[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0] if pieces else np.zeros(0, dtype)
