"""What waits in the queue, by priority, and who may still join it."""

from __future__ import annotations

from service.core.batch import BatcherLimits
from service.core.priority import Priority

BULK_SHARE = 0.75
"""Of the queue, which bulk may fill; the rest is for interactive requests, whatever bulk holds."""


class Room:
    """Cells and bytes that wait, within the bounds of the queue.

    The rule at the gate: a request that finds none of its priority waiting is taken, whatever its size, or one above a
    bound would be refused for ever. Else all that waits, with it, must stay within the bounds: for a bulk request
    within `BULK_SHARE` of them. An interactive request is also taken where those of its own priority, with it, stay
    within the rest. So neither priority can shut the other out, and no more waits than the bounds and two requests.
    """

    def __init__(self, limits: BatcherLimits) -> None:
        self.n_cells = 0
        self.n_bytes = 0
        self._bulk_cells = 0
        self._bulk_bytes = 0
        self._max_cells = limits.max_queue_cells
        self._max_bytes = limits.max_queue_bytes
        self._max_bulk_cells = int(BULK_SHARE * limits.max_queue_cells)
        self._max_bulk_bytes = int(BULK_SHARE * limits.max_queue_bytes)

    def has_for(self, priority: Priority, n_cells: int, n_bytes: int) -> bool:
        """Whether a request may join."""
        all_cells, all_bytes = self.n_cells + n_cells, self.n_bytes + n_bytes
        if priority is Priority.BULK:
            fits = all_cells <= self._max_bulk_cells and all_bytes <= self._max_bulk_bytes
            return fits or self._bulk_cells == 0
        if all_cells <= self._max_cells and all_bytes <= self._max_bytes:
            return True
        own_cells, own_bytes = all_cells - self._bulk_cells, all_bytes - self._bulk_bytes
        if own_cells == n_cells:
            return True
        return (
            own_cells <= self._max_cells - self._max_bulk_cells and own_bytes <= self._max_bytes - self._max_bulk_bytes
        )

    def change(self, priority: Priority, n_cells: int, n_bytes: int) -> None:
        """Count what has joined, or with negative numbers what has left."""
        self.n_cells += n_cells
        self.n_bytes += n_bytes
        if priority is Priority.BULK:
            self._bulk_cells += n_cells
            self._bulk_bytes += n_bytes
