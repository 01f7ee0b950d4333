"""Where the raw counts are: counts tell themselves by being whole numbers that are not negative."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError
from totalvi_client.matrices import Matrix, as_csr, sampled_rows, values_of
from totalvi_client.tables import Table, cell_names

USUAL_LAYERS = ("counts", "raw_counts", "count", "raw_count", "counts_raw", "umi", "umis", "umi_counts", "raw")

# log1p of 10,000 counts per cell is at most 9.2 and of a million 13.9; the service draws the same line.
_LOG_LIKE_MAX = 20.0
_LEAST_MULTIPLES = 5


class NumberKind(enum.Enum):
    """What numbers look like; the value is how a message says it."""

    COUNTS = "counts"
    FRACTIONS = "counts with fractions, as after removing ambient counts"
    NORMALISED = "normalised"
    LOG = "log-normalised"
    SCALED = "scaled or centred"
    NEGATIVE = "below zero"
    NOT_FINITE = "not all finite"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FoundCounts:
    """Counts and why they were taken.

    Attributes:
        layer: where they are.
        matrix: all of them.
        why: half a sentence for the report.
    """

    layer: str
    matrix: Matrix
    why: str


def kind_of(matrix: Matrix) -> NumberKind:
    """What a sample of the rows looks like; a matrix of zeros, or of no cells, is counts."""
    blocks = [as_csr(block) for block in sampled_rows(matrix)]
    values = np.concatenate([values_of(block) for block in blocks]) if blocks else np.empty(0)
    values = values[values != 0]
    if values.size == 0 or values.dtype.kind in "ub":
        return NumberKind.COUNTS
    if not np.isfinite(values).all():
        return NumberKind.NOT_FINITE
    whole = values == np.rint(values)
    if values.min() < 0:
        return NumberKind.NEGATIVE if whole.all() else NumberKind.SCALED
    if whole.all():
        return NumberKind.COUNTS
    if whole.mean() < 0.5 and values.max() < _LOG_LIKE_MAX:
        return NumberKind.LOG
    return NumberKind.NORMALISED if _are_multiples(blocks) else NumberKind.FRACTIONS


def _are_multiples(blocks: list[Any]) -> bool:
    """Whether most cells' numbers are multiples of the smallest: counts divided by the size of the cell."""
    looked_at = multiples = 0
    for block in blocks:
        for row in range(block.shape[0]):
            values = block.data[block.indptr[row] : block.indptr[row + 1]].astype(np.float64)
            values = values[values > 0]
            if len(values) < _LEAST_MULTIPLES:
                continue
            looked_at += 1
            ratios = values / values.min()
            is_whole = bool((values == np.rint(values)).all())
            multiples += not is_whole and bool((np.abs(ratios - np.rint(ratios)) <= 1e-3 * ratios).all())
    return looked_at > 0 and multiples > 0.5 * looked_at


