"""Lists of plain whole numbers → numpy, by a few passes over all their bytes at once.

Raw counts are spelt in digits, commas and brackets alone, and most of them are 0. A parser looks at one number after
another; here each pass looks at every byte, and the zeros of a sparse matrix are never made into numbers. What is spelt
in any other way (a sign, a point, more than eight digits, a mistake) is not read here but left to a real parser.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

FEWEST_BYTES = 2048
"""Shorter texts are read faster by a parser: a pass takes a microsecond before it has passed over anything."""

ONE_AT_A_TIME = threading.Lock()
"""Held by whoever reads a text. Each pass gives the interpreter away, to the event loop and the worker as it should;
but readers that take it from each other after each pass spend half as much again, and lose what the cache holds."""

_MOST_DIGITS = 8
"""Of a number; the arithmetic has room for no more."""

_LOOKED_AT = 256
"""First bytes of a text, which tell whether it has blanks."""

Bytes: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]
Places: TypeAlias = npt.NDArray[np.int64]
Whole: TypeAlias = npt.NDArray[np.uint32]


class PlainRows(NamedTuple):
    """A matrix.

    Attributes:
        n_rows: of it, at least one.
        width: numbers in each row, at least one.
        places: where the numbers that are not 0 stand, counted along the rows; None: `values` are all numbers.
        values: those numbers.
    """

    n_rows: int
    width: int
    places: npt.NDArray[np.int32] | None
    values: Whole


def plain_vector(text: bytes) -> Whole | None:
    """The numbers of a flat list.

    Args:
        text: the list without its brackets.

    Returns:
        The numbers; None where the list is spelt otherwise than in commas and numbers of at most eight digits.
    """
    with ONE_AT_A_TIME:
        read = _read(text)
        if read is None or read.opening.size or read.closing.size:
            return None
        return _all_values(read)


def plain_rows(text: bytes, *, sparse: bool) -> PlainRows | None:
    """The numbers of a list of rows.

    Args:
        text: the rows, from the first one's opening bracket to the last one's closing bracket.
        sparse: whether to leave the zeros out.

    Returns:
        The rows; None where they are not of one width, or spelt otherwise than `plain_vector` takes them.
    """
    with ONE_AT_A_TIME:
        return _plain_rows(text, sparse=sparse)


def _plain_rows(text: bytes, *, sparse: bool) -> PlainRows | None:
    read = _read(text)
    if read is None:
        return None
    content, opening, closing = read.content, read.opening, read.closing
    n_rows = len(opening)
    if n_rows == 0 or len(closing) != n_rows or opening[0] != 0 or closing[-1] != len(content) - 1:
        return None
    if (opening[1:] != closing[:-1] + 2).any() or (content[closing[:-1] + 1] != ord(",")).any():
        return None
    rank = np.cumsum(read.is_end, dtype=np.int32)  # how many numbers have ended, up to each byte
    width = int(rank[closing[0]])
    # A row without numbers would have none of its own to end before its bracket.
    if width == 0 or (rank[closing] != np.arange(1, n_rows + 1) * width).any():
        return None
    if not sparse:
        return PlainRows(n_rows, width, None, _all_values(read))
    (ends,) = (read.is_end & ~read.is_lone_zero).nonzero()
    return PlainRows(n_rows, width, rank[ends] - 1, _some_values(read, ends))


class _Read(NamedTuple):
    """A text of digits, commas and brackets, by its bytes.

    Attributes:
        content: the bytes.
        digits: value of each digit, 0 for all else.
        is_digit: which are digits.
        is_end: which are the last digit of a number.
        is_lone_zero: which are a number that is 0.
        opening: places of the opening brackets.
        closing: places of the closing ones.
    """

    content: Bytes
    digits: Bytes
    is_digit: Flags
    is_end: Flags
    is_lone_zero: Flags
    opening: Places
    closing: Places


def _read(text: bytes) -> _Read | None:
    """Take a text apart; None where it is anything but numbers with one comma between each two, and brackets."""
    content = np.frombuffer(text, np.uint8)
    if b" " in text[:_LOOKED_AT]:
        # Python writes a blank behind each comma; one that stood within a number must not vanish.
        if ((content[1:] == ord(" ")) & (content[:-1] != ord(","))).any():
            return None
        content = np.frombuffer(text.translate(None, b" "), np.uint8)
    digits = content - np.uint8(ord("0"))  # what stands before the digits in ASCII wraps around to large values
    is_digit = digits <= 9
    n_commas = int(np.count_nonzero(content == ord(",")))
    (opening,), (closing,) = ((content == ord(bracket)).nonzero() for bracket in "[]")
    if int(np.count_nonzero(is_digit)) + n_commas + len(opening) + len(closing) != len(content):
        return None
    is_end = is_digit.copy()
    is_end[:-1] &= ~is_digit[1:]
    # As many commas as there are gaps between numbers: then none is missing, doubled, in front or behind.
    if n_commas + 1 != int(np.count_nonzero(is_end)):
        return None
    is_zero = digits == 0
    is_zero[1:] &= ~is_digit[:-1]  # those that a number begins with
    if (is_zero & ~is_end).any():  # 007 is no number in JSON
        return None
    four_in_a_row = _both(_both(is_digit, 1), 2)
    if _both(_both(four_in_a_row, 4), 1).any():
        return None
    digits *= is_digit
    return _Read(content, digits, is_digit, is_end, is_zero, opening, closing)


def _both(flags: Flags, distance: int) -> Flags:
    """Where a flag and the one so far behind it are set."""
    return flags[distance:] & flags[:-distance] if len(flags) > distance else flags[:0]


def _all_values(read: _Read) -> Whole:
    """Each byte with the one before it, then with the two before these: what stands where a number ends is it."""
    digits, is_digit = read.digits, read.is_digit
    (ends,) = read.is_end.nonzero()
    # One more than the digits of a number, or a little more behind a bracket.
    steps = np.diff(ends, prepend=-2)
    longest = steps.max() - 1
    two = digits.copy()
    two[1:] += digits[:-1] * np.uint8(10)  # in front of a number there is 0
    if longest <= 2:
        return two[ends].astype(np.uint32)
    four = two.astype(np.uint16)
    four[2:] += (two[:-2] * _both(is_digit, 1)[:-1]).astype(np.uint16) * np.uint16(100)
    values = four[ends].astype(np.uint32)
    if longest > 4:
        (long,) = (steps > 5).nonzero()
        values[long] += four[ends[long] - 4] * np.uint32(10_000)
    return values


def _some_values(read: _Read, ends: Places) -> Whole:
    """The numbers that end there, digit by digit: quicker where they are few."""
    values = read.digits[ends].astype(np.uint32)
    longer = np.arange(len(ends))
    for place in range(1, _MOST_DIGITS):
        at = ends[longer] - place
        goes_on = read.is_digit[at]  # rows begin with a bracket, so that no number begins at the very front
        longer, at = longer[goes_on], at[goes_on]
        if not longer.size:
            break
        values[longer] += read.digits[at] * np.uint32(10**place)
    return values
