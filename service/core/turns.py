"""The queues of all keys and both priorities, and the rule of whose turn it is: no lock, no future."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable
from typing import Generic

from service.core.batch import BatcherLimits
from service.core.fair_queue import FairQueue, Job
from service.core.priority import Priority

BULK_TURN = 4
"""While bulk requests are due, one batch in so many is theirs."""


class Turns(Generic[Job]):
    """One `FairQueue` for each key and priority that has waiting items.

    The rule: of what is due, interactive requests go first, but while bulk requests are due too, each fourth batch is
    theirs. So a bulk request waits for at most three batches of others' before the next of its own priority, and an
    interactive one for at most one bulk batch beside the one that is running. Bulk requests have all batches for which
    no interactive request is there, and no batch holds both: cells that nobody is in a hurry for would make the batch
    of one who is longer. Within a priority the key whose head got its place first is served.
    """

    def __init__(self, limits: BatcherLimits) -> None:
        self.hurried = limits.max_delay_s == 0
        self._limits = limits
        self._places = itertools.count()
        self._interactive: dict[Hashable, FairQueue[Job]] = {}
        self._bulk: dict[Hashable, FairQueue[Job]] = {}
        self._passed_over = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._interactive or self._bulk)

    @property
    def oldest_arrival_s(self) -> float:
        """Earliest arrival of all that wait; something must."""
        return min(queue.oldest_arrival_s for queue in itertools.chain(self._interactive.values(), self._bulk.values()))

    def queue(self, key: Hashable, priority: Priority) -> FairQueue[Job]:
        """The queue of a key, made where it has none; what is made must be filled, or dropped."""
        queues = self._bulk if priority is Priority.BULK else self._interactive
        queue = queues.get(key)
        if queue is None:
            limits = self._limits
            queue = FairQueue(key, priority, limits.max_batch_cells, limits.max_batch_entries, self._places)
            queues[key] = queue
        return queue

    def drop(self, queue: FairQueue[Job]) -> None:
        """Forget an empty queue: its key is a loaded encoder, which an idle batcher must not keep in memory."""
        if queue.priority is Priority.BULK:
            del self._bulk[queue.key]
        else:
            del self._interactive[queue.key]

    def next(self, now: float) -> FairQueue[Job] | float:
        """Whose turn it is, or the seconds until somebody's; something must wait."""
        if not self._bulk:
            self._passed_over = 0
            if self.hurried and len(self._interactive) == 1:
                return next(iter(self._interactive.values()))
            return self._first(self._interactive.values(), now)
        bulk = self._first(self._bulk.values(), now)
        if not self._interactive:
            self._passed_over = 0
            return bulk
        interactive = self._first(self._interactive.values(), now)
        if isinstance(bulk, float):
            return interactive if isinstance(interactive, FairQueue) else min(interactive, bulk)
        if isinstance(interactive, float) or self._passed_over >= BULK_TURN - 1:
            self._passed_over = 0
            return bulk
        self._passed_over += 1
        return interactive

    def _first(self, queues: Iterable[FairQueue[Job]], now: float) -> FairQueue[Job] | float:
        """Of the queues that are due the one whose head got its place first; none is: the seconds until one is."""
        first: FairQueue[Job] | None = None
        soonest_s = math.inf
        for queue in queues:
            due_s = self._due_s(queue)
            if due_s > now:
                soonest_s = min(soonest_s, due_s)
            elif first is None or queue.first_place < first.first_place:
                first = queue
        return soonest_s - now if first is None else first

    def _due_s(self, queue: FairQueue[Job]) -> float:
        if self.hurried or queue.is_full:
            return -math.inf
        return queue.oldest_arrival_s + self._limits.max_delay_s