def find_counts(table: Table, layer: str | None, *, argument: str, allow_non_integer: bool) -> FoundCounts:
    """The raw counts of a table.

    What the caller names is taken; else X where it is counts; else `raw` where that is. Where X is something else and a
    layer of counts is there, the caller is asked: nothing is guessed.

    Args:
        table: of genes or proteins.
        layer: the caller's word, or None.
        argument: how the caller would name a layer.
        allow_non_integer: fractions are no matter.

    Raises:
        InputError: there are none, or the caller has to say which.
    """
    layers = table.layers()
    if layer is not None:
        if layer not in layers:
            raise InputError(f"{table.title} has no layer {layer!r}; {argument}= may be: {_listed(layers)}")
        return _named(table, layer, argument, allow_non_integer)
    fine = {NumberKind.COUNTS, NumberKind.FRACTIONS} if allow_non_integer else {NumberKind.COUNTS}
    first = kind_of(table.matrix("X")) if "X" in layers else None
    if first in fine:
        return FoundCounts("X", table.matrix("X"), f"X is {first.value}")
    usual = [name for name in layers if name.casefold() in USUAL_LAYERS and name != "raw"]
    kinds = {name: kind_of(table.matrix(name)) for name in [*usual, *(["raw"] if "raw" in layers else [])]}
    good = [name for name, kind in kinds.items() if kind in fine]
    if first is None and len(good) == 1:
        return FoundCounts(good[0], table.matrix(good[0]), f"there is no X, and {_place(good[0])} is counts")
    named = [name for name in good if name != "raw"]
    looks = f"X of {table.title} looks {first.value}" if first else f"{table.title} has no X"
    if named:
        places = " and ".join(_place(name) for name in named)
        raise InputError(
            f"{looks}, not like raw counts, which the model needs; {places} "
            f"{'are' if len(named) > 1 else 'is'} counts: give {argument}={named[0]!r}"
        )
    if good:
        return FoundCounts("raw", table.matrix("raw"), f"{looks} and raw is counts")
    if first is NumberKind.FRACTIONS:
        raise InputError(
            f"{looks}; if a program that removes ambient counts wrote them, allow_non_integer=True takes them as they "
            f"are; if they were normalised, the raw counts are needed ({argument}= may be: {_listed(layers)})"
        )
    raise InputError(
        f"{looks}, and the model needs raw counts (whole numbers from 0), which are nowhere in it: "
        f"looked at {_listed([name for name in layers if name == 'X' or name in kinds])}. "
        "Keep them when you normalise: "
        f"adata.layers['counts'] = adata.X.copy(), before sc.pp.normalize_total, and give {argument}='counts'"
    )


def _named(table: Table, layer: str, argument: str, allow_non_integer: bool) -> FoundCounts:
    matrix = table.matrix(layer)
    kind = kind_of(matrix)
    why = f"{argument}={layer!r} was given"
    if kind is NumberKind.COUNTS:
        return FoundCounts(layer, matrix, why)
    if kind in (NumberKind.FRACTIONS, NumberKind.NORMALISED, NumberKind.LOG) and allow_non_integer:
        return FoundCounts(layer, matrix, why)
    advice = (
        "; allow_non_integer=True takes them as they are"
        if kind is NumberKind.FRACTIONS
        else f"; name another place by {argument}= ({_listed(table.layers())})"
    )
    raise InputError(
        f"{_place(layer)} of {table.title} looks {kind.value}; "
        f"the model needs raw counts (whole numbers from 0){advice}"
    )


def check_block(
    block: Any, first_cell: int, table: Table, place: str, *, allow_non_integer: bool, argument: str
) -> None:
    """Refuse rows that are no counts, naming the first cell: a sample does not see all.

    Args:
        block: rows.
        first_cell: index of the first of them.
        table: that knows the cells' names.
        place: where they are, for the message.
        allow_non_integer: fractions are no matter.
        argument: how the caller would name another place.

    Raises:
        InputError: for a number that is not finite, negative, or no whole number.
    """
    values = values_of(block)
    if values.size == 0 or values.dtype.kind in "ub":
        return
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            raise InputError(
                f"{place} has a number that is missing or not finite in cell "
                f"{_cell(block, ~finite, first_cell, table)}; "
                "where something was not measured put 0, and leave out cells that are broken"
            )
    if values.min() < 0:
        raise InputError(
            f"{place} has a number below zero in cell {_cell(block, values < 0, first_cell, table)}, so it is scaled "
            f"or corrected and not counts; name the raw counts by {argument}="
        )
    if values.dtype.kind == "f" and not allow_non_integer:
        broken = values != np.rint(values)
        if broken.any():
            raise InputError(
                f"{place} has {values[broken][0]:g}, no whole number, in cell "
                f"{_cell(block, broken, first_cell, table)}; "
                "if a program that removes ambient counts wrote it, give allow_non_integer=True"
            )


def _cell(block: Any, wrong: npt.NDArray[np.bool_], first_cell: int, table: Table) -> str:
    position = int(np.argmax(wrong))
    if hasattr(block, "indptr"):
        row = int(np.searchsorted(block.indptr, position, side="right")) - 1
    else:
        row = position // max(block.shape[1], 1)
    return cell_names(table, np.asarray([first_cell + row]))


def _place(layer: str) -> str:
    return layer if layer in ("X", "raw") else f"layers[{layer!r}]"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"
