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


@dataclasses.dataclass(frozen=True, slots=True)
class BatcherLimits:
    """What a batch and the queue may hold.

    Attributes:
        max_batch_cells: cells of one batch, at least 1.
        max_batch_entries: non-zeros of one batch, at least 1; only a single cell may exceed it, alone.
        max_delay_s: seconds an idle worker waits for company after the first arrival; 0: it starts at once.
        max_queue_cells: waiting cells above which callers are refused, at least 1.
        max_queue_bytes: bytes of the waiting items above which callers are refused, at least 1.

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
