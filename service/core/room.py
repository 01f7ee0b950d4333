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
    none of its priority waiting is taken whatever its size, or one above a bound would be refused for ever.
    """

    def __init__(self, limits: BatcherLimits) -> None:
        self.n_cells = 0
        self.n_bytes = 0
        self._bulk_cells = 0
        self._bulk_bytes = 0
        self._max_cells = limits.max_queue_cells
        self._max_bytes = limits.max_queue_bytes

    def has_for(self, priority: Priority, n_cells: int, n_bytes: int) -> bool:
        """Whether a request may join."""
        own_cells, own_bytes = self._bulk_cells, self._bulk_bytes
        if priority is not Priority.BULK:
            own_cells, own_bytes = self.n_cells - own_cells, self.n_bytes - own_bytes
        fits = own_cells + n_cells <= self._max_cells and own_bytes + n_bytes <= self._max_bytes
        return fits or own_cells == 0

    def fill(self, priority: Priority) -> float:
        """The larger share that is taken of a priority's two bounds, cells and bytes; at 1 its callers are refused.

        Never above 1, though a lone request may be larger than a bound.
        """
        n_cells, n_bytes = self._bulk_cells, self._bulk_bytes
        if priority is not Priority.BULK:
            n_cells, n_bytes = self.n_cells - n_cells, self.n_bytes - n_bytes
        return min(1.0, max(n_cells / self._max_cells, n_bytes / self._max_bytes))

    def of(self, priority: Priority) -> int:
        """Cells of a priority that wait."""
        return self._bulk_cells if priority is Priority.BULK else self.n_cells - self._bulk_cells

    def ahead(self, priority: Priority) -> int:
        """Cells that will be computed until those of a priority are: they, and by the turns what the other puts in."""
        own = self.of(priority)
        others_share = BULK_TURN - 1 if priority is Priority.BULK else 1 / (BULK_TURN - 1)
        return own + min(self.n_cells - own, int(own * others_share))

    def change(self, priority: Priority, n_cells: int, n_bytes: int) -> None:
        """Count what has joined, or with negative numbers what has left."""
        self.n_cells += n_cells
        self.n_bytes += n_bytes
        if priority is Priority.BULK:
            self._bulk_cells += n_cells
            self._bulk_bytes += n_bytes


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
