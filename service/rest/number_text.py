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

NumberType: TypeAlias = Literal["d", "i"]

Narrow: TypeAlias = Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]
"""Makes a smaller type of some of a list's numbers; the number of those before them is for its errors."""

PIECE_BYTES = 1 << 17
"""Text parsed in one go, about half a millisecond's. As quick from 64 KiB to 1 MiB; half as quick from 4 MiB on."""


class ListText(NamedTuple):
    """A list as JSON: `body[start:stop]`, from bracket to bracket."""

    body: bytes | bytearray
    start: int
    stop: int


_DTYPES: dict[NumberType, type[np.generic]] = {"d": np.float64, "i": np.int64}
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*([\[{])")
_SPACE = re.compile(rb"[ \t\r\n]*")


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
        # Its tape grows to the largest piece and is used again; nothing of a piece may outlive the next parse.
        self._parser = simdjson.Parser()

    def vector(self, text: ListText, field: str, of_type: NumberType, narrow: Narrow | None = None) -> npt.NDArray[Any]:
        """A flat list as float64 ("d") or int64 ("i"), or what `narrow` makes of its pieces.

        Raises:
            ServiceError: MALFORMED, with the index of the first item that is no such number.
        """
        pieces: list[npt.NDArray[Any]] = []
        for piece in self._pieces(text, b",", field):
            items = self._items(piece, field)
            n_before = sum(map(len, pieces))
            values = _numbers(items, field, of_type, n_before, of_rows=False, suspect=piece.count(b"[") != 1)
            del items  # the parser waits for it
            pieces.append(values if narrow is None else narrow(values, n_before))
        return _joined(pieces, _DTYPES[of_type])

    def matrix(self, text: ListText, field: str, *, sparse: bool, narrow: Narrow | None = None) -> Counts:
        """A list of rows, as float64, or as what `narrow` makes of its pieces.

        Args:
            text: the list.
            field: its name for the caller.
            sparse: whether to keep the non-zeros only.
            narrow: of all numbers, zeros included.

        Raises:
            ServiceError: MALFORMED or INVALID with the index of the first row that is none or is of another width;
                TOO_LARGE, over the limits.
        """
        n_rows, width = 0, 0
        lengths, indices, data = [], [], []
        for piece in self._pieces(text, b"]", field):
            rows = self._items(piece, field)
            widths = [len(row) if isinstance(row, simdjson.Array) else -1 for row in rows]
            width = width if n_rows or not widths else widths[0]
            self._check_shape(widths, width, n_rows, field)
            suspect = piece.count(b"[") != len(widths) + 1
            values = _numbers(rows, field, "d", n_rows, of_rows=True, suspect=suspect)
            del rows  # the parser waits for it
            if narrow is not None:
                values = narrow(values, n_rows * width)
            n_rows += len(widths)
            if sparse:
                (places,) = (values != 0.0).nonzero()
                row_of, column_of = np.divmod(places, max(width, 1))
                lengths.append(np.bincount(row_of, minlength=len(widths)))
                indices.append(column_of.astype(np.int32))
                values = values[places]
            data.append(values)
        values = _joined(data, np.float64)
        if not sparse:
            return DenseCounts(values.reshape(n_rows, width))
        indptr = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(_joined(lengths, np.int64), out=indptr[1:])
        return CsrCounts(indptr, _joined(indices, np.int32), values, n_columns=width)

    def dense(self, text: ListText, field: str, narrow: Narrow) -> npt.NDArray[Any]:
        """A list of rows with all its numbers, zeros included. Raises as `matrix` does."""
        counts = self.matrix(text, field, sparse=False, narrow=narrow)
        assert isinstance(counts, DenseCounts)
        return counts.values

    def _check_shape(self, widths: list[int], width: int, n_before: int, field: str) -> None:
        if -1 in widths:
            index = n_before + widths.index(-1)
            malformed(f"{field} must be a list of rows; item {index} is not a list", field=field, index=index)
        if widths.count(width) != len(widths):
            place = next(place for place, other in enumerate(widths) if other != width)
            index = n_before + place
            detail = f"row {index} of {field} has {widths[place]} values where the rows before it have {width}"
            invalid(detail, field=field, index=index)
        limits = self._limits
        if n_before + len(widths) > limits.max_request_cells:
            too_large(f"{field} has more rows than max_request_cells, {limits.max_request_cells}", field=field)
        if width > limits.max_columns:
            self._refuse_columns(field)

    def _refuse_columns(self, field: str) -> NoReturn:
        too_large(f"{field} has more columns than max_columns, {self._limits.max_columns}", field=field)

    def _pieces(self, text: ListText, end: bytes, field: str) -> Iterator[bytes]:
        """Cut a list between items, of which `end` (a comma, or the bracket of a row) ends each but the last.

        Yields:
            Some of the items, as the text of a list of their own.
        """
        body, at, stop = text.body, text.start + 1, text.stop - 1
        while stop - at > PIECE_BYTES and (cut := body.find(end, at + PIECE_BYTES, stop)) >= 0:
            comma = _behind_space(body, cut + 1) if end == b"]" else cut
            if comma >= stop:
                break
            if cut - at > 2 * PIECE_BYTES and body.count(b",", at + PIECE_BYTES, cut) >= self._limits.max_columns:
                self._refuse_columns(field)
            if _behind_space(body, at) == comma:
                malformed(f"{field} is not valid JSON (nothing before a comma)", field=field)
            yield b"".join((b"[", body[at:comma], b"]"))
            if body[comma : comma + 1] != b",":
                malformed(f"{field} holds lists that are not closed where a row ends", field=field)
            at = comma + 1
            # Whoever waits for the interpreter, the event loop above all, has it now.
            time.sleep(0)
        if at > text.start + 1 and _behind_space(body, at) == stop:
            malformed(f"{field} is not valid JSON (nothing after a comma)", field=field)
        yield b"".join((b"[", body[at : text.stop]))

    def _items(self, text: bytes, field: str) -> simdjson.Array:
        items = parsed(self._parser, text, field)
        if not isinstance(items, simdjson.Array):
            malformed(f"{field} is not valid JSON", field=field)
        return items


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


def _numbers(
    items: simdjson.Array, field: str, of_type: NumberType, n_before: int, *, of_rows: bool, suspect: bool
) -> npt.NDArray[Any]:
    """The numbers in a list (or in its rows), flat; the first item that is none (or holds another) is refused by index.

    simdjson flattens lists hidden among them without a word: where the brackets say that there may be one (`suspect`),
    and where it failed, every item is looked at.
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
