"""Medians, ratios and the two tables, as Markdown."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from benchmarks.load import Measured, percentiles

NOT_AVAILABLE = "not available"


@dataclasses.dataclass(frozen=True)
class Row:
    """One promise.

    Attributes:
        name: what is held against what.
        measured: the number; None where it could not be measured.
        target: what the number must be; None where nothing was promised and the row only tells.
        side: whether it is to be at most or at least the target.
        unit: of both; empty for a ratio.
        remark: why it could not be measured, or what stands behind the number.
    """

    name: str
    measured: float | None
    target: float | None
    side: Literal["at most", "at least"] = "at most"
    unit: str = ""
    remark: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where nothing was measured or promised."""
        if self.measured is None or self.target is None:
            return None
        return self.measured <= self.target if self.side == "at most" else self.measured >= self.target


def cpu_us(measured: Measured, size: int) -> float:
    """Processor time in microseconds a cell, of calls of `size` cells."""
    return measured.cpu_s / (len(measured.latencies_s) * size) * 1e6


def cells_per_s(measured: Measured, size: int) -> float:
    """Cells of calls of `size` cells in a second."""
    return len(measured.latencies_s) * size / measured.wall_s


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over the rounds of what the one is of the other in the same round."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def costs(rounds: Mapping[str, Mapping[int, Sequence[Measured]]]) -> str:
    """The table of what everything costs, by subject and size."""
    head = ("cells a request", "", "CPU µs a cell", "spread", "cells/s", "p50 ms", "p99 ms")
    lines = []
    for size in sorted({size for sizes in rounds.values() for size in sizes}):
        for name, sizes in rounds.items():
            if size in sizes:
                each = [cpu_us(measured, size) for measured in sizes[size]]
                speed = statistics.median(cells_per_s(measured, size) for measured in sizes[size])
                p50, p99 = percentiles([latency for measured in sizes[size] for latency in measured.latencies_s])
                numbers = (statistics.median(each), max(each) / min(each), speed, p50, p99)
                texts = [f"{n:{f}}" for n, f in zip(numbers, (",.1f", ".2f", ",.0f", ",.2f", ",.2f"), strict=True)]
                lines.append((f"{size:,}", name, *texts))
    return markdown(head, lines, left={1})


def promises(rows: Sequence[Row]) -> str:
    """The table of what was promised."""
    lines = []
    for row in rows:
        measured = NOT_AVAILABLE if row.measured is None else f"{row.measured:.3f}{row.unit}"
        sign = "≤" if row.side == "at most" else "≥"
        target = "" if row.target is None else f"{sign} {row.target:g}{row.unit}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        lines.append((row.name, measured, target, met, row.remark))
    return markdown(("", "measured", "target", "met", ""), lines, left={0, 3, 4})


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], left: set[int]) -> str:
    """A table; the columns of these indices are text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        texts = [
            text.ljust(width) if index in left else text.rjust(width)
            for index, (text, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(texts)} |"

    rule = [("-" if index in left else "") + "-" * (width - 1) for index, width in enumerate(widths)]
    rule = [dashes if index in left else f"{dashes}:" for index, dashes in enumerate(rule)]
    return "\n".join([line(head), line(rule), *map(line, lines)])
