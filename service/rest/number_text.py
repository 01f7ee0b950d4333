"""Long lists of numbers in a JSON body → numpy, piece by piece.

A parser that takes 64 MiB in one go holds the interpreter lock for a second or two, and half a gigabyte of memory. So
the lists are cut out of the body before it is parsed, and read in pieces that fit a processor's second cache: that is
twice as fast, needs next to no memory, and lets the event loop run in between.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy.typing as npt
import simdjson

from service.core.errors import malformed
from service.core.messages import Counts, DenseCounts, Limits
from service.rest.parsed_numbers import (
    DTYPES,
    MatrixReader,
    Narrow,
    NumberType,
    joined,
    numbers_of,
    parsed,
    refuse_columns,
)
from service.rest.plain_numbers import FEWEST_BYTES, plain_rows, plain_vector

PIECE_BYTES = 1 << 17
"""Text read in one go, half a millisecond's at most; what is made of it on the way about fits the second cache."""


class ListText(NamedTuple):
    """A list as JSON: `body[start:stop]`, from bracket to bracket."""

    body: bytes | bytearray
    start: int
    stop: int


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
        return joined(pieces, DTYPES[of_type])

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
