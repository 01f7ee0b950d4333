"""What goes into the batcher and what comes out to the worker: workloads, slices, batches, and their limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Workload(Protocol):
    """What the queue must know of an item: three sizes, no arrays."""

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes the item holds in memory."""
        ...

    def entries(self, start: int, stop: int) -> int:
        """Non-zeros of the cells `start` to `stop`; additive over cells, never negative."""
        ...


In = TypeVar("In", bound=Workload)
Out = TypeVar("Out")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Slice(Generic[In]):
    """The cells `start` to `stop` of an item, never none; a batch holds at most one slice of an item."""

    item: In
    start: int
    stop: int

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.stop - self.start


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[In, Out]):
    """Slices of one key, to be computed together; each asks for one `Out`."""

    key: Hashable
    slices: tuple[Slice[In], ...]
    n_cells: int
    n_entries: int

    def halves(self) -> tuple[Batch[In, Out], Batch[In, Out]]:
        """The first half of at least two cells and the rest; the slice in which the middle lies is cut in two."""
        first: list[Slice[In]] = []
        second: list[Slice[In]] = []
        room = self.n_cells // 2
        for piece in self.slices:
            middle = min(piece.start + room, piece.stop)
            if piece.start < middle:
                first.append(Slice(piece.item, piece.start, middle))
            if middle < piece.stop:
                second.append(Slice(piece.item, middle, piece.stop))
            room -= middle - piece.start
        return self._of(first), self._of(second)

    def _of(self, slices: list[Slice[In]]) -> Batch[In, Out]:
        n_cells = sum(piece.n_cells for piece in slices)
        return Batch(
            self.key, tuple(slices), n_cells, sum(piece.item.entries(piece.start, piece.stop) for piece in slices)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class BatcherLimits:
    """What a batch and the queue may hold.

    Attributes:
        max_batch_cells: cells of one batch, at least 1.
        max_batch_entries: non-zeros of one batch, at least 1; only a single cell may exceed it, alone.
        max_delay_s: seconds an idle worker waits for company after the first arrival; 0: it starts at once.
        max_queue_cells: waiting cells of a priority above which callers are refused, at least 1.
        max_queue_bytes: bytes of its waiting items above which callers are refused, at least 1.

    Raises:
        ValueError: a limit is out of its range; the message names it.
    """

    max_batch_cells: int
    max_batch_entries: int
    max_delay_s: float
    max_queue_cells: int
    max_queue_bytes: int

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        for name in ("max_batch_cells", "max_batch_entries", "max_queue_cells", "max_queue_bytes"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.max_delay_s < math.inf:
            raise ValueError(f"max_delay_s must be 0 or more seconds, not {self.max_delay_s}")
