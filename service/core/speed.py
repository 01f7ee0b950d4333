"""How fast batches have been computed lately, and what a refused caller is told of it."""

from __future__ import annotations

RETRY_AFTER_S = 1.0
"""Told to refused callers while no speed is measured yet, and by a server that stops."""
SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.1, 60.0
NEWEST_BATCH_SHARE = 0.2
"""Weight of the newest batch in the measured speed."""


class Speed:
    """The worker's recent speed: two sums and no mean of speeds, so that full batches weigh more than lone cells."""

    def __init__(self) -> None:
        self._recent_cells = 0.0
        self._recent_s = 0.0

    def measure(self, n_cells: int, seconds: float) -> None:
        """Take one batch into account."""
        self._recent_cells += NEWEST_BATCH_SHARE * (n_cells - self._recent_cells)
        self._recent_s += NEWEST_BATCH_SHARE * (seconds - self._recent_s)

    def retry_after_s(self, n_cells: int) -> float:
        """Seconds that so many waiting cells will take."""
        if self._recent_s <= 0:
            return RETRY_AFTER_S
        return min(max(n_cells * self._recent_s / self._recent_cells, SHORTEST_RETRY_S), LONGEST_RETRY_S)
