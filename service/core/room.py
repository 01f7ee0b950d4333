"""What waits in the queue, by priority, and who may still join it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from service.core.batch import BatcherLimits
from service.core.priority import Priority
from service.core.turns import BULK_TURN


class Room:
    """Cells and bytes that wait; each priority has the bounds of the queue for itself.

    So neither can shut the other out at the gate, and twice the bounds is the most that waits. A request that finds
    none of its priority waiting is taken whatever its size, or one above a bound would be refused for ever; places kept
    for others do not wait, but it has to be larger than all of them together.
    """

    def __init__(self, limits: BatcherLimits) -> None:
        self.n_cells = 0
        self.n_bytes = 0
        self._shares = {priority: _Share() for priority in Priority}
        self._max_cells = limits.max_queue_cells
        self._max_bytes = limits.max_queue_bytes

    def has_for(self, priority: Priority, n_cells: int, n_bytes: int) -> bool:
        """Whether a request may join."""
        own = self._shares[priority]
        fits_cells = own.n_cells + n_cells <= self._max_cells
        fits_bytes = own.n_bytes + n_bytes <= self._max_bytes
        if fits_cells and fits_bytes:
            return True
        is_largest = (fits_cells or n_cells > own.n_placed_cells) and (fits_bytes or n_bytes > own.n_placed_bytes)
        return own.n_waiting == 0 and is_largest

    def has_bytes_for(self, priority: Priority, n_bytes: int) -> bool:
        """Whether a request may join whose cells had a place, now that all its bytes are known."""
        own = self._shares[priority]
        return own.n_bytes + n_bytes <= self._max_bytes or own.n_waiting == 0

    def fill(self, priority: Priority) -> float:
        """The larger share that is taken of a priority's two bounds, cells and bytes; at 1 its callers are refused.

        Never above 1, though a lone request may be larger than a bound.
        """
        own = self._shares[priority]
        return min(1.0, max(own.n_cells / self._max_cells, own.n_bytes / self._max_bytes))

    def of(self, priority: Priority) -> int:
        """Cells of a priority that wait."""
        return self._shares[priority].n_cells

    def ahead(self, priority: Priority) -> int:
        """Cells that will be computed until those of a priority are: they, and by the turns what the other puts in."""
        own = self.of(priority)
        others_share = BULK_TURN - 1 if priority is Priority.BULK else 1 / (BULK_TURN - 1)
        return own + min(self.n_cells - own, int(own * others_share))

    def change(self, priority: Priority, n_cells: int, n_bytes: int, *, placed: bool = False) -> None:
        """Count what has joined, or with negative numbers what has left; `placed`: a place that is kept."""
        self.n_cells += n_cells
        self.n_bytes += n_bytes
        own = self._shares[priority]
        own.n_cells += n_cells
        own.n_bytes += n_bytes
        if placed:
            own.n_placed_cells += n_cells
            own.n_placed_bytes += n_bytes


class _Share:
    """What one priority has of the queue, places among it."""

    __slots__ = ("n_bytes", "n_cells", "n_placed_bytes", "n_placed_cells")

    def __init__(self) -> None:
        self.n_cells = self.n_bytes = self.n_placed_cells = self.n_placed_bytes = 0

    @property
    def n_waiting(self) -> int:
        return self.n_cells - self.n_placed_cells


class Place:
    """Room that is kept for an item until it is made, or until the context is left.

    Attributes:
        n_cells: of the item.
        n_bytes: of it, as far as they were known.
        priority: of the item.
    """

    __slots__ = ("_give_back", "n_bytes", "n_cells", "priority")

    def __init__(self, n_cells: int, n_bytes: int, priority: Priority, give_back: Callable[[Place], None]) -> None:
        self.n_cells = n_cells
        self.n_bytes = n_bytes
        self.priority = priority
        self._give_back: Callable[[Place], None] | None = give_back

    def __enter__(self) -> Place:
        """Keep it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Give back what no item has taken."""
        self.give_back()

    def give_back(self) -> None:
        """Let others have the room; again: nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back(self)
