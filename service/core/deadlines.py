"""The deadlines of what waits, earliest first."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Sized
from typing import Protocol

MAX_STALE = 1000
"""Deadlines of what no longer waits that are kept before they are swept out."""


class Numbers(Container[int], Sized, Protocol):
    """The numbers of what still waits."""


class Deadlines:
    """A heap of deadlines by the numbers of the jobs that have them.

    Those of answered jobs go when they show up, or in a sweep: there may be thousands a second, half a minute away.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def add(self, deadline_s: float, number: int, waiting: Numbers) -> None:
        """Watch a job's deadline; `waiting` are the jobs that have no answer yet."""
        if len(self._heap) > 2 * len(waiting) + MAX_STALE:
            self._heap = [entry for entry in self._heap if entry[1] in waiting]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (deadline_s, number))

    def passed(self, now: float) -> Iterator[int]:
        """Take out the numbers of those whose deadline has passed."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]
